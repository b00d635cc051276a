"""The weights that come with the program: made by `x0tta6bl4 train-weights`, named by a digest that is checked."""

from __future__ import annotations

from importlib.resources import files

from models.errors import WeightsCorrupt

# Made anew by `x0tta6bl4 train-weights`, which prints it.
DIGEST = "27074d97a6a1e54275f176aaa78f781f84542579d0442b7c069ab9cf64f0ef8e"


def shipped_weights() -> tuple[bytes, str]:
    """Return the shipped weights and the digest they must have; whoever loads them checks it.

    Raises:
        WeightsCorrupt: the file is not there.
    """
    try:
        return (files("infra") / "weights" / "graph.weights").read_bytes(), DIGEST
    except FileNotFoundError as error:
        raise WeightsCorrupt(DIGEST, "their file is missing from the installation") from error
