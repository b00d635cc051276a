"""What every `SampleReader` promises: nodes tell samples, a reader gets them.

Subclass once per implementation and supply `source`. Between what nodes tell and what is read lie seconds of real time
where somebody must scrape them, so the cases are few and each asks for much. A source may number samples anew, as long
as the numbers rise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from infra.clock import SystemClock
from models.mesh import NodeId
from models.ports import SampleReader
from models.telemetry import (
    DaemonState,
    Direction,
    Drift,
    DriftKind,
    DropClass,
    DropCount,
    HostReading,
    InterfaceReading,
    KernelReading,
    LinkProbeReading,
    ProbeKind,
    ReachReading,
    Sample,
    SizeClass,
    TrafficClass,
    TrafficCount,
)
from models.telemetry import Protocol as Layer4

N0, N1 = NodeId("n0"), NodeId("n1")


class Source(Protocol):
    """Where samples come from, and what reads them there.

    Attributes:
        reader: What is asked.
        mesh: Of `N0` and `N1`, which have told nothing yet.
        other: Of `N0`, likewise.
    """

    reader: SampleReader
    mesh: str
    other: str

    async def tell(self, mesh: str, samples: Sequence[Sample]) -> None:
        """Let nodes tell a sample each, one at most; return once each can be read."""


def now() -> datetime:
    """Return the present in whole milliseconds, which every source can hold."""
    at = SystemClock().now()
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def bare(node: NodeId = N0, sequence: int = 0, *, at: datetime | None = None, epoch: int = 1) -> Sample:
    """Return the least a node tells."""
    return Sample(node, epoch, sequence, at or now())


def full(node: NodeId = N0) -> Sample:
    """Return a sample with something in every field, in the order every source keeps."""
    counts = (
        TrafficCount(Direction.RX, TrafficClass.DATA, SizeClass.LARGE, Layer4.TCP, 2**40 + 1, 2**50 + 1),
        TrafficCount(Direction.TX, TrafficClass.ROUTING, SizeClass.SMALL, Layer4.UDP, 3, 300),
    )
    probe = LinkProbeReading("to-n1", N1, ProbeKind.TRANSIT, SizeClass.SMALL, 5, 4, 3, 2, 0.3)
    silent = replace(probe, interface="to-n2", peer=NodeId("n2"), rtt_ms=None)
    drops = (DropCount(DropClass.NO_ROUTE, 7), DropCount(DropClass.QUEUE, 1))
    return Sample(
        node,
        1,
        0,
        now(),
        interfaces=(
            InterfaceReading("to-n1", has_carrier=True, carrier_changes=2, mtu=1500, counts=counts),
            InterfaceReading("to-n2", has_carrier=False, carrier_changes=3, mtu=1280, counts=()),
        ),
        probes=(probe, silent),
        reach=(ReachReading(N1, SizeClass.LARGE, 5, 4, 3, None), ReachReading(N1, SizeClass.SMALL, 9, 8, 7, 1.7)),
        host=HostReading(
            0.5, 10, 11, 12, DaemonState.STOPPED, KernelReading(drops, 4, 131.072), 0.25, 0.125, 0.0625, 99
        ),
        drifts=(
            Drift(DriftKind.MTU, "to-n1", "1500", "1280"),
            Drift(DriftKind.ROUTE, '10.9.0.0/16 "quoted\\', "via 10.0.0.1", ""),
        ),
        missing=frozenset({"softirq", "tcp-states"}),
    )


def same(found: Sequence[Sample]) -> list[Sample]:
    """Return samples without their numbers, and each once."""
    return list(dict.fromkeys(replace(one, sequence=0) for one in found))


class SampleReaderContract:
    """The recent past, to be read."""

    async def test_a_sample_comes_back_as_it_went_from_every_way_of_reading(self, source: Source):
        told = full()
        await source.tell(source.mesh, [told])
        start, end = told.at, told.at + timedelta(milliseconds=1)
        assert same(await source.reader.between(source.mesh, start, end)) == [told]
        assert same(list((await source.reader.latest(source.mesh)).values())) == [told]
        found, cursor = await source.reader.stored_after(source.mesh, 0)
        assert same(found) == [told]
        assert 0 < cursor <= await source.reader.newest_cursor(source.mesh)

    async def test_a_window_includes_its_start_excludes_its_end_and_is_ordered(self, source: Source):
        start = now()
        instants = [start + timedelta(milliseconds=100 * tick) for tick in range(4)]
        told = [[bare(N1, tick, at=at), bare(N0, tick, at=at)] for tick, at in enumerate(instants)]
        for pair in told:
            await source.tell(source.mesh, pair)
        found = await source.reader.between(source.mesh, instants[1], instants[3])
        expected = [(at, node) for at in instants[1:3] for node in (N0, N1)]
        assert [(one.at, one.node) for one in found] == expected
        of_one = await source.reader.between(source.mesh, instants[1], instants[3], nodes=[N1])
        assert [(one.at, one.node) for one in of_one] == [one for one in expected if one[1] == N1]
        assert await source.reader.between(source.mesh, instants[0], instants[3], nodes=[]) == []

    async def test_a_cursor_misses_nothing_and_numbers_rise(self, source: Source):
        seen: list[Sample] = []
        cursor = await source.reader.newest_cursor(source.mesh)
        assert cursor == 0
        told = [bare(N0, tick) for tick in range(1)]
        for tick in range(4):
            told.append(bare(N0, tick + 1, at=told[-1].at + timedelta(milliseconds=200)))
            await source.tell(source.mesh, [told[-1]])
            found, later = await source.reader.stored_after(source.mesh, cursor)
            assert later > cursor
            seen, cursor = [*seen, *found], later
        assert same(seen) == same(told[1:])
        assert await source.reader.stored_after(source.mesh, 0) != ([], 0), "another reader begins anew"
        numbers = list(dict.fromkeys(one.sequence for one in seen))
        assert numbers == sorted(numbers)

    async def test_a_limit_cuts_the_walk_and_nothing_is_lost(self, source: Source):
        told = [bare(N0, tick, at=now() + timedelta(milliseconds=100 * tick)) for tick in range(4)]
        for one in told:
            await source.tell(source.mesh, [one])
        seen: list[Sample] = []
        cursor, looks = 0, 0
        while len(same(seen)) < len(told):
            found, cursor = await source.reader.stored_after(source.mesh, cursor, limit=2)
            seen, looks = [*seen, *found], looks + 1
        assert looks >= 2
        assert same(seen) == same(told)

    async def test_a_collector_that_starts_anew_is_told_by_its_epoch(self, source: Source):
        before = bare(N0, 7)
        after = bare(N0, 0, at=before.at + timedelta(milliseconds=300), epoch=2)
        for one in (before, after):
            await source.tell(source.mesh, [one])
        found, _ = await source.reader.stored_after(source.mesh, 0)
        assert [one.epoch for one in same(found)] == [1, 2]
        assert (await source.reader.latest(source.mesh))[N0].epoch == 2

    async def test_meshes_do_not_mix(self, source: Source):
        await source.tell(source.other, [bare()])
        assert (
            await source.reader.between(source.mesh, now() - timedelta(minutes=1), now() + timedelta(minutes=1)) == []
        )
        assert await source.reader.stored_after(source.mesh, 0) == ([], 0)
        assert await source.reader.latest(source.mesh) == {}
        assert await source.reader.newest_cursor(source.mesh) == 0
