"""Done when 5, 6: what touches a node that others depend on waits for a person. A line of four, all in one process."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from flows.controller import controlling
from flows.trial import LEARNING_SECONDS, database
from infra.clock import SystemClock
from infra.lab import build, processes
from infra.lab.journal import Injector
from infra.lab.topology import Shape
from infra.lab.topology import mesh as shaped
from models.incident import FaultKind, IncidentId, IncidentState, OutcomeKind
from models.mesh import Element, NodeId
from models.ports import IncidentStory
from models.remedy import ActionState, RemedyName
from tasks.observer import Observer
from tests.e2e.house import House, make_state
from tests.e2e.waiting import NotYet, until
from tests.e2e.world import World, summary

pytestmark = pytest.mark.asyncio(loop_scope="module")
WITHIN = 90.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def line(swept: None) -> AsyncIterator[World]:
    """A line of four nodes, where n1 and n2 carry everything, watched and healed from this process."""
    house = House(make_state(), mesh=f"l{os.getpid()}")
    house.settings = house.settings.model_copy(update={"lease_seconds": 20})
    try:
        async with database(house.settings) as url:
            lab = await build.up(shaped(Shape.LINE, 4, name=house.mesh), state=house.state)
            await lab.settled(timeout_s=60)
            async with controlling(lab, house.settings, url, heal=True) as store:
                await asyncio.sleep(LEARNING_SECONDS)
                injector = Injector(lab, house.state / "faults.jsonl", SystemClock())
                yield World(house, store, lab, injector, Observer(store, lab.mesh))
    finally:
        await build.clean(None, state=house.state)
        shutil.rmtree(house.state)


async def waits_for_a_person(line: World, known: set[IncidentId]) -> IncidentStory:
    """Wait until a restart of a daemon waits for approval."""

    async def look() -> IncidentStory | NotYet:
        news = await line.news(known)
        for story in news:
            if story.incident.state is IncidentState.AWAITING_APPROVAL:
                return story
        return NotYet("; ".join(summary(one) for one in news) or "no incident")

    return await until("an incident that awaits approval", look, within=WITHIN)


async def ends(line: World, incident: IncidentId, state: IncidentState) -> IncidentStory:
    """Wait until the incident is in a state; return its story."""

    async def look() -> IncidentStory | NotYet:
        story = next(one for one in await line.stories() if one.incident.id == incident)
        return story if story.incident.state is state else NotYet(summary(story))

    return await until(f"{incident} to be {state}", look, within=WITHIN)


async def test_a_hung_daemon_that_others_depend_on_is_restarted_once_a_person_agrees(line: World):
    known = await line.known()
    hung = NodeId("n1")
    await line.harm(FaultKind.DAEMON_HUNG, Element.of_node(hung))
    before = processes.daemon_pid(line.lab.places[hung])
    waiting = await waits_for_a_person(line, known)
    assert waiting.remedies[-1].name is RemedyName.RESTART_DAEMON
    # Ten turns of the watch in which it might act, and must not.
    await asyncio.sleep(10 * line.house.settings.tick_seconds)
    assert await line.operations(known) == []
    assert processes.daemon_pid(line.lab.places[hung]) == before

    said = await asyncio.to_thread(line.house.run, "approve", waiting.remedies[-1].plan_hash)

    assert said.returncode == 0, said.stderr
    healed = await ends(line, waiting.incident.id, IncidentState.CLOSED)
    assert [one.state for one in healed.operations] == [ActionState.COMMITTED]
    assert [one.kind for one in healed.outcomes][-1] is OutcomeKind.FIXED
    assert [one.decided_by for one in healed.decisions] == ["cli:root"]
    assert processes.daemon_pid(line.lab.places[hung]) != before
    await line.injector.heal_all()
    await line.lab.settled(timeout_s=WITHIN)


async def test_a_denied_plan_is_handed_on_and_nothing_acts(line: World):
    known = await line.known()
    hung = NodeId("n2")
    await line.harm(FaultKind.DAEMON_HUNG, Element.of_node(hung))
    before = processes.daemon_pid(line.lab.places[hung])
    waiting = await waits_for_a_person(line, known)

    said = await asyncio.to_thread(line.house.run, "deny", waiting.remedies[-1].plan_hash)

    assert said.returncode == 0, said.stderr
    escalated = await ends(line, waiting.incident.id, IncidentState.ESCALATED)
    assert escalated.operations == ()
    assert processes.daemon_pid(line.lab.places[hung]) == before
    await line.injector.heal_all()
    await line.lab.settled(timeout_s=WITHIN)
