"""Done when 5: any one process may be killed at any stage of a heal, and what was promised holds."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from itertools import cycle, product

import pytest

from models.incident import IncidentId, OutcomeKind
from models.mesh import Element, Link
from models.remedy import ActionState, OperationRecord
from tests.e2e.waiting import NotYet, until
from tests.e2e.world import HEALED_WITHIN, World, summary

VICTIMS = ("watch", "collector", "worker-nodes", "worker-control", "actuator", "prefect", "gateway", "postgres")
STAGES = ("before-acting", "applied", "committed")
# Everyone once while a change stands unproven; the three that carry a heal before it and after it, too.
DOZEN = (
    *product(VICTIMS, ("applied",)),
    ("watch", "before-acting"),
    ("postgres", "before-acting"),
    ("watch", "committed"),
    ("actuator", "committed"),
)
PAIRS = tuple(product(VICTIMS, STAGES)) if os.environ.get("X0_CHAOS") else DOZEN
# `make test` takes the next pair's fault for "the next fault", and a heal follows the last; `make chaos` adds one here.
HAS_NEXT_FAULT = bool(os.environ.get("X0_CHAOS"))
# The ring's two halves left and right of its chord, in turn: whichever is out, the way round has two hops more.
LINKS = cycle(("n0--n1", "n2--n3", "n4--n5", "n1--n2", "n0--n5", "n3--n4"))

# The fault stands, so nothing but a turn that acted, and was judged, is an end; a person may have to take over.
ENDS = {OutcomeKind.FIXED, OutcomeKind.NO_EFFECT, OutcomeKind.WORSE_UNDONE, OutcomeKind.AMBIGUOUS}

Stage = Callable[[World, set[IncidentId]], Awaitable[bool | NotYet]]


async def an_incident_is_open(world: World, known: set[IncidentId]) -> bool | NotYet:
    async with world.store.unit() as uow:
        found = [one for one in await uow.incidents.open(world.mesh) if one.id not in known]
    return True if found else NotYet("no incident")


async def _all(world: World, known: set[IncidentId], state: ActionState) -> bool | NotYet:
    operations: list[OperationRecord] = await world.operations(known)
    states = [one.state for one in operations]
    return True if states and set(states) == {state} else NotYet(f"operations {states}")


async def its_change_is_applied(world: World, known: set[IncidentId]) -> bool | NotYet:
    return await _all(world, known, ActionState.APPLIED)


async def its_change_is_committed(world: World, known: set[IncidentId]) -> bool | NotYet:
    return await _all(world, known, ActionState.COMMITTED)


REACHED: dict[str, Stage] = {
    "before-acting": an_incident_is_open,
    "applied": its_change_is_applied,
    "committed": its_change_is_committed,
}


@pytest.mark.parametrize(("victim", "stage"), PAIRS, ids=["-at-".join(pair) for pair in PAIRS])
async def test_a_kill_leaves_each_change_proven_or_undone(world: World, victim: str, stage: str):
    link = next_link(world)
    known = await world.known()
    harm = await world.grey(link.id)
    await until(f"the stage {stage}", lambda: REACHED[stage](world, known), within=60)
    await world.kill(await world.victim(victim, link.a.node))

    await until(f"the heal of {link.id} to end", lambda: has_ended(world, known), within=HEALED_WITHIN)
    await world.ends_right(known)
    committed = [one for one in await world.operations(known) if one.state is ActionState.COMMITTED]
    if committed:
        await world.costs_become(link.id, lambda cost: cost > link.cost, "to be costed out", within=10)
    else:
        await world.costs_become(link.id, lambda cost: cost == link.cost, "to be as before", within=10)
    await until("everything to be back", lambda: everything_is_back(world), within=120)
    await world.take_back(harm)
    if HAS_NEXT_FAULT:
        await world.put_back()
        await the_next_fault_is_healed(world)


async def the_next_fault_is_healed(world: World) -> None:
    link = next_link(world)
    known = await world.known()
    await world.grey(link.id)
    await world.fixed(known, Element.of_link(link.id))
    await world.ends_right(known)


def next_link(world: World) -> Link:
    """Return another link than the last time, so that no rest after a heal stands in the way."""
    name = next(LINKS)
    return next(link for link in world.lab.mesh.links if link.id == name)


async def has_ended(world: World, known: set[IncidentId]) -> bool | NotYet:
    """Say whether a turn of the cycle judged what was done about the fault."""
    stories = await world.news(known)
    judged = [one.kind for story in stories if story.operations for one in story.outcomes]
    return True if ENDS & set(judged) else NotYet("; ".join(summary(one) for one in stories) or "no incident")


async def everything_is_back(world: World) -> bool | NotYet:
    ills = await world.house.ills()
    return NotYet(str(ills)) if ills else True
