"""Snapshots: what every element showed before and during an incident, as arrays that any analysis may read.

One type for two kinds of graph. An edge `[i, j]` says that **i depends on j**, so a fault of j may show in i:

- Service graph: i calls j.
- Mesh: a node depends on each of its links, `[node, link]` from both ends. A link is **one** element, as a remedy sees
  it. What differs by direction stands in two signals that do not know which end is which (the worse direction, the
  better one), so that renaming or turning a link around changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

from models.errors import SnapshotInvalid

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Worse = Literal[-1, 0, 1]


class Kind(StrEnum):
    """What an element is."""

    NODE = "node"
    LINK = "link"
    SERVICE = "service"
    INSTANCE = "instance"


class SignalKind(StrEnum):
    """What a signal counts: decides which scale floor and which score make sense for it.

    `EVENT` is a count of alerts that somebody else's detector raised: 0 is normal, there is no past.
    """

    RATE = "rate"
    GAUGE = "gauge"
    LATENCY = "latency"
    ERRORS = "errors"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class SignalSpec:
    """One column of a snapshot.

    Attributes:
        name: As the source calls it; the same for every element.
        unit: `s`, `ms`, `share`, `1/s`, `By`, `1`, ...; empty where the source does not tell.
        worse: +1: more is worse; -1: less is worse; 0: either way is only strange.
        kind: What it counts.
        outward: An element measures it of what it depends on, as a client does its server's latency: when it strays,
            it is one of those, or the way there.
    """

    name: str
    unit: str
    worse: Worse
    kind: SignalKind
    outward: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What N elements showed in S signals at T times.

    Attributes:
        elements: N ids, unique.
        kinds: N, of each element.
        edges: (E, 2) indices into elements, `[i, j]`: i depends on j. No duplicates; an element may depend on itself.
        signals: S.
        times: (T,) seconds, ascending.
        values: (T, N, S) as measured; NaN: not measured, which is neither zero nor normal.
        split: Index of the first abnormal row; rows before it are the past. 0: there is no past.
        target: Index of the element where the symptom was seen; None: unknown.
        trigger: Row whose values raised the alarm, >= split; None: unknown.
        target_signal: Index of the signal that raised the alarm; None: unknown.

    Raises:
        SnapshotInvalid: shapes, indices or order do not fit.
    """

    elements: tuple[str, ...]
    kinds: tuple[Kind, ...]
    edges: IntArray
    signals: tuple[SignalSpec, ...]
    times: FloatArray
    values: FloatArray
    split: int
    target: int | None = None
    trigger: int | None = None
    target_signal: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no analysis could read."""
        count, rows = len(self.elements), len(self.times)
        checks = (
            ("elements", len(set(self.elements)) == count > 0, "give each element one id of its own, at least one"),
            ("kinds", len(self.kinds) == count, "give one kind for each element"),
            ("values", self.values.shape == (rows, count, len(self.signals)), "give (times, elements, signals)"),
            ("values", not np.isinf(self.values).any(), "write NaN for what was not measured, never infinity"),
            ("times", self.times.ndim == 1 and bool(np.all(np.diff(self.times) > 0)), "order the times, each once"),
            ("times", bool(np.all(np.isfinite(self.times))), "give every row a finite time"),
            ("edges", self.edges.ndim == 2 and self.edges.shape[1] == 2, "give (edges, 2)"),  # noqa: PLR2004 - a pair
            ("split", 0 <= self.split < rows, "leave at least one abnormal row"),
            ("target", self.target is None or 0 <= self.target < count, "name an element of this snapshot"),
            ("trigger", self.trigger is None or self.split <= self.trigger < rows, "name an abnormal row"),
            (
                "target_signal",
                self.target_signal is None or 0 <= self.target_signal < len(self.signals),
                "name a signal of this snapshot",
            ),
        )
        for field, holds, advice in checks:
            if not holds:
                raise SnapshotInvalid(field, advice)
        if self.edges.size and not (self.edges.min() >= 0 and self.edges.max() < count):
            raise SnapshotInvalid("edges", "join only elements of this snapshot")
        if len(np.unique(self.edges, axis=0)) != len(self.edges):
            raise SnapshotInvalid("edges", "name each dependency once")

    @property
    def past(self) -> FloatArray:
        """(split, N, S): rows before the incident."""
        return self.values[: self.split]

    @property
    def now(self) -> FloatArray:
        """(T - split, N, S): rows of the incident."""
        return self.values[self.split :]

    def before(self) -> Snapshot:
        """Return the past as if it were the incident: to be scored as one, with what is normal from elsewhere."""
        return replace(
            self,
            times=self.times[: self.split],
            values=self.past,
            split=0,
            target=None,
            trigger=None,
            target_signal=None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A snapshot whose truth is known.

    Attributes:
        name: Unique in its set.
        snapshot: What was seen.
        roots: Ids of the elements that were at fault, as they stand in the snapshot; empty: no fault, or none in view.
        fault: Kind of fault as the set calls it; None where it does not tell.
        side: Which side of the published split; a method may be fitted on `train` only.
        group: Cases that share it share their cause, and stay on one side of any cross-validation.

    Raises:
        SnapshotInvalid: a root is no element of the snapshot.
    """

    name: str
    snapshot: Snapshot
    roots: tuple[str, ...]
    fault: str | None
    side: Literal["train", "test"]
    group: str = ""

    def __post_init__(self) -> None:
        """Refuse a truth that nobody could find."""
        missing = [root for root in self.roots if root not in self.snapshot.elements]
        if missing:
            raise SnapshotInvalid("roots", f"{', '.join(missing)}: name elements of the snapshot")
