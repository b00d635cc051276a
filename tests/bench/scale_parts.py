"""The parts of `bench scale`, each measured in a process of its own and kept as a line, and the rows made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from pydantic import BaseModel, ConfigDict

from tests.bench.report import Row


class Kind(StrEnum):
    """What a part is about: a mesh in namespaces, made-up reports of one, its regions, or its samples' other source."""

    LAB = "lab"
    REPORTED = "reported"
    REGIONS = "regions"
    TELEMETRY = "telemetry"


CASES = {
    Kind.LAB: "{} nodes",
    Kind.REPORTED: "{} nodes, made-up reports",
    Kind.REGIONS: "{} nodes, made-up reports, in regions",
    Kind.TELEMETRY: "{} nodes, made-up reports, scraped by Prometheus",
}
# In the order of the table.
UNITS = {
    "cores": "cores",
    "postgres_cores": "cores",
    "memory": "MB",
    "watch_memory": "MB",
    "samples": "rows/s",
    "samples_missed": "share",
    "regions": "regions",
    "cut": "s",
    "look_ms": "ms",
    "look_fault_ms": "ms",
    "look_to_made_up": "times",
    "together_ms": "ms",
    "outlook": "KB",
    "cores_together": "cores, calculated",
    "answer": "MB/look",
    "wall_ms": "ms",
    "decide_ms": "ms",
    "time_to_detect": "s",
    "outage": "s",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A part: what, of how many nodes, for the which time (from 0)."""

    kind: Kind
    size: int
    number: int

    def __str__(self) -> str:
        return f"{CASES[self.kind].format(self.size)}, time {self.number + 1}"


class Part(BaseModel):
    """A part that was tried.

    Attributes:
        kind: Of the part, as are size and number.
        seed: The benchmark's; the part's own is that and its number.
        commit: What was measured.
        error: Why there are no figures; empty where there are.
        figures: By metric of `UNITS`; None where something did not finish.
        notes: What a reader of the figures should know.
        wall_s: It took, start and end and all.
        load: The machine's load average of a minute, at the end.
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind
    size: int
    number: int
    seed: int
    commit: str
    error: str = ""
    figures: dict[str, float | None] = {}
    notes: tuple[str, ...] = ()
    wall_s: float
    load: float

    @property
    def asked(self) -> Asked:
        """Which part it is."""
        return Asked(self.kind, self.size, self.number)


def plan(sizes: Mapping[Kind, Sequence[int]], *, times: int) -> list[Asked]:
    """Return the parts in the order in which they are measured: small ones first, all once before any twice.

    Beside each mesh in namespaces stands one of made-up reports.
    """
    told = sorted({*sizes.get(Kind.REPORTED, ()), *sizes.get(Kind.LAB, ())})
    wanted = {**sizes, Kind.REPORTED: told}
    return [
        Asked(kind, size, number)
        for number in range(times)
        for kind in (Kind.REPORTED, Kind.LAB, Kind.REGIONS, Kind.TELEMETRY)
        for size in sorted(set(wanted.get(kind, ())))
    ]


def wanting(asked: Sequence[Asked], parts: Iterable[Part]) -> list[Asked]:
    """Return the parts without figures, in the plan's order; one that failed is wanting still."""
    done = {part.asked for part in parts if not part.error}
    return [one for one in asked if one not in done]


def rows(asked: Sequence[Asked], parts: Iterable[Part]) -> tuple[Row, ...]:
    """Return the median of each figure; made-up reports stand beside the lab of their size, or in rows of their own.

    Parts that nobody asked for now, and those that failed, stay out.
    """
    wanted = set(asked)
    found: dict[tuple[Kind, int], list[Part]] = {}
    for part in parts:
        if part.asked in wanted and not part.error:
            found.setdefault((part.kind, part.size), []).append(part)
    made: list[Row] = []
    for kind in Kind:
        for size in sorted(size for of, size in found if of is kind):
            if kind is Kind.REPORTED and (Kind.LAB, size) in found:
                continue
            beside = found.get((Kind.REPORTED, size), ()) if kind is Kind.LAB else ()
            made += _rows(CASES[kind].format(size), found[kind, size], beside)
    return tuple(made)


def _rows(case: str, parts: Sequence[Part], beside: Sequence[Part]) -> list[Row]:
    mine, others = _figures(parts), _figures(beside)
    return [
        Row(
            case=case,
            metric=metric,
            unit=unit,
            value=_median(mine.get(metric, ())),
            n=len(mine.get(metric, ())),
            peers={"made-up reports": _median(others[metric])} if metric in others else {},
        )
        for metric, unit in UNITS.items()
        # What was made up alone has no lab's figure to stand beside: deciding, for one.
        if metric in mine or metric in others
    ]


def _figures(parts: Iterable[Part]) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    for part in parts:
        for metric, value in part.figures.items():
            found.setdefault(metric, []).append(value)
    return found


def _median(values: Sequence[float | None]) -> float | None:
    """Return the median; None where one did not finish, which the others must not hide."""
    finished = [one for one in values if one is not None]
    return median(finished) if finished and len(finished) == len(values) else None


def notes(asked: Sequence[Asked], parts: Sequence[Part]) -> tuple[str, ...]:
    """Say how far the rows may be believed."""
    wanted = set(asked)
    relevant = [part for part in parts if part.asked in wanted]
    lacking = wanting(asked, relevant)
    said = [f"{one.asked}: {note}" for one in relevant for note in one.notes]
    said += [f"{one.asked} failed: {one.error}" for one in relevant if one.error and one.asked in lacking]
    if lacking:
        said.append(f"{len(lacking)} of {len(asked)} parts have no figures")
    if len(commits := sorted({part.commit for part in relevant})) > 1:
        said.append(f"several commits: {', '.join(commits)}")
    if loads := [part.load for part in relevant]:
        said.append(f"load average at the end of a part {min(loads):.1f} to {max(loads):.1f}")
    return tuple(said)
