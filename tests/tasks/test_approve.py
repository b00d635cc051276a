"""Approve: a person's answer counts once, in time, and for the plan that was asked about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from flows.healing import HealParameters, turn
from models.errors import DecisionRefused
from models.incident import FaultKind, Incident, IncidentState, OutcomeKind
from models.remedy import ActionState, Decision, DecisionKind, Limits, PlanHash, RemedyName, Tier
from models.telemetry import DaemonState, Drift, DriftKind, SizeClass
from tasks import approve, monitor
from tests.models.samples import Flow, with_drift
from tests.tasks.virtual_time import virtual_time
from tests.tasks.world import ClosedLoop, closed_loop, line

EXPIRY = timedelta(seconds=30)
LIMITS = Limits(approval_expiry=EXPIRY, watch=timedelta(seconds=4))


def on_a_line():
    """A mesh in which everything depends on n1, so that a person decides about it."""
    return closed_loop(line(), limits=LIMITS, flow=Flow("n0", "n2", 50))


def hang_daemon(loop: ClosedLoop) -> None:
    """Stop n1's daemon until its actuator restarts it."""

    def reading(_, sample):
        if sample.node != "n1" or loop.actuators["n1"].settings.get("restart-daemon"):
            return sample
        return replace(sample, host=replace(sample.host, daemon=DaemonState.STOPPED))

    loop.simulated.reading = reading


async def asked(loop: ClosedLoop) -> tuple[Incident, PlanHash]:
    """Let a turn end with the question about a restart of n1's daemon."""
    hang_daemon(loop)
    (incident,) = await loop.seen()
    outcome = await turn(HealParameters(mesh=loop.mesh.name, incident=incident.id, dry_run=False))
    assert outcome.kind is OutcomeKind.AWAITING_APPROVAL, outcome.reason
    return incident, PlanHash(outcome.plan_hash)


async def decide(loop: ClosedLoop, incident: Incident, plan: PlanHash, kind: DecisionKind) -> None:
    now = loop.clock.now()
    async with loop.unit() as uow:
        await uow.decisions.post(Decision(incident.id, plan, kind, "cli:root", now, now + EXPIRY))


async def go_on(loop: ClosedLoop, decision: Decision):
    return await turn(
        HealParameters(mesh=loop.mesh.name, incident=decision.incident, dry_run=False, approved_plan=decision.plan_hash)
    )


@virtual_time
async def test_a_remedy_on_a_node_that_others_depend_on_waits_for_a_person():
    async with on_a_line() as loop:
        incident, plan = await asked(loop)
        story = await loop.story(incident.id)
        assert story.incident.state is IncidentState.AWAITING_APPROVAL
        assert story.diagnoses[-1].best.fault is FaultKind.DAEMON_HUNG
        assert (story.remedies[-1].plan_hash, story.remedies[-1].tier) == (plan, Tier.APPROVAL)
        assert (loop.writes, story.operations) == (0, ())
        assert story.outcomes[-1].reason.startswith("restart-daemon waits for a person until 00:00:")


@virtual_time
async def test_while_it_waits_the_watch_does_not_turn_the_cycle_for_it():
    async with on_a_line() as loop:
        await asked(loop)
        assert await loop.looking(3) == []


@virtual_time
async def test_an_approval_starts_the_run_that_acts_once():
    async with on_a_line() as loop:
        incident, plan = await asked(loop)
        await decide(loop, incident, plan, DecisionKind.APPROVE)
        (decision,) = await approve.decided(loop.mesh.name)
        outcome = await go_on(loop, decision)
        assert outcome.kind is OutcomeKind.FIXED, outcome.reason
        assert await loop.states(incident.id) == [ActionState.COMMITTED]
        assert loop.actuators["n1"].settings == {"restart-daemon": "running"}
        assert await loop.state(incident.id) is IncidentState.CLOSED
        assert await approve.decided(loop.mesh.name) == []
        async with loop.unit() as uow:
            assert await uow.decisions.take(plan) is None


@virtual_time
async def test_a_denial_hands_the_incident_on_and_nothing_acts():
    async with on_a_line() as loop:
        incident, plan = await asked(loop)
        await decide(loop, incident, plan, DecisionKind.DENY)
        assert await approve.decided(loop.mesh.name) == []
        assert await loop.state(incident.id) is IncidentState.ESCALATED
        assert await loop.looking(3) == []
        assert loop.writes == 0


@virtual_time
async def test_a_denied_plan_cannot_be_acted_on_by_naming_it():
    async with on_a_line() as loop:
        incident, plan = await asked(loop)
        await decide(loop, incident, plan, DecisionKind.DENY)
        denied = Decision(incident.id, plan, DecisionKind.DENY, "cli:root", loop.clock.now(), loop.clock.now())
        with pytest.raises(DecisionRefused, match="denied by cli:root"):
            await go_on(loop, denied)
        assert loop.writes == 0


