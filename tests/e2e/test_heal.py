"""Done when 1: a grey link is healed, proven, and given its traffic back once it is well."""

from __future__ import annotations

import asyncio
from pathlib import Path

from flows.trial import report
from infra.clock import SystemClock
from infra.lab.build import Lab
from infra.lab.running import measure
from infra.lab.topology import Shape
from infra.lab.trial import FaultSpec, TrialSpec
from infra.lab.verdict import ControllerReport
from models.incident import FaultKind, IncidentId, OutcomeKind, Verdict
from models.mesh import Element, LinkId
from models.remedy import ActionState, RemedyName, Verb
from tests.e2e.house import CLEAN_SECONDS
from tests.e2e.waiting import NotYet, until
from tests.e2e.world import World


class Onlooker:
    """Tells the trial what the installation did; starts and stops nothing."""

    def __init__(self, world: World, known: set[IncidentId]) -> None:
        self._world = world
        self._known = known

    async def start(self, lab: Lab) -> None:
        pass

    async def stop(self) -> ControllerReport:
        return report(await self._world.news(self._known))


def grey_trial(*, seconds: float, stop_after_clean_s: float | None) -> TrialSpec:
    """Let the middle link of the traffic's path go grey."""
    return TrialSpec(
        name="grey",
        topology=Shape.RING_CHORD,
        size=6,
        faults=(FaultSpec(kind=FaultKind.GREY),),
        warm_up_s=3,
        duration_s=seconds,
        stop_after_clean_s=stop_after_clean_s,
    )


async def test_while_an_operator_paused_it_nothing_acts_and_the_traffic_stays_lost(world: World, tmp_path: Path):
    known = await world.known()
    assert world.house.run("pause").returncode == 0
    spec = grey_trial(seconds=12, stop_after_clean_s=None)
    result = await measure(spec, Onlooker(world, known), lab=world.lab, folder=tmp_path, clock=SystemClock())
    assert result.void is None, result.void
    assert result.never_recovered
    assert result.route_changes == 0
    assert result.right_cause
    assert result.actions == ()

    async def is_refused() -> bool | NotYet:
        stories = await world.news(known)
        reasons = [reason for story in stories for one in story.remedies for _, reason in one.refused]
        return True if "an operator paused all actions" in reasons else NotYet(f"refused for {reasons}")

    # A busy machine plans after the seconds that were measured.
    await until("the plan to be refused", is_refused, within=20)


async def test_a_grey_link_on_the_traffics_path_is_healed_as_the_outside_prober_says(world: World, tmp_path: Path):
    known = await world.known()
    spec = grey_trial(seconds=45, stop_after_clean_s=6)
    result = await measure(spec, Onlooker(world, known), lab=world.lab, folder=tmp_path, clock=SystemClock())
    assert result.void is None, result.void
    assert not result.never_recovered
    assert result.loss_before == 0
    assert result.loss_during is not None
    assert result.loss_during > 0.5
    assert result.loss_after is not None
    assert result.loss_after < 0.02
    assert result.path_after != result.path_before
    assert result.right_cause
    assert result.wrong_left == 0

    element = Element.of_link(LinkId(result.element.removeprefix("link:")))
    story = await world.fixed(known, element)
    assert story.diagnoses[-1].best.element == element
    assert story.remedies[-1].name is RemedyName.COST_OUT_LINK
    assert [(one.action.verb, one.state) for one in story.operations] == [(Verb.SET_COST, ActionState.COMMITTED)] * 2
    assert [one.verdict for one in story.verifications] == [Verdict.HEALED]
    assert [one.kind for one in story.outcomes] == [OutcomeKind.FIXED]


async def test_a_link_gets_its_traffic_back_once_it_is_well_and_not_before(world: World):
    known = await world.known()
    link = world.lab.mesh.links[1]
    harm = await world.grey(link.id)
    await world.fixed(known, Element.of_link(link.id))
    # Longer than a well link has to wait, with the window it is looked at over: an ill one must not be given back.
    for _ in range(CLEAN_SECONDS + 6):
        await asyncio.sleep(1)
        assert all(cost is not None and cost > link.cost for cost in world.costs_of(link.id))
    operations = await world.operations(known)
    assert not [one for one in operations if one.remedy is RemedyName.UNCOST_LINK]

    # A minute's rest after every heal would only make this test a minute longer.
    await world.forget()
    await world.take_back(harm)
    await world.costs_become(link.id, lambda cost: cost == link.cost, "to carry traffic again", within=120)
    restored = await world.fixed(known | {one.incident for one in operations}, Element.of_link(link.id), within=60)
    assert [one.remedy for one in restored.operations] == [RemedyName.UNCOST_LINK] * 2
