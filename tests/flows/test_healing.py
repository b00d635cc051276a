"""One turn of the cycle, in a closed loop: what it does to the mesh, and what it leaves in the records."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from flows.healing import HealParameters, answer, turn
from models.errors import DecisionRefused
from models.incident import FaultKind, Incident, IncidentState, OutcomeKind, Verdict
from models.mesh import NodeId
from models.ports import HealRequest
from models.remedy import ActionState, Limits, Prior, Remedy, RemedyName
from tasks import analyze, execute, knowledge, monitor, plan, verify
from tests.models.samples import DATA, lossy
from tests.tasks.virtual_time import virtual_time
from tests.tasks.world import LIMITS, LINK, ClosedLoop, closed_loop

# The other way round the ring.
DETOUR = "n0--n3"
# Whoever only watches need not be watched for half a minute.
SHORT = Limits(watch=timedelta(seconds=4))


def asked(incident: Incident, **more: object) -> HealParameters:
    return HealParameters(mesh=incident.mesh, incident=incident.id, **{"dry_run": False, **more})


async def broken(loop: ClosedLoop) -> Incident:
    loop.break_link()
    (incident,) = await loop.seen()
    return incident


@virtual_time
async def test_a_grey_fault_is_diagnosed_costed_out_verified_committed_and_learnt_from():
    async with closed_loop() as loop:
        incident = await broken(loop)
        outcome = await turn(asked(incident))
        story = await loop.story(incident.id)
        async with loop.unit() as uow:
            priors = await uow.knowledge.priors(loop.mesh.name)
        assert outcome.kind is OutcomeKind.FIXED, outcome.reason
        assert story.diagnoses[-1].best.fault is FaultKind.GREY
        assert str(story.diagnoses[-1].best.element) == f"link:{LINK}"
        assert {(one.action.node, one.state) for one in story.operations} == {
            ("n1", ActionState.COMMITTED),
            ("n2", ActionState.COMMITTED),
        }
        assert story.verifications[-1].loss_before > 0.05
        assert story.verifications[-1].loss_after < 0.02
        assert story.incident.state is IncidentState.CLOSED
        assert loop.is_costed_out()
        assert priors == {(FaultKind.GREY, RemedyName.COST_OUT_LINK): Prior(fixed=1)}


@virtual_time
async def test_without_an_incident_named_the_oldest_that_waits_is_healed():
    async with closed_loop() as loop:
        incident = await broken(loop)
        outcome = await turn(HealParameters(mesh=loop.mesh.name, dry_run=False))
        assert (outcome.incident, outcome.kind) == (incident.id, OutcomeKind.FIXED)


@virtual_time
async def test_a_quiet_audit_finds_nothing_and_says_so():
    async with closed_loop() as loop:
        await loop.looking(3)
        outcome = await turn(HealParameters(mesh=loop.mesh.name, dry_run=False))
        assert (outcome.incident, outcome.kind, outcome.reason) == (None, None, "no incident waits")
        assert loop.store.memory.incidents == {}


@virtual_time
async def test_a_dry_run_says_what_it_would_do_changes_nothing_and_stores_no_outcome():
    async with closed_loop() as loop:
        incident = await broken(loop)
        outcome = await turn(asked(incident, dry_run=True))
        await asyncio.sleep(5)
        story = await loop.story(incident.id)
        assert outcome.kind is OutcomeKind.DRY_RUN
        assert "would cost-out-link (set-cost on n1, set-cost on n2)" in outcome.reason
        assert (story.operations, story.outcomes, loop.writes) == ((), (), 0)
        assert story.incident.state is IncidentState.OPEN


async def planned(loop: ClosedLoop) -> tuple[Incident, Remedy]:
    """Break the link, and go as far as a turn goes before anything is done."""
    incident = await monitor.collect(loop.mesh.name, (await broken(loop)).id)
    known = await knowledge.recall(incident)
    return incident, await plan.select(loop.mesh.name, await analyze.diagnose(incident), known)


@virtual_time
async def test_what_a_run_proved_and_died_before_saying_is_said_by_the_next():
    async with closed_loop() as loop:
        incident, remedy = await planned(loop)
        trial = await verify.begin(incident, remedy)
        await verify.prove(incident, remedy, trial, await execute.apply(incident, remedy))
        await turn(asked(incident))
        story = await loop.story(incident.id)
        async with loop.unit() as uow:
            priors = await uow.knowledge.priors(loop.mesh.name)
        assert [one.state for one in story.operations] == [ActionState.COMMITTED] * 2
        assert (remedy.plan_hash, OutcomeKind.FIXED) in {(one.plan_hash, one.kind) for one in story.outcomes}
        assert priors == {(FaultKind.GREY, RemedyName.COST_OUT_LINK): Prior(fixed=1)}
        assert story.incident.state is IncidentState.CLOSED


@virtual_time
async def test_a_fault_that_is_gone_at_the_last_look_is_not_acted_on_and_counts_as_fixed_by_itself():
    async with closed_loop() as loop:
        incident, remedy = await planned(loop)
        trial = await verify.begin(incident, remedy)
        loop.mend()
        await asyncio.sleep(12)
        execution = await execute.apply(incident, remedy)
        verification = await verify.prove(incident, remedy, trial, execution)
        outcome = await knowledge.record(incident, remedy, execution, verification)
        assert remedy.name is RemedyName.COST_OUT_LINK
        assert not execution.was_applied
        assert "gone at the last look" in execution.reason
        assert outcome.kind is OutcomeKind.FIXED_BY_ITSELF
        assert await loop.state(incident.id) is IncidentState.CLOSED
        assert (loop.writes, await loop.states(incident.id)) == (0, [])
        async with loop.unit() as uow:
            assert await uow.knowledge.priors(loop.mesh.name) == {}


@virtual_time
async def test_a_remedy_that_one_end_refuses_ends_as_refused_and_counts_no_strike():
    async with closed_loop(limits=SHORT) as loop:
        loop.actuators["n2"].refuses = lambda _: "the daemon's socket is gone"
        incident = await broken(loop)
        outcome = await turn(asked(incident))
        assert (outcome.kind, outcome.reason) == (
            OutcomeKind.REFUSED,
            "not applied; n2: the daemon's socket is gone",
        )
        assert await loop.state(incident.id) is IncidentState.OPEN
        assert (await loop.guards()).strikes == {}
        assert loop.settings() == {}


@virtual_time
async def test_a_remedy_that_does_not_help_is_undone_counts_a_strike_and_is_not_tried_again():
    async with closed_loop() as loop:
        loop.is_deaf = True
        incident = await broken(loop)
        outcome = await turn(asked(incident))
        guards = await loop.guards()
        assert outcome.kind is OutcomeKind.NO_EFFECT
        assert await loop.states(incident.id) == [ActionState.UNDONE, ActionState.UNDONE]
        assert loop.settings() == {}
        assert guards.strikes == {f"link:{LINK}|grey": 1}
        assert guards.cooldown_until.keys() == {f"link:{LINK}"}
        # With the cool-down forgotten, the plan itself is still known not to help.
        async with loop.unit() as uow:
            await uow.guards.save(loop.mesh.name, replace(guards, cooldown_until={}))
        await turn(asked(incident))
        story = await loop.story(incident.id)
        assert story.remedies[-1].name is RemedyName.ESCALATE
        assert "this very plan was tried" in story.remedies[-1].reason
        assert story.incident.state is IncidentState.ESCALATED
        assert loop.writes == 4


@virtual_time
async def test_a_plan_that_a_node_missed_is_sent_anew_by_the_next_turn_and_heals():
    async with closed_loop() as loop:
        incident = await broken(loop)
        loop.actuators[NodeId("n2")].is_away = True
        first = await turn(asked(incident))
        loop.actuators[NodeId("n2")].is_away = False
        await asyncio.sleep(execute.ORDER_EXPIRY.total_seconds())
        second = await turn(asked(incident))
        assert [first.kind, second.kind] == [OutcomeKind.REFUSED, OutcomeKind.FIXED], second.reason
        assert loop.is_costed_out()


@virtual_time
async def test_a_fix_that_one_end_never_confirms_to_keep_is_undone_and_not_called_fixed():
    async with closed_loop() as loop:
        incident = await broken(loop)
        turning = asyncio.create_task(turn(asked(incident)))
        await loop.until_costed_out()
        loop.actuators[NodeId("n2")].is_away = True
        outcome = await turning
        story = await loop.story(incident.id)
        loop.actuators[NodeId("n2")].is_away = False
        await asyncio.sleep(LIMITS.lease.total_seconds())
        assert [one.verdict for one in story.verifications] == [Verdict.HEALED, Verdict.INCONCLUSIVE]
        assert outcome.kind is OutcomeKind.AMBIGUOUS, outcome.reason
        assert "did not confirm" in outcome.reason
        assert loop.settings() == {}


@virtual_time
async def test_a_remedy_that_harms_others_is_undone():
    async with closed_loop() as loop:
        incident = await broken(loop)
        fault = lossy(LINK, 1, start=0, classes=[DATA])
        harm = lossy(DETOUR, 1, start=0, classes=[DATA])
        loop.simulated.harm = lambda *where: max(fault(*where), harm(*where) if loop.is_costed_out() else 0.0)
        outcome = await turn(asked(incident))
        assert outcome.kind is OutcomeKind.WORSE_UNDONE, outcome.reason
        assert (await loop.story(incident.id)).verifications[-1].verdict is Verdict.WORSE
        assert loop.settings() == {}
        assert (await loop.guards()).strikes == {f"link:{LINK}|grey": 1}


@virtual_time
async def test_two_turns_for_one_incident_at_once_act_once():
    async with closed_loop() as loop:
        incident = await broken(loop)
        outcomes = await asyncio.gather(turn(asked(incident)), turn(asked(incident)))
        async with loop.unit() as uow:
            priors = await uow.knowledge.priors(loop.mesh.name)
        assert {one.kind for one in outcomes} == {OutcomeKind.FIXED}
        assert loop.writes == 2
        assert len(await loop.states(incident.id)) == 2
        assert priors == {(FaultKind.GREY, RemedyName.COST_OUT_LINK): Prior(fixed=1)}


@virtual_time
async def test_a_turn_after_the_incident_is_closed_does_nothing():
    async with closed_loop() as loop:
        incident = await broken(loop)
        await turn(asked(incident))
        again = await turn(asked(incident))
        assert (again.incident, loop.writes) == (None, 2)


@virtual_time
async def test_a_turn_that_died_after_acting_is_finished_by_the_next_one_without_acting_again():
    async with closed_loop() as loop:
        incident = await broken(loop)
        first = asyncio.create_task(turn(asked(incident)))
        await loop.until_costed_out()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        outcome = await turn(asked(incident))
        assert outcome.kind is OutcomeKind.FIXED, outcome.reason
        assert loop.writes == 2
        assert loop.is_costed_out()


@virtual_time
async def test_a_turn_that_died_after_acting_is_undone_by_the_nodes_when_nobody_goes_on():
    async with closed_loop() as loop:
        incident = await broken(loop)
        first = asyncio.create_task(turn(asked(incident)))
        await loop.until_costed_out()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await asyncio.sleep(Limits().lease.total_seconds() + 2)
        assert loop.settings() == {}
        assert await loop.states(incident.id) == [ActionState.UNDONE, ActionState.UNDONE]


@virtual_time
async def test_paused_it_only_watches():
    async with closed_loop(limits=SHORT) as loop:
        await loop.pause()
        incident = await broken(loop)
        outcome = await turn(asked(incident))
        story = await loop.story(incident.id)
        assert story.remedies[-1].name is RemedyName.OBSERVE
        assert "an operator paused all actions" in story.remedies[-1].reason
        assert outcome.kind in {OutcomeKind.NO_EFFECT, OutcomeKind.AMBIGUOUS}
        assert (loop.writes, story.operations) == (0, ())


@virtual_time
async def test_an_operator_who_pauses_between_plan_and_action_is_obeyed():
    async with closed_loop() as loop:
        incident, remedy = await planned(loop)
        await loop.pause()
        execution = await execute.apply(incident, remedy)
        assert execution.reason == "cost-out-link refused: an operator paused all actions"
        assert loop.writes == 0


@virtual_time
async def test_a_request_is_answered_with_what_its_turn_came_to():
    async with closed_loop() as loop:
        await broken(loop)
        request = HealRequest("r1", loop.mesh.name, True, "cli:root", loop.clock.now())
        async with loop.unit() as uow:
            await uow.requests.post(request)
        await answer(request, turn)
        async with loop.unit() as uow:
            answered = await uow.requests.get("r1")
            assert await uow.requests.waiting(loop.mesh.name) == []
        assert answered.outcome.startswith("dry-run: would cost-out-link")


@virtual_time
async def test_an_approval_that_nobody_gave_is_refused():
    async with closed_loop() as loop:
        incident = await broken(loop)
        with pytest.raises(DecisionRefused, match="no unused decision"):
            await turn(asked(incident, approved_plan="0" * 64))
        assert loop.writes == 0
