"""Restore: a link that stayed clean carries traffic again, and loses it at once when that hurts."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from flows.healing import HealParameters, turn
from models.incident import IncidentState, OutcomeKind, Verdict
from models.remedy import ActionState, Limits, Remedy, RemedyName
from tasks import monitor, restore
from tests.tasks.virtual_time import virtual_time
from tests.tasks.world import LINK, TICK, ClosedLoop, closed_loop

CLEAN = timedelta(seconds=10)
LIMITS = Limits(clean_before_restore=CLEAN, cooldown_after_success=timedelta(seconds=5))


async def costed_out(loop: ClosedLoop) -> None:
    loop.break_link()
    (incident,) = await loop.seen()
    outcome = await turn(HealParameters(mesh=loop.mesh.name, incident=incident.id, dry_run=False))
    assert outcome.kind is OutcomeKind.FIXED, outcome.reason


async def due(loop: ClosedLoop, *, within: float) -> Remedy | None:
    restorer = restore.Restorer(loop.mesh.name)
    for _ in range(round(within / TICK)):
        await loop.looking(TICK)
        remedy = await restorer.next_due()
        if remedy is not None:
            return remedy
    return None


@virtual_time
async def test_a_link_that_stays_ill_is_not_given_back():
    async with closed_loop(limits=LIMITS) as loop:
        await costed_out(loop)
        assert await due(loop, within=20) is None


@virtual_time
async def test_a_link_that_stayed_clean_carries_its_traffic_again():
    async with closed_loop(limits=LIMITS) as loop:
        await costed_out(loop)
        loop.mend()
        mended = loop.clock.now()
        remedy = await due(loop, within=40)
        assert remedy.name is RemedyName.UNCOST_LINK
        assert loop.clock.now() - mended >= CLEAN
        outcome = await restore.give_back(loop.mesh.name, remedy)
        assert outcome.kind is OutcomeKind.FIXED, outcome.reason
        assert loop.settings() == {"n1 set-cost:to-n2": "101", "n2 set-cost:to-n1": "101"}
        assert await loop.states(remedy.incident) == [ActionState.COMMITTED] * 2
        assert await loop.state(remedy.incident) is IncidentState.CLOSED
        async with loop.unit() as uow:
            assert await uow.actions.standing(loop.mesh.name) == []
        assert await due(loop, within=2) is None


@virtual_time
async def test_a_link_that_falls_ill_again_under_traffic_is_taken_out_again():
    async with closed_loop(limits=LIMITS) as loop:
        await costed_out(loop)
        loop.mend()
        remedy = await due(loop, within=40)
        giving = asyncio.create_task(restore.give_back(loop.mesh.name, remedy))
        await loop.looking(2)
        loop.break_link()
        outcome = await giving
        assert outcome.kind is OutcomeKind.WORSE_UNDONE
        assert (await loop.story(remedy.incident)).verifications[-1].verdict is Verdict.WORSE
        assert loop.is_costed_out()
        async with loop.unit() as uow:
            standing = await uow.actions.standing(loop.mesh.name)
        assert {str(one.action.element) for one in standing} == {f"link:{LINK}"}
        assert await loop.state(remedy.incident) is IncidentState.CLOSED


@virtual_time
async def test_a_restoration_takes_no_symptoms_and_the_cycle_is_not_turned_for_it():
    async with closed_loop(limits=LIMITS) as loop:
        await costed_out(loop)
        loop.mend()
        remedy = await due(loop, within=40)
        giving = asyncio.create_task(restore.give_back(loop.mesh.name, remedy))
        await asyncio.sleep(2)
        loop.break_link("n0--n1")
        turned = []
        while not giving.done():
            turned += await loop.looking(TICK)
        assert remedy.incident not in {one.id for one in turned}
        assert (await loop.story(remedy.incident)).incident.symptoms == ()


@virtual_time
async def test_a_restoration_whose_run_died_is_closed_once_its_lease_has_undone_it():
    async with closed_loop(limits=LIMITS) as loop:
        await costed_out(loop)
        loop.mend()
        remedy = await due(loop, within=40)
        giving = asyncio.create_task(restore.give_back(loop.mesh.name, remedy))
        await asyncio.sleep(3)
        giving.cancel()
        await asyncio.gather(giving, return_exceptions=True)
        await loop.looking(5)
        assert await loop.state(remedy.incident) is IncidentState.HEALING
        await asyncio.sleep((LIMITS.lease + monitor.QUIET_BEFORE_CLOSING).total_seconds())
        await loop.looking(1)
        assert loop.is_costed_out()
        assert await loop.state(remedy.incident) is IncidentState.CLOSED