@virtual_time
async def test_a_question_that_nobody_answers_is_handed_on_and_nothing_acts():
    async with on_a_line() as loop:
        incident, _ = await asked(loop)
        await loop.looking(EXPIRY.total_seconds() - 2)
        await approve.decided(loop.mesh.name)
        assert await loop.state(incident.id) is IncidentState.AWAITING_APPROVAL
        await loop.looking(3)
        assert await approve.decided(loop.mesh.name) == []
        assert await loop.state(incident.id) is IncidentState.ESCALATED
        assert loop.writes == 0


@virtual_time
async def test_an_approval_that_comes_to_be_used_too_late_is_refused():
    async with on_a_line() as loop:
        incident, plan = await asked(loop)
        await decide(loop, incident, plan, DecisionKind.APPROVE)
        (decision,) = await approve.decided(loop.mesh.name)
        await loop.looking(EXPIRY.total_seconds() + 1)
        with pytest.raises(DecisionRefused, match="expired at"):
            await go_on(loop, decision)
        assert loop.writes == 0


@virtual_time
async def test_an_approval_that_nobody_acted_on_in_time_is_handed_on():
    async with on_a_line() as loop:
        incident, plan = await asked(loop)
        await decide(loop, incident, plan, DecisionKind.APPROVE)
        await loop.looking(EXPIRY.total_seconds() + 1)
        assert await approve.decided(loop.mesh.name) == []
        assert await loop.state(incident.id) is IncidentState.ESCALATED


@virtual_time
async def test_an_approval_is_refused_once_the_plan_has_changed_and_the_incident_is_reopened():
    async with on_a_line() as loop:
        incident, plan = await asked(loop)
        await decide(loop, incident, plan, DecisionKind.APPROVE)
        (decision,) = await approve.decided(loop.mesh.name)
        drift = Drift(DriftKind.SYSCTL, "net.ipv4.ip_forward", "1", "0")
        loop.simulated.reading = with_drift("n1", drift, start=0)
        await loop.looking(4)
        with pytest.raises(DecisionRefused, match="the evidence changed"):
            await go_on(loop, decision)
        story = await loop.story(incident.id)
        assert story.remedies[-1].name is not RemedyName.RESTART_DAEMON
        assert story.incident.state is IncidentState.OPEN
        assert loop.writes == 0
        with pytest.raises(DecisionRefused, match="no unused decision"):
            await go_on(loop, decision)


@virtual_time
async def test_an_approval_outlives_a_moment_in_which_nothing_may_act():
    async with on_a_line() as loop:
        incident, plan = await asked(loop)
        await decide(loop, incident, plan, DecisionKind.APPROVE)
        (decision,) = await approve.decided(loop.mesh.name)
        await loop.pause()
        with pytest.raises(DecisionRefused, match=r"not just now, but the approval stands: .*paused"):
            await go_on(loop, decision)
        assert loop.writes == 0
        assert await loop.state(incident.id) is IncidentState.AWAITING_APPROVAL
        assert await approve.decided(loop.mesh.name) == [decision]
        await loop.pause(paused=False)
        outcome = await go_on(loop, decision)
        assert outcome.kind is OutcomeKind.FIXED, outcome.reason
        assert await approve.decided(loop.mesh.name) == []


def drifted_and_later_deaf(loop: ClosedLoop) -> Callable[[], None]:
    """Let n1 have a stray route to n2; the returned function lets n0's packets to n2 die of it from then on."""
    stray = with_drift("n1", Drift(DriftKind.ROUTE, "10.42.0.3", "", "blackhole"), start=loop.seconds)
    answered: dict[SizeClass, int] = {}
    is_lost = False

    def reading(t, sample):
        sample = stray(t, sample)
        if sample.node != "n0":
            return sample
        if not is_lost:
            answered.update({one.size: one.answered for one in sample.reach if one.target == "n2"})
            return sample
        reach = [replace(one, answered=answered[one.size]) if one.target == "n2" else one for one in sample.reach]
        return replace(sample, reach=tuple(reach))

    def lose() -> None:
        nonlocal is_lost
        is_lost = True

    loop.simulated.reading = reading
    return lose


@virtual_time
async def test_what_was_asked_for_want_of_evidence_is_reopened_once_there_is_enough():
    async with closed_loop(limits=LIMITS) as loop:
        lose = drifted_and_later_deaf(loop)
        (incident,) = await loop.seen()
        await loop.looking(monitor.UNRIPE_FOR_AT_MOST.total_seconds())
        outcome = await turn(HealParameters(mesh=loop.mesh.name, incident=incident.id, dry_run=False))
        assert outcome.kind is OutcomeKind.AWAITING_APPROVAL, outcome.reason
        assert await loop.looking(3) == []
        assert await loop.state(incident.id) is IncidentState.AWAITING_APPROVAL
        lose()
        (again,) = await loop.looking(8)
        assert (again.id, again.state) == (incident.id, IncidentState.OPEN)
