"""Execute: all ends or none, signed, once, and only while nothing forbids it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from infra.node.signing import decode, verify
from models.errors import ConfigurationInvalid
from models.incident import Cause, FaultKind, Incident, IncidentId, IncidentState
from models.mesh import Element
from models.planning import cost_actions
from models.remedy import ActionReport, ActionState, Order, Remedy, RemedyName, Tier
from tasks import execute
from tests.tasks.virtual_time import virtual_time
from tests.tasks.world import KEY, LIMITS, LINK, ClosedLoop, closed_loop


async def planned(loop: ClosedLoop) -> tuple[Incident, Remedy]:
    """Open an incident without symptoms, so that no last look stands in the way, and a cost-out for it."""
    now = loop.clock.now()
    incident = Incident(IncidentId("i1"), loop.mesh.name, IncidentState.OPEN, now, ())
    cause = Cause(Element.of_link(LINK), FaultKind.GREY, 0.9)
    actions = cost_actions(loop.mesh.link(LINK), LIMITS.cost_out)
    remedy = Remedy(incident.id, RemedyName.COST_OUT_LINK, cause, actions, Tier.AUTO, "", now)
    async with loop.unit() as uow:
        await uow.incidents.save(incident)
        await uow.incidents.record_remedy(remedy)
    return incident, remedy


@virtual_time
async def test_every_order_is_signed_by_the_control_key_and_carries_epoch_lease_and_expiry():
    async with closed_loop() as loop:
        loop.adapters.epoch = 7
        incident, remedy = await planned(loop)
        before = loop.clock.now()
        execution = await execute.apply(incident, remedy)
        assert execution.was_applied
        for index, one in enumerate(execution.operations):
            order = verify(loop.store.memory.operations[one.operation].order, KEY.public_key())
            assert order.operation == remedy.operation_id(index)
            assert (order.action, order.plan_hash, order.epoch) == (remedy.actions[index], remedy.plan_hash, 7)
            assert (order.lease, order.expires_at) == (LIMITS.lease, before + execute.ORDER_EXPIRY)


@virtual_time
async def test_a_run_by_hand_carries_the_epoch_of_the_run_that_watches():
    async with closed_loop() as loop:
        loop.adapters.epoch = None
        async with loop.unit() as uow:
            for _ in range(3):
                await uow.long_runs.claim(
                    f"watch-mesh:{loop.mesh.name}", flow_run_id="", pid=1, host="here", now=loop.clock.now()
                )
        execution = await execute.apply(*await planned(loop))
        orders = [decode(loop.store.memory.operations[one.operation].order.payload) for one in execution.operations]
        assert {one.epoch for one in orders} == {3}


@virtual_time
async def test_applied_twice_it_acts_once():
    async with closed_loop() as loop:
        incident, remedy = await planned(loop)
        first = await execute.apply(incident, remedy)
        second = await execute.apply(incident, remedy)
        assert first.operations == second.operations
        assert (second.was_applied, loop.writes) == (True, 2)
        assert len((await loop.guards()).recent) <= 2


@virtual_time
async def test_when_one_end_refuses_the_other_ends_change_is_taken_back():
    async with closed_loop() as loop:
        loop.actuators["n2"].refuses = lambda _: "the daemon's socket is gone"
        execution = await execute.apply(*await planned(loop))
        assert (execution.was_applied, execution.reason) == (False, "not applied; n2: the daemon's socket is gone")
        assert loop.settings() == {}
        assert await loop.states(IncidentId("i1")) == [ActionState.UNDONE, ActionState.REFUSED]


@virtual_time
async def test_when_one_end_fails_the_other_ends_change_is_taken_back():
    async with closed_loop() as loop:
        hands = loop.actuators["n2"]
        execute_really = hands.execute

        async def fail(signed):
            order = decode(signed.payload)
            if not isinstance(order, Order):
                return await execute_really(signed)
            return ActionReport(order.operation, ActionState.FAILED, "96", "96", "read back 96", loop.clock.now())

        hands.execute = fail
        execution = await execute.apply(*await planned(loop))
        assert (execution.was_applied, execution.reason) == (False, "not applied; n2: read back 96")
        assert loop.settings() == {}
        assert await loop.states(IncidentId("i1")) == [ActionState.UNDONE, ActionState.FAILED]


@virtual_time
async def test_when_one_end_does_not_answer_the_other_ends_change_is_taken_back_and_the_late_end_never_acts():
    async with closed_loop() as loop:
        loop.actuators["n2"].is_away = True
        incident, remedy = await planned(loop)
        started = loop.clock.now()
        execution = await execute.apply(incident, remedy)
        assert (execution.was_applied, execution.reason) == (False, "not applied; n2: no answer in time")
        assert loop.clock.now() - started <= 2 * execute.ANSWER_WITHIN + timedelta(seconds=1)
        loop.actuators["n2"].is_away = False
        await loop.looking(3)
        assert loop.settings() == {}
        assert loop.actuators["n2"].writes == 0


@virtual_time
async def test_a_remedy_without_actions_applies_nothing():
    async with closed_loop() as loop:
        incident, remedy = await planned(loop)
        watching = replace(remedy, name=RemedyName.OBSERVE, actions=(), reason="nobody is sure")
        execution = await execute.apply(incident, watching)
        assert execution == execute.Execution(was_applied=False, reason="nobody is sure")


@virtual_time
async def test_stale_evidence_is_not_acted_on():
    async with closed_loop() as loop:
        incident, remedy = await planned(loop)
        await loop.looking(6)
        execution = await execute.apply(incident, remedy)
        assert "evidence is 6.0 s old" in execution.reason
        assert (execution.operations, loop.writes) == ((), 0)


@virtual_time
async def test_two_plans_never_write_to_one_element_at_once():
    async with closed_loop() as loop:
        await execute.apply(*await planned(loop))
        _, remedy = await planned(loop)
        now = loop.clock.now()
        other = Incident(IncidentId("i2"), loop.mesh.name, IncidentState.OPEN, now, ())
        async with loop.unit() as uow:
            await uow.incidents.save(other)
        execution = await execute.apply(other, replace(remedy, incident=other.id, evidence_at=now))
        assert "still at work on link:n1--n2" in execution.reason
        assert loop.writes == 2


@virtual_time
async def test_a_process_without_the_control_key_cannot_act():
    async with closed_loop() as loop:
        loop.adapters.signer = None
        with pytest.raises(ConfigurationInvalid, match="no control key"):
            await execute.apply(*await planned(loop))
        assert loop.store.memory.operations == {}
