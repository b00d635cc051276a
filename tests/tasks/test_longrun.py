"""Holding a post: a steady pace that outlives the database, and stops when it must."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from models.errors import SourceUnavailable, StaleEpoch
from tasks import longrun
from tests.tasks.virtual_time import virtual_time

EVERY = timedelta(seconds=0.5)
ROLE = "watch-mesh:test"


class Holder:
    """A role that is ours until the test says otherwise; keeps the instants of its beats."""

    role = ROLE

    def __init__(self) -> None:
        self.beats: list[float] = []
        self.error: Exception | None = None

    async def beat(self) -> None:
        if self.error is not None:
            raise self.error
        self.beats.append(asyncio.get_running_loop().time())


class Ticks:
    """Counts its calls; `errors` says what each next one raises."""

    def __init__(self, *errors: Exception | None, lasts: float = 0.0) -> None:
        self.at: list[float] = []
        self._errors = list(errors)
        self._lasts = lasts

    async def __call__(self) -> None:
        self.at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self._lasts)
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error


async def paced(ticks: Ticks, holder: Holder, *, seconds: float) -> BaseException | None:
    """Keep the pace for so long; return what ended it before."""
    beating = asyncio.create_task(longrun._beat(holder))
    pacing = asyncio.create_task(longrun._pace(ROLE, ticks, every=EVERY, beating=beating))
    await asyncio.wait([pacing], timeout=seconds)
    error = pacing.exception() if pacing.done() else None
    for one in (pacing, beating):
        one.cancel()
    await asyncio.gather(pacing, beating, return_exceptions=True)
    return error


@virtual_time
async def test_it_ticks_at_its_pace_and_beats_every_second():
    ticks, holder = Ticks(), Holder()
    assert await paced(ticks, holder, seconds=3.2) is None
    assert ticks.at == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert holder.beats == [0.0, 1.0, 2.0, 3.0]


@virtual_time
async def test_a_late_tick_is_not_made_up_for():
    ticks = Ticks(lasts=1.25)
    assert await paced(ticks, Holder(), seconds=4) is None
    assert ticks.at == [0.0, 1.25, 2.5, 3.75]


@virtual_time
async def test_five_failing_ticks_in_a_row_stop_the_run():
    ticks = Ticks(*[ValueError(f"tick {number}") for number in range(9)])
    error = await paced(ticks, Holder(), seconds=30)
    assert str(error) == "tick 4"
    assert len(ticks.at) == longrun.FAILURES_BEFORE_STOPPING


@virtual_time
async def test_a_tick_that_works_forgives_those_before():
    ticks = Ticks(*[*[ValueError("now and then")] * 4, None] * 5)
    assert await paced(ticks, Holder(), seconds=20) is None
    assert len(ticks.at) == 40


@virtual_time
async def test_an_absent_database_is_waited_out():
    away = SourceUnavailable("the database")
    ticks, holder = Ticks(*[away] * 60), Holder()
    holder.error = away
    assert await paced(ticks, holder, seconds=40) is None
    assert (len(ticks.at), holder.beats) == (80, [])


@virtual_time
async def test_beats_go_on_when_the_database_is_back():
    holder = Holder()
    beating = asyncio.create_task(longrun._beat(holder))
    await asyncio.sleep(1.5)
    holder.error = SourceUnavailable("the database")
    await asyncio.sleep(3)
    holder.error = None
    await asyncio.sleep(2)
    beating.cancel()
    assert holder.beats == [0.0, 1.0, 5.0, 6.0]


@virtual_time
async def test_a_beat_that_finds_a_successor_stops_the_run():
    ticks, holder = Ticks(), Holder()
    pacing = asyncio.create_task(paced(ticks, holder, seconds=30))
    await asyncio.sleep(5.2)
    holder.error = StaleEpoch(ROLE, 1)
    error = await pacing
    assert isinstance(error, StaleEpoch)
    assert ticks.at[-1] <= 6.5


@virtual_time
async def test_a_tick_that_finds_a_successor_stops_the_run_at_once():
    ticks = Ticks(None, StaleEpoch(ROLE, 1))
    assert isinstance(await paced(ticks, Holder(), seconds=30), StaleEpoch)
    assert len(ticks.at) == 2
