"""Done when 5: any one process may be killed at any stage of a heal, and what was promised holds."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from itertools import cycle, product

import pytest

from models.incident import IncidentId, IncidentState
from models.mesh import Element, Link
from models.remedy import ActionState, OperationRecord
from tests.e2e.waiting import NotYet, until
from tests.e2e.world import World

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
# Links of the ring with its chord, two by two: with both of a pair costed out every node still reaches every other.
LINKS = cycle((("n0--n1", "n2--n3"), ("n1--n2", "n4--n5"), ("n3--n4", "n0--n5"), ("n1--n4", "n2--n3")))

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
async def test_a_kill_costs_no_heal_and_leaves_no_unproven_change(world: World, victim: str, stage: str):
    first, second = (next(link for link in world.lab.mesh.links if link.id == one) for one in next(LINKS))
    known = await world.known()
    harm = await world.grey(first.id)
    await until(f"the stage {stage}", lambda: REACHED[stage](world, known), within=60)
    await world.kill(await world.victim(victim, first.a.node))

    await healed(world, first, known)
    await world.ends_right(known)
    await until("everything to be back", lambda: everything_is_back(world), within=120)
    await world.take_back(harm)

    known = await world.known()
    await world.grey(second.id)
    await healed(world, second, known)
    await world.ends_right(known)


async def healed(world: World, link: Link, known: set[IncidentId]) -> None:
    """Wait until the fault on a link is fixed, the way babeld itself says it."""
    story = await world.fixed(known, Element.of_link(link.id))
    assert story.incident.state is IncidentState.CLOSED
    await world.costs_become(link.id, lambda cost: cost > link.cost, "to be costed out", within=10)


async def everything_is_back(world: World) -> bool | NotYet:
    ills = await world.house.ills()
    return NotYet(str(ills)) if ills else True
