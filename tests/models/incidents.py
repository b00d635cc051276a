"""Small incidents with a planted root, for the tests of the analysis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from models.snapshot import Case, Kind, SignalKind, SignalSpec, Snapshot

SIGNALS = (
    SignalSpec("latency", "s", 1, SignalKind.LATENCY),
    SignalSpec("availability", "%", -1, SignalKind.ERRORS),
)


def chain(seed: int, *, root: int | None, others: int = 3) -> Case:
    """front -> middle -> back, and unrelated services; a fault of the root shows in everyone who needs it."""
    rng = np.random.default_rng(seed)
    names = ("front", "middle", "back", *(f"other{k}" for k in range(others)))
    values = np.empty((43, len(names), 2))
    values[:, :, 0] = rng.normal(1.0, 0.05, values.shape[:2])
    values[:, :, 1] = rng.normal(99.0, 0.2, values.shape[:2])
    if root is not None:
        reached = range(root + 1) if root < 3 else [root]
        values[40:, list(reached), 0] += 2.0
    snapshot = Snapshot(
        elements=names,
        kinds=(Kind.SERVICE,) * len(names),
        edges=np.array([[0, 1], [1, 2]]),
        signals=SIGNALS,
        times=np.arange(43.0) * 60,
        values=values,
        split=40,
        target=0,
        trigger=42,
        target_signal=0,
    )
    roots = () if root is None else (names[root],)
    return Case(f"{seed}", snapshot, roots, "latency", "train", group=roots[0] if roots else "none")


def reordered(snapshot: Snapshot, order: Sequence[int]) -> Snapshot:
    """Return the same snapshot with its elements in another order: the new element k is the old element `order[k]`."""
    places = np.argsort(order)
    return replace(
        snapshot,
        elements=tuple(snapshot.elements[one] for one in order),
        kinds=tuple(snapshot.kinds[one] for one in order),
        edges=places[snapshot.edges],
        values=snapshot.values[:, list(order), :],
        target=None if snapshot.target is None else int(places[snapshot.target]),
    )
