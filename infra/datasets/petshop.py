"""PetShop (Hardt et al., 2023, arXiv 2311.04806): a pet shop on a public cloud, five-minute rows, the node at fault.

SCENARIO/noissue/metrics.csv            a normal time, of another day than the issues
SCENARIO/graph.csv                      adjacency, caller to callee
SCENARIO/{train,test}/ISSUE/metrics.csv header of three levels: node, metric, statistic
SCENARIO/{train,test}/ISSUE/target.json
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from infra.datasets.reading import document, in_order, lines, number
from models.errors import DatasetInvalid
from models.snapshot import Case, FloatArray, IntArray, Kind, SignalKind, SignalSpec, Snapshot

_HEADER = 3  # node, metric, statistic; then the index's own name, then rows
_PERIOD_S = 300.0
_SIDES: tuple[Literal["train", "test"], ...] = ("train", "test")
_LATENCY = ("Average", "p50", "p90", "p95", "p99")
_SIGNALS = (
    *(SignalSpec(f"latency {statistic}", "s", 1, SignalKind.LATENCY) for statistic in _LATENCY),
    SignalSpec("availability Average", "%", -1, SignalKind.ERRORS),
    SignalSpec("requests Sum", "1", 0, SignalKind.RATE),
)
_COLUMN = {spec.name: index for index, spec in enumerate(_SIGNALS)}


@dataclass(frozen=True, slots=True)
class _Sheet:
    nodes: tuple[str, ...]
    times: FloatArray
    values: FloatArray


def load_petshop(root: Path) -> tuple[Case, ...]:
    """Read every issue below a folder.

    The past is the normal time, moved so that it ends where the issue begins: it is of another day, and nothing here
    depends on the hour. The trigger is the first row that ends after the alarm.

    Args:
        root: The set, its `dataset` folder, or one scenario.

    Raises:
        DatasetInvalid: it is not laid out as published; says which file.
    """
    scenarios = sorted({one.parent for one in root.glob("**/noissue") if one.is_dir()})
    if not scenarios:
        raise DatasetInvalid(str(root), "no folder below it holds PetShop's noissue/metrics.csv")
    return tuple(case for one in scenarios for case in _scenario(one))


def _scenario(folder: Path) -> list[Case]:
    normal = _sheet(folder / "noissue/metrics.csv")
    graph = list(lines(folder / "graph.csv"))
    cases = []
    for side in _SIDES:
        for issue in in_order((folder / side).glob("*/")):
            target = document(issue / "target.json")
            try:
                wanted, root = target["target"], target["root_cause"]["node"]
                symptom = (wanted["node"], f"{wanted['metric']} {wanted['agg']}", float(wanted["timestamp"]))
            except (KeyError, TypeError, ValueError) as error:
                raise DatasetInvalid(str(issue / "target.json"), f"no target or root_cause ({error})") from error
            name = f"{folder.name}/{side}/{issue.name}"
            snapshot = _snapshot(normal, _sheet(issue / "metrics.csv"), graph, symptom)
            # One root under one kind of symptom is one cause tried at several strengths.
            cases.append(Case(name, snapshot, (root,), wanted["metric"], side, group=root))
    return cases


def _snapshot(normal: _Sheet, issue: _Sheet, graph: list[list[str]], symptom: tuple[str, str, float]) -> Snapshot:
    elements = tuple(sorted({*normal.nodes, *issue.nodes}))
    place = {name: index for index, name in enumerate(elements)}
    rows = len(normal.times)
    values = np.full((rows + len(issue.times), len(elements), len(_SIGNALS)), np.nan)
    values[:rows, [place[node] for node in normal.nodes]] = normal.values
    values[rows:, [place[node] for node in issue.nodes]] = issue.values
    node, metric, at = symptom
    late = np.nonzero(issue.times >= at)[0]
    return Snapshot(
        elements=elements,
        kinds=(Kind.SERVICE,) * len(elements),
        edges=_edges(graph, place),
        signals=_SIGNALS,
        times=np.concatenate([issue.times[0] - _PERIOD_S * np.arange(rows, 0, -1), issue.times]),
        values=values,
        split=rows,
        target=place.get(node),
        trigger=rows + int(late[0]) if len(late) else None,
        target_signal=_COLUMN.get(metric),
    )


def _edges(graph: list[list[str]], place: dict[str, int]) -> IntArray:
    names = graph[0][1:]
    found = {
        (place[row[0]], place[names[index]])
        for row in graph[1:]
        for index, cell in enumerate(row[1:])
        if cell and float(cell) and row[0] in place and names[index] in place
    }
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 2)


def _sheet(path: Path) -> _Sheet:
    table = list(lines(path))
    if len(table) <= _HEADER + 1 or any(len(row) != len(table[0]) for row in table):
        raise DatasetInvalid(
            str(path), "a header of three levels, the index's name and rows of one length are expected"
        )
    nodes = tuple(sorted(set(table[0][1:])))
    place = {name: index for index, name in enumerate(nodes)}
    rows = table[_HEADER + 1 :]
    values = np.full((len(rows), len(nodes), len(_SIGNALS)), np.nan)
    columns = [(place[table[0][k]], _COLUMN.get(f"{table[1][k]} {table[2][k]}"), k) for k in range(1, len(table[0]))]
    for index, row in enumerate(rows):
        for node, signal, k in columns:
            if signal is not None:
                values[index, node, signal] = number(row[k], path)
    return _Sheet(nodes, _times([row[0] for row in rows], path), values)


def _times(cells: Sequence[str], path: Path) -> FloatArray:
    return np.array([number(cell, path) for cell in cells])
