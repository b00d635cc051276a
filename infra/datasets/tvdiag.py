"""TVDiag's sets (Xie et al., 2024, arXiv 2407.19711): alerts that others' detectors raised in metrics, traces and logs.

label.csv                 index, instance, anomaly_type, data_type (train, test)
raw/metrics.json          index -> [instance, (host,) metric, up or down]
raw/traces.json           index -> [caller, callee, operation, kind of alert]
raw/logs.json             index -> [instance, template]
raw/nodes.json, edges.json  index -> instances; index -> [caller, callee] by place in nodes
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from infra.datasets.reading import document, lines
from models.alerts import Alerts, encode, encoding, usual
from models.errors import DatasetInvalid
from models.snapshot import Case, FloatArray, Kind, SignalSpec, Snapshot


def load_tvdiag(root: Path) -> tuple[Case, ...]:
    """Read every incident of one system (the folder that holds label.csv).

    Alerts become signals as `models.alerts` says, one row and no past. What is usual is counted in the training side's
    alerts; its labels play no part in that.

    Raises:
        DatasetInvalid: it is not laid out as published; says which file.
    """
    raw = {name: document(root / f"raw/{name}.json") for name in ("metrics", "traces", "logs", "nodes", "edges")}
    table = list(lines(root / "label.csv"))
    try:
        labels = [dict(zip(table[0], row, strict=True)) for row in table[1:]]
        incidents = [_alerts(raw, label["index"]) for label in labels]
        into = encoding(incidents)
        sides = [_side(label) for label in labels]
        normal = usual([one for one, side in zip(incidents, sides, strict=True) if side == "train"])
        values = [
            encode(one, into, normal=normal, of_these=side == "train")
            for one, side in zip(incidents, sides, strict=True)
        ]
        return tuple(_case(label, one, raw, into.signals) for label, one in zip(labels, values, strict=True))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DatasetInvalid(str(root), f"its labels and alerts do not fit each other ({error!r})") from error


def _alerts(raw: dict[str, Any], index: str) -> Alerts:
    metrics, calls, logs = ([_names(row) for row in raw[name][index]] for name in ("metrics", "traces", "logs"))
    return Alerts(
        elements=_names(raw["nodes"][index]),
        metrics=tuple((who, metric, direction) for who, *_, metric, direction in metrics),
        calls=tuple((caller, callee, operation, kind) for caller, callee, operation, kind in calls),
        logs=tuple((who, template) for who, template in logs),
    )


def _names(row: list[Any]) -> tuple[str, ...]:
    """Return a row as text; templates and kinds of alert may be written as numbers."""
    strange = [one for one in row if not isinstance(one, str | int)]
    if strange:
        raise TypeError(f"{strange[0]!r} is no name")
    return tuple(str(one) for one in row)


def _case(label: dict[str, str], values: FloatArray, raw: dict[str, Any], signals: tuple[SignalSpec, ...]) -> Case:
    index = label["index"]
    elements = _names(raw["nodes"][index])
    edges = sorted({(a, b) for a, b in raw["edges"][index]})
    snapshot = Snapshot(
        elements=elements,
        kinds=(Kind.INSTANCE,) * len(elements),
        edges=np.array(edges, dtype=np.int64).reshape(-1, 2),
        signals=signals,
        times=np.zeros(1),
        values=values[None],
        split=0,
    )
    root = label["instance"]
    return Case(index, snapshot, (root,), label["anomaly_type"].strip("[]"), _side(label), group=root)


def _side(label: dict[str, str]) -> Literal["train", "test"]:
    if label["data_type"] == "train":
        return "train"
    if label["data_type"] == "test":
        return "test"
    raise ValueError(f"data_type is {label['data_type']}, neither train nor test")
