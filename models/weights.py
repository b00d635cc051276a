"""Weights of the graph model as bytes, and back: little-endian float32 behind a line of JSON, named by their SHA-256.

No pickle: reading weights must never run anything.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from models.errors import WeightsCorrupt

Float32Array = npt.NDArray[np.float32]
MAGIC = "x0tta6bl4-graph-1"


@dataclass(frozen=True, slots=True)
class Shape:
    """What fixes the shapes of the arrays, and what the answer is scaled with.

    Attributes:
        columns: Names of the input columns, in order.
        hidden: Width of a layer.
        layers: Rounds of message passing.
        temperature: Divides the scores before the softmax; > 1 makes it less sure. Fitted on held-out cases.
    """

    columns: tuple[str, ...]
    hidden: int
    layers: int
    temperature: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A fitted model."""

    shape: Shape
    arrays: Mapping[str, Float32Array]


def expected_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array by name, in the order in which they are written.

    `own`, `needs`, `serves` are what a layer makes of an element itself, of what it depends on, of what depends on it
    (mean and maximum side by side).
    """
    width, inputs = shape.hidden, len(shape.columns)
    joined = width * (shape.layers + 1)
    shapes: dict[str, tuple[int, ...]] = {"enter.weight": (width, inputs), "enter.bias": (width,)}
    for layer in range(shape.layers):
        shapes[f"own.{layer}.weight"] = (width, width)
        shapes[f"own.{layer}.bias"] = (width,)
        shapes[f"needs.{layer}.weight"] = (width, 2 * width)
        shapes[f"serves.{layer}.weight"] = (width, 2 * width)
    shapes |= {"score.0.weight": (width, joined), "score.0.bias": (width,)}
    shapes |= {"score.1.weight": (1, width), "score.1.bias": (1,)}
    shapes |= {"none.0.weight": (width, joined + inputs), "none.0.bias": (width,)}
    shapes |= {"none.1.weight": (1, width), "none.1.bias": (1,)}
    return shapes


def digest_of(raw: bytes) -> str:
    """Return the SHA-256 of written weights, hexadecimal."""
    return hashlib.sha256(raw).hexdigest()


def write(weights: Weights) -> bytes:
    """Write weights; the same weights give the same bytes."""
    head = json.dumps({"format": MAGIC, **asdict(weights.shape)}, sort_keys=True).encode()
    body = [
        np.ascontiguousarray(weights.arrays[name], dtype="<f4").tobytes() for name in expected_shapes(weights.shape)
    ]
    return b"\n".join([head, b"".join(body)])


def read(raw: bytes, *, digest: str) -> Weights:
    """Read what `write` wrote.

    Args:
        raw: The bytes.
        digest: Their SHA-256, as it was kept apart from them.

    Raises:
        WeightsCorrupt: they are not the bytes that were promised, or no weights at all.
    """
    found = digest_of(raw)
    if found != digest:
        raise WeightsCorrupt(digest, f"their SHA-256 is {found}")
    head, _, body = raw.partition(b"\n")
    try:
        told = json.loads(head)
        if told.pop("format") != MAGIC:
            raise WeightsCorrupt(digest, f"they are not of the format {MAGIC}")
        shape = Shape(tuple(told["columns"]), int(told["hidden"]), int(told["layers"]), float(told["temperature"]))
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsCorrupt(digest, "their first line is not readable") from error
    shapes = expected_shapes(shape)
    if len(body) != 4 * sum(math.prod(one) for one in shapes.values()):
        raise WeightsCorrupt(digest, "their length does not fit their first line")
    arrays, start = {}, 0
    for name, size in shapes.items():
        count = math.prod(size)
        arrays[name] = np.frombuffer(body, dtype="<f4", count=count, offset=start).astype(np.float32).reshape(size)
        start += 4 * count
    if not all(np.isfinite(one).all() for one in arrays.values()) or not shape.temperature > 0:
        raise WeightsCorrupt(digest, "they hold numbers that are none")
    return Weights(shape, arrays)
