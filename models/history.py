"""The recent past of one node, as the detector keeps it: samples in order, and counters as arrays."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.mesh import NodeId
from models.telemetry import Direction, InterfaceReading, Sample, SizeClass, TrafficClass

FloatArray = NDArray[np.float64]

CLASSES = tuple(TrafficClass)
SIZES = tuple(SizeClass)
CHANNELS: tuple[tuple[TrafficClass, SizeClass], ...] = tuple((kind, size) for kind in CLASSES for size in SIZES)
_CHANNEL = {channel: index for index, channel in enumerate(CHANNELS)}

# Twice the retention is kept before trimming, so that trimming costs once a minute and not once a sample.
_SLACK_FACTOR = 2


@dataclass(frozen=True, slots=True)
class Counter:
    """One cumulative counter per channel, read at several instants.

    Attributes:
        times: (n,) POSIX seconds, strictly rising.
        values: (n, channels) packets, never falling.
    """

    times: FloatArray
    values: FloatArray


@dataclass(frozen=True, slots=True, order=True)
class Reading:
    """A sample, and its packet counts by interface as rows of `CHANNELS`."""

    sequence: int
    time: float = field(compare=False)
    sample: Sample = field(compare=False)
    sent: dict[str, FloatArray] = field(compare=False)
    received: dict[str, FloatArray] = field(compare=False)


def _rows(interface: InterfaceReading) -> tuple[FloatArray, FloatArray]:
    sent, received = np.zeros(len(CHANNELS)), np.zeros(len(CHANNELS))
    for count in interface.counts:
        row = sent if count.direction is Direction.TX else received
        row[_CHANNEL[count.traffic, count.size]] += count.packets
    return sent, received


class NodeHistory:
    """Samples of one node's current collector epoch, by sequence.

    An epoch change starts over: its counters restart from zero, and what was lost in between cannot be known.
    """

    def __init__(self, node: NodeId, *, keep_seconds: float) -> None:
        self.node = node
        self.epoch = -1
        self.readings: list[Reading] = []
        self._keep = keep_seconds

    def add(self, sample: Sample) -> None:
        """Take one sample in, wherever its sequence belongs; one of an older epoch or seen before changes nothing."""
        if sample.epoch < self.epoch:
            return
        if sample.epoch > self.epoch:
            self.epoch, self.readings = sample.epoch, []
        place = bisect_left(self.readings, sample.sequence, key=lambda one: one.sequence)
        if place < len(self.readings) and self.readings[place].sequence == sample.sequence:
            return
        rows = {one.name: _rows(one) for one in sample.interfaces}
        insort(
            self.readings,
            Reading(
                sample.sequence,
                sample.at.timestamp(),
                sample,
                {name: row[0] for name, row in rows.items()},
                {name: row[1] for name, row in rows.items()},
            ),
        )
        newest = self.readings[-1].time
        if newest - self.readings[0].time > _SLACK_FACTOR * self._keep:
            self.readings = self.readings[self.index_at(newest - self._keep) :]

    def index_at(self, time: float) -> int:
        """Return the index of the last reading at or before `time`; 0 when all are later."""
        return max(0, bisect_right(self.readings, time, key=lambda one: one.time) - 1)

    def since(self, time: float) -> list[Reading]:
        """Return the readings from the last one at or before `time` on."""
        return self.readings[self.index_at(time) :] if self.readings else []

    @property
    def latest(self) -> Reading | None:
        """The newest reading of this epoch."""
        return self.readings[-1] if self.readings else None

    def answers_from(self, timeout_seconds: float) -> float:
        """Return since when probes sent to this node are judged that its collector could answer; never: infinity.

        Who does not collect yet does not answer yet; that is no loss. What was sent before is judged a time-out later.
        """
        return self.readings[0].time + timeout_seconds if self.readings else float("inf")

    def counter(self, interface: str, direction: Direction, *, since: float) -> Counter | None:
        """Return an interface's counter from `since` on, or None where it was not measured.

        Where the interface vanished or its counter fell back, only what came after counts.
        """
        times: list[float] = []
        rows: list[FloatArray] = []
        for reading in self.since(since):
            row = (reading.sent if direction is Direction.TX else reading.received).get(interface)
            if row is None or "counters" in reading.sample.missing:
                times, rows = [], []
                continue
            if rows and bool(np.any(row < rows[-1])):
                times, rows = [], []
            if not times or reading.time > times[-1]:
                times.append(reading.time)
                rows.append(row)
        if len(times) < 2:  # noqa: PLR2004 - one reading of a cumulative counter says nothing
            return None
        return Counter(np.array(times), np.stack(rows))
