"""Cases and snapshots as JSON can hold them, and back. What was not measured is null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.errors import SnapshotInvalid
from models.snapshot import Case, Kind, SignalKind, SignalSpec, Snapshot


def document_of(case: Case) -> dict[str, Any]:
    """Return a case as a document: the snapshot's fields with its truth beside them."""
    return {"name": case.name, "roots": list(case.roots), "fault": case.fault, **snapshot_document(case.snapshot)}


def snapshot_document(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot as a document."""
    values = snapshot.values.astype(object)
    values[~np.isfinite(snapshot.values)] = None
    pairs = zip(snapshot.elements, snapshot.kinds, strict=True)
    return {
        "elements": [{"id": name, "kind": kind.value} for name, kind in pairs],
        "edges": snapshot.edges.tolist(),
        "signals": [
            {"name": one.name, "unit": one.unit, "worse": one.worse, "kind": one.kind.value} for one in snapshot.signals
        ],
        "times": snapshot.times.tolist(),
        "split": snapshot.split,
        "trigger": snapshot.trigger,
        "target": None if snapshot.target is None else snapshot.elements[snapshot.target],
        "target_signal": snapshot.target_signal,
        "values": values.tolist(),
    }


def snapshot_from(document: Mapping[str, Any]) -> Snapshot:
    """Read what `snapshot_document` wrote; further fields are left alone.

    Raises:
        SnapshotInvalid: a field is missing or cannot be read.
    """
    field = "elements"
    try:
        elements = tuple(str(one["id"]) for one in document[field])
        kinds = tuple(Kind(one["kind"]) for one in document[field])
        field = "signals"
        signals = tuple(
            SignalSpec(str(one["name"]), str(one["unit"]), one["worse"], SignalKind(one["kind"]))
            for one in document[field]
        )
        field = "target"
        target = document.get(field)
        place = None if target is None else elements.index(target)
        field = "edges"
        edges = np.array(document[field], dtype=np.int64).reshape(-1, 2)
        field = "times"
        times = np.array(document[field], dtype=np.float64)
        field = "values"
        values = np.array(document[field], dtype=np.float64)
        field = "split"
        split = int(document[field])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SnapshotInvalid(field, f"write it as `x0tta6bl4 generate-test-anomalies` does ({error})") from error
    return Snapshot(
        elements=elements,
        kinds=kinds,
        edges=edges,
        signals=signals,
        times=times,
        values=values,
        split=split,
        target=place,
        trigger=document.get("trigger"),
        target_signal=document.get("target_signal"),
    )
