"""RCAEval's layout (Pham et al., 2024, arXiv 2412.17015): a folder for each service and fault, in it the tries.

SERVICE_FAULT/N/data.csv         a column `time`, then SERVICE_METRIC
SERVICE_FAULT/N/inject_time.txt  seconds, on the same clock
SERVICE_FAULT/N/graph.csv        optional (upstream has none): caller, callee
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from infra.datasets.reading import existing, in_order, lines, number
from models.errors import DatasetInvalid
from models.snapshot import Case, Kind, SignalKind, SignalSpec, Snapshot, Worse

# What a metric's name tells of it, first match counts. Upstream gives neither units nor directions.
_KNOWN: tuple[tuple[str, str, Worse, SignalKind], ...] = (
    ("successrate", "%", 0, SignalKind.ERRORS),  # Nezha's counts failures under this name: worse either way
    ("error", "", 1, SignalKind.ERRORS),
    ("latency", "s", 1, SignalKind.LATENCY),
    ("duration", "s", 1, SignalKind.LATENCY),
    ("workload", "1/s", 0, SignalKind.RATE),
    ("request", "1/s", 0, SignalKind.RATE),
    ("rate(%)", "%", 1, SignalKind.GAUGE),
    ("cpu", "", 1, SignalKind.GAUGE),
    ("mem", "", 1, SignalKind.GAUGE),
    ("disk", "", 1, SignalKind.GAUGE),  # a resource, as the two above; not a rate of requests
    ("socket", "", 1, SignalKind.GAUGE),
    ("load", "1/s", 0, SignalKind.RATE),  # of requests; a processor's load is met above
)


def load_rcaeval(root: Path, *, shift_s: float = 0.0) -> tuple[Case, ...]:
    """Read every try below a folder. Nothing is published about sides: every case is `train`.

    Args:
        root: The folder of one system.
        shift_s: Seconds added to the moment of injection: how much an alarm may be off.

    Raises:
        DatasetInvalid: it is not laid out as published; says which file.
    """
    found = in_order(one.parent for one in root.glob("*/*/inject_time.txt*"))
    if not found:
        raise DatasetInvalid(str(root), "no SERVICE_FAULT/N/inject_time.txt below it")
    return tuple(_case(folder, shift_s) for folder in sorted(set(found), key=lambda one: (one.parent.name, one.name)))


def _case(folder: Path, shift_s: float) -> Case:
    service, _, fault = folder.parent.name.partition("_")
    path = folder / "data.csv"
    table = list(lines(path))
    if not table or "time" not in table[0]:
        raise DatasetInvalid(str(path), "a column `time` and columns SERVICE_METRIC are expected")
    head, rows = table[0], [row for row in table[1:] if len(row) == len(table[0])]
    columns = [(k, *name.partition("_")) for k, name in enumerate(head) if "_" in name]
    calls = _calls(folder / "graph.csv")
    # Who calls is a service, measured or not; who is only called may be an address.
    elements = tuple(sorted({one[1] for one in columns} | {caller for caller, _ in calls}))
    names = sorted({one[3] for one in columns})
    if service not in elements:
        raise DatasetInvalid(str(path), f"nothing is known of {service}, which its folder names as the root")
    place = {name: k for k, name in enumerate(elements)}
    signal = {name: k for k, name in enumerate(names)}
    clock = head.index("time")
    times = np.array([number(row[clock], path) for row in rows])
    values = np.full((len(rows), len(elements), len(names)), np.nan)
    for k, element, _, name in columns:
        values[:, place[element], signal[name]] = [number(row[k], path) for row in rows]
    split = int(np.searchsorted(times, _moment(folder) + shift_s))
    if not 0 < split < len(times):
        raise DatasetInvalid(str(folder), "the injection lies outside of the rows")
    edges = sorted({(place[a], place[b]) for a, b in calls if a in place and b in place})
    snapshot = Snapshot(
        elements=elements,
        kinds=(Kind.SERVICE,) * len(elements),
        edges=np.array(edges, dtype=np.int64).reshape(-1, 2),
        signals=tuple(_spec(name) for name in names),
        times=times,
        values=values,
        split=split,
    )
    return Case(f"{folder.parent.name}/{folder.name}", snapshot, (service,), fault, "train", group=service)


def _moment(folder: Path) -> float:
    path = existing(folder / "inject_time.txt")
    cells = [cell for row in lines(folder / "inject_time.txt") for cell in row]
    if len(cells) != 1:
        raise DatasetInvalid(str(path), "one number is expected")
    return number(cells[0], path)


def _calls(path: Path) -> list[tuple[str, str]]:
    try:
        existing(path)
    except DatasetInvalid:
        return []  # upstream publishes none; ours to tell from a broken one, which is refused below
    rows = list(lines(path))[1:]
    if any(len(row) != 2 for row in rows):  # noqa: PLR2004 - a pair
        raise DatasetInvalid(str(path), "columns caller, callee are expected")
    return [(caller, callee) for caller, callee in rows]


def _spec(name: str) -> SignalSpec:
    plain = name.lower()
    for word, unit, worse, kind in _KNOWN:
        if word in plain:
            # Measured at the caller: says how long others took, and the way to them.
            return SignalSpec(name, unit, worse, kind, outward=kind is SignalKind.LATENCY and "client" in plain)
    return SignalSpec(name, "", 0, SignalKind.GAUGE)
