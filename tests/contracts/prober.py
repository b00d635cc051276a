"""What every prober promises: cumulative counts that never contradict each other, and nothing left behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from models.ports import Prober
from models.telemetry import ProbeKind, SizeClass


@dataclass
class ProberBench:
    """A prober with one link `to-b` and one target `b`, and ways to let time pass and to cut the peer off."""

    prober: Prober
    elapse: Callable[[], Awaitable[None]]
    """Let so much time pass that every slot has sent and settled something more."""
    cut: Callable[[], None]
    """From now on no request gets an answer."""


class ProberContract:
    """What every Prober promises. Subclass once per implementation; supply `bench`, not started."""

    async def test_names_every_slot_before_the_first_probe(self, bench: ProberBench):
        links, reach = bench.prober.read()
        assert {(row.interface, row.kind, row.size) for row in links} == {
            ("to-b", kind, size) for kind in ProbeKind for size in (SizeClass.SMALL, SizeClass.LARGE)
        }
        assert {(row.target, row.size) for row in reach} == {("b", SizeClass.SMALL), ("b", SizeClass.LARGE)}
        assert all(row.sent == row.settled == row.answered == 0 for row in (*links, *reach))

    async def test_answered_probes_count_and_are_heard_at_the_far_side(self, bench: ProberBench):
        await bench.prober.start()
        await bench.elapse()
        links, reach = bench.prober.read()
        await bench.prober.close()
        for row in (*links, *reach):
            assert 0 < row.answered == row.settled <= row.sent
            assert row.rtt_ms is not None
            assert row.rtt_ms >= 0
        assert all(row.heard > 0 for row in links)

    async def test_counts_only_grow_and_never_contradict_each_other(self, bench: ProberBench):
        await bench.prober.start()
        before = bench.prober.read()
        for _ in range(2):
            await bench.elapse()
            now = bench.prober.read()
            for old, new in zip((*before[0], *before[1]), (*now[0], *now[1]), strict=True):
                assert new.answered <= new.settled <= new.sent
                assert (new.sent, new.settled, new.answered) >= (old.sent, old.settled, old.answered)
                assert new.sent > old.sent
            before = now
        await bench.prober.close()

    async def test_probes_without_an_answer_are_settled_and_lost(self, bench: ProberBench):
        await bench.prober.start()
        bench.cut()
        await bench.elapse()
        links, reach = bench.prober.read()
        await bench.prober.close()
        for row in (*links, *reach):
            assert row.settled > 0
            assert row.answered == 0
            assert row.rtt_ms is None

    async def test_reading_takes_the_round_trips_and_keeps_the_counts(self, bench: ProberBench):
        await bench.prober.start()
        await bench.elapse()
        bench.prober.read()
        await bench.prober.close()
        links, _ = bench.prober.read()
        assert all(row.rtt_ms is None and row.answered > 0 for row in links)

    async def test_closing_twice_is_closing_once(self, bench: ProberBench):
        await bench.prober.start()
        await bench.prober.close()
        await bench.prober.close()
