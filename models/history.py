"""The recent past of one node, as the detector keeps it: samples in order, and what they count as columns."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.columns import Columns
from models.linkview import Tally
from models.mesh import NodeId
from models.telemetry import Direction, InterfaceReading, ProbeKind, Sample, SizeClass, TrafficClass

FloatArray = NDArray[np.float64]
_Kind = TypeVar("_Kind")

CLASSES = tuple(TrafficClass)
SIZES = tuple(SizeClass)
CHANNELS: tuple[tuple[TrafficClass, SizeClass], ...] = tuple((kind, size) for kind in CLASSES for size in SIZES)
_CHANNEL = {channel: index for index, channel in enumerate(CHANNELS)}
_ROUTING = np.array([kind is TrafficClass.ROUTING for kind, _ in CHANNELS], dtype=np.float64)
PROBES: tuple[tuple[ProbeKind, SizeClass], ...] = tuple((kind, size) for kind in ProbeKind for size in SIZES)
_PROBE = {probe: index for index, probe in enumerate(PROBES)}
_SIZE = {size: index for index, size in enumerate(SIZES)}

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
    """A sample and its place in time."""

    sequence: int
    time: float = field(compare=False)
    sample: Sample = field(compare=False)


class NodeHistory:
    """Samples of one node's current collector epoch, by sequence.

    An epoch change starts over: its counters restart from zero, and what was lost in between cannot be known.

    Attributes:
        began: When the first sample of this epoch was taken that ever arrived, POSIX seconds; before any: infinity.
    """

    def __init__(self, node: NodeId, *, keep_seconds: float) -> None:
        self.node = node
        self.epoch = -1
        self.began = float("inf")
        self.readings: list[Reading] = []
        self._keep = keep_seconds
        self._columns = Columns()

    def add(self, sample: Sample) -> None:
        """Take one sample in, wherever its sequence belongs; one of an older epoch or seen before changes nothing."""
        if sample.epoch < self.epoch:
            return
        if sample.epoch > self.epoch:
            self.epoch, self.began, self.readings, self._columns = sample.epoch, float("inf"), [], Columns()
        self.began = min(self.began, sample.at.timestamp())
        place = bisect_left(self.readings, sample.sequence, key=lambda one: one.sequence)
        if place < len(self.readings) and self.readings[place].sequence == sample.sequence:
            return
        is_newest = place == len(self.readings)
        insort(self.readings, Reading(sample.sequence, sample.at.timestamp(), sample))
        if is_newest:
            _write(self._columns, sample)
        else:
            self._columns = Columns()
            for reading in self.readings:
                _write(self._columns, reading.sample)
        newest = self.readings[-1].time
        if newest - self.readings[0].time > _SLACK_FACTOR * self._keep:
            old = self.index_at(newest - self._keep)
            self.readings = self.readings[old:]
            self._columns.forget(old)

    @property
    def times(self) -> FloatArray:
        """(n,) POSIX seconds of the readings."""
        return self._column("time")

    def index_at(self, time: float) -> int:
        """Return the index of the last reading at or before `time`; 0 when all are later."""
        return max(0, int(np.searchsorted(self.times, time, side="right")) - 1)

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
        column = self._columns.find((direction, interface))
        if column is None:
            return None
        begin = self.index_at(since)
        times, values = self.times[begin:], column[begin:]
        broken = np.isnan(values[:, 0])
        broken[:-1] |= (values[1:] < values[:-1]).any(axis=1)
        if broken.any():
            after = int(np.flatnonzero(broken)[-1]) + 1
            times, values = times[after:], values[after:]
        if times.size > 1:
            is_later = times[1:] > np.maximum.accumulate(times[:-1])
            if not is_later.all():
                kept = np.concatenate(([True], is_later))
                times, values = times[kept], values[kept]
        return Counter(times, values) if times.size > 1 else None

    def carrier_changes(self, interface: str, *, since: float) -> tuple[FloatArray, FloatArray]:
        """Return when an interface was read from `since` on, and its cumulative carrier changes then: (n,) each."""
        column = self._column(("carrier", interface))[self.index_at(since) :]
        is_known = ~np.isnan(column)
        return self.times[self.index_at(since) :][is_known], column[is_known]

    def routing_spoken(self) -> FloatArray:
        """Return (n,) routing packets sent over all interfaces, cumulative; NaN where nothing was counted."""
        return self._column("routing")

    def round_trips(self, interface: str) -> FloatArray:
        """Return (n,) milliseconds of the quicker kind of small probe: what delays one kind only is not the link."""
        return self._column(("rtt", interface))

    def judged(self, interface: str, since: FloatArray) -> FloatArray:
        """Return the probes judged on an interface from each instant until now: (w, kinds of `PROBES`, 2).

        The last axis is settled and answered; NaN where either reading has no such probe.
        """
        return self._until_now(("probes", interface), since, len(PROBES))

    def reached(self, target: NodeId, since: FloatArray) -> FloatArray:
        """Return the reach probes of a target judged from each instant until now, as `judged`: (w, sizes, 2)."""
        return self._until_now(("reach", target), since, len(SIZES))

    def probes_between(self, interface: str, start: float, end: float) -> dict[tuple[ProbeKind, SizeClass], Tally]:
        """Return the probes judged on an interface between the readings at two instants, by kind and size."""
        column = self._columns.find(("probes", interface))
        if column is None:
            return {}
        return tallies(PROBES, column[self.index_at(end)] - column[self.index_at(start)])

    def reach_between(self, start: float, end: float) -> dict[NodeId, dict[SizeClass, Tally]]:
        """Return the reach probes judged between the readings at two instants, by target and size."""
        earlier, later = self.index_at(start), self.index_at(end)
        found: dict[NodeId, dict[SizeClass, Tally]] = {}
        for target in dict.fromkeys(one.target for one in self.readings[later].sample.reach):
            column = self._columns.find(("reach", target))
            sizes = {} if column is None else tallies(SIZES, column[later] - column[earlier])
            if sizes:
                found[target] = sizes
        return found

    def _column(self, key: Hashable) -> FloatArray:
        column = self._columns.find(key)
        return np.full(len(self._columns), np.nan) if column is None else column

    def _until_now(self, key: tuple[str, str], since: FloatArray, kinds: int) -> FloatArray:
        column = self._columns.find(key)
        if column is None:
            return np.full((since.size, kinds, 2), np.nan)
        rows = np.maximum(np.searchsorted(self.times, since, side="right") - 1, 0)
        return np.asarray(column[-1] - column[rows], dtype=np.float64)


def tallies(kinds: tuple[_Kind, ...], judged: FloatArray) -> dict[_Kind, Tally]:
    """Return (kinds, 2) settled and answered probes as tallies, without those that were not measured."""
    return {
        kind: Tally(int(settled), int(settled - answered))
        for kind, (settled, answered) in zip(kinds, judged, strict=True)
        if not np.isnan(settled)
    }


def _write(columns: Columns, sample: Sample) -> None:
    columns.begin_row()
    columns.put("time", sample.at.timestamp())
    for interface in sample.interfaces:
        columns.put(("carrier", interface.name), interface.carrier_changes)
    if "counters" not in sample.missing:
        spoken = 0.0
        for interface in sample.interfaces:
            sent, received = _rows(interface)
            columns.put((Direction.TX, interface.name), sent)
            columns.put((Direction.RX, interface.name), received)
            spoken += float(sent @ _ROUTING)
        columns.put("routing", spoken)
    probes: dict[str, FloatArray] = {}
    trips: dict[str, float] = {}
    for link in sample.probes:
        judged = probes.setdefault(link.interface, np.full((len(PROBES), 2), np.nan))
        judged[_PROBE[link.kind, link.size]] = link.settled, link.answered
        if link.size is SizeClass.SMALL and link.rtt_ms is not None:
            trips[link.interface] = min(link.rtt_ms, trips.get(link.interface, math.inf))
    targets: dict[NodeId, FloatArray] = {}
    for far in sample.reach:
        judged = targets.setdefault(far.target, np.full((len(SIZES), 2), np.nan))
        judged[_SIZE[far.size]] = far.settled, far.answered
    for name, group in (("probes", probes), ("reach", targets), ("rtt", trips)):
        for of, value in group.items():
            columns.put((name, of), value)


def _rows(interface: InterfaceReading) -> tuple[FloatArray, FloatArray]:
    sent, received = np.zeros(len(CHANNELS)), np.zeros(len(CHANNELS))
    for count in interface.counts:
        row = sent if count.direction is Direction.TX else received
        row[_CHANNEL[count.traffic, count.size]] += count.packets
    return sent, received
