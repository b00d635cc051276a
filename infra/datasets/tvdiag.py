"""TVDiag's sets (Xie et al., 2024, arXiv 2407.19711): alerts that others' detectors raised in metrics, traces and logs.

label.csv                 index, instance, anomaly_type, data_type (train, test)
raw/metrics.json          index -> [instance, (host,) metric, up or down]
raw/traces.json           index -> [caller, callee, operation, kind of alert]
raw/logs.json             index -> [instance, template]
raw/nodes.json, edges.json  index -> instances; index -> [caller, callee] by place in nodes
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from infra.datasets.reading import document, lines
from models.errors import DatasetInvalid
from models.snapshot import Case, Kind, SignalKind, SignalSpec, Snapshot

Alert = tuple[str, str]  # who, which signal


def load_tvdiag(root: Path) -> tuple[Case, ...]:
    """Read every incident of one system (the folder that holds label.csv).

    Alerts become counts, one row and no past. A trace's alert counts for its callee (`in`), its caller (`out`) or,
    within one instance, for that (`self`). Names of templates lose their instance, so that no signal tells who it is.

    Raises:
        DatasetInvalid: it is not laid out as published; says which file.
    """
    raw = {name: document(root / f"raw/{name}.json") for name in ("metrics", "traces", "logs", "nodes", "edges")}
    table = list(lines(root / "label.csv"))
    try:
        labels = [dict(zip(table[0], row, strict=True)) for row in table[1:]]
        alerts = {label["index"]: Counter(_alerts(raw, label["index"])) for label in labels}
        names = sorted({name for counts in alerts.values() for _, name in counts})
        signals = tuple(SignalSpec(name, "1", 1, SignalKind.EVENT) for name in names)
        return tuple(_case(label, alerts[label["index"]], raw, signals) for label in labels)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DatasetInvalid(str(root), f"its labels and alerts do not fit each other ({error!r})") from error


def _alerts(raw: dict[str, Any], index: str) -> Iterator[Alert]:
    for who, *_, metric, direction in raw["metrics"][index]:
        yield who, f"metric {metric} {direction}"
    for caller, callee, _, kind in raw["traces"][index]:
        if caller == callee:
            yield caller, f"trace self {kind}"
        else:
            yield caller, f"trace out {kind}"
            yield callee, f"trace in {kind}"
    for who, template in raw["logs"][index]:
        yield who, f"log {template.removeprefix(who + '-')}"


def _case(label: dict[str, str], counts: Counter[Alert], raw: dict[str, Any], signals: tuple[SignalSpec, ...]) -> Case:
    index = label["index"]
    elements = tuple(raw["nodes"][index])
    place = {name: k for k, name in enumerate(elements)}
    column = {spec.name: k for k, spec in enumerate(signals)}
    values = np.zeros((1, len(elements), len(signals)))
    for (who, name), count in counts.items():
        if who in place:  # a trace may begin outside of the system
            values[0, place[who], column[name]] = count
    edges = sorted({(a, b) for a, b in raw["edges"][index]})
    snapshot = Snapshot(
        elements=elements,
        kinds=(Kind.INSTANCE,) * len(elements),
        edges=np.array(edges, dtype=np.int64).reshape(-1, 2),
        signals=signals,
        times=np.zeros(1),
        values=values,
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
