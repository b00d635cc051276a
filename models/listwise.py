"""Listwise: which of an incident's elements is the root, as one choice among them (McFadden, 1974; ListNet, 2007).

P(i | incident) = exp(w . x_i) / sum_j exp(w . x_j): what all elements of an incident share cannot matter, so a weight
tells what sets the root apart from its neighbours, not what incidents look like. Any of several roots is right.

SciPy is part of the extra `learning`, so it is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.snapshot import FloatArray

_STEPS = 200
# A column that never moved in the training side says nothing, and must not when it moves later.
_STILL = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Listwise:
    """A linear choice among the elements of one incident.

    Attributes:
        mean: (F,) of the training side's columns.
        weights: (F,) of columns less their mean.
    """

    mean: FloatArray
    weights: FloatArray

    def scores(self, features: FloatArray) -> FloatArray:
        """Return (N,) log odds against the incident's average element."""
        found = (features - self.mean) @ self.weights
        return np.asarray(found - found.mean())


def fit_listwise(features: Sequence[FloatArray], roots: Sequence[Sequence[int]], *, ridge: float) -> Listwise:
    """Fit weights to incidents with known roots; those without one teach nothing of a choice.

    Args:
        features: For each incident (N, F).
        roots: For each incident indices of its roots.
        ridge: Pull of standardised weights toward zero, beside the mean negative log likelihood.

    Raises:
        ValueError: no incident has a root.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - of the extra `learning`, and slow to import

    chosen = [(one, root) for one, root in zip(features, roots, strict=True) if len(root)]
    if not chosen:
        raise ValueError("a choice needs at least one incident with a known root")
    rows = np.vstack([one for one, _ in chosen])
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    unit = np.where(spread > _STILL, 1.0 / np.maximum(spread, _STILL), 0.0)
    inputs = (rows - mean) * unit
    sizes = np.array([len(one) for one, _ in chosen])
    starts = np.cumsum(sizes) - sizes
    incident = np.repeat(np.arange(len(chosen)), sizes)
    is_root = np.concatenate([np.isin(np.arange(len(one)), list(root)) for one, root in chosen])

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        logits = inputs @ weights
        likely = np.exp(logits - np.maximum.reduceat(logits, starts)[incident])
        likely /= np.add.reduceat(likely, starts)[incident]
        right = np.add.reduceat(np.where(is_root, likely, 0.0), starts)
        truth = np.where(is_root, likely, 0.0) / np.maximum(right, np.finfo(float).tiny)[incident]
        slope = inputs.T @ (likely - truth) / len(chosen) + ridge * weights
        surprise = -float(np.log(np.maximum(right, np.finfo(float).tiny)).mean())
        return surprise + 0.5 * ridge * float(weights @ weights), slope

    found = minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": _STEPS})
    return Listwise(mean, np.asarray(found.x * unit))
