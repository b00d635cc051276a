"""A person's answer becomes a decision only while exactly that plan waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from models.approval import decide
from models.errors import DecisionRefused
from models.incident import Cause, FaultKind, Incident, IncidentId, IncidentState, Outcome, OutcomeKind
from models.ports import IncidentStory
from models.remedy import DecisionKind, PlanHash, Remedy, RemedyName, Tier

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EXPIRY = timedelta(minutes=10)
PLAN = Remedy(
    IncidentId("i-1"), RemedyName.RESTART_DAEMON, Cause(None, FaultKind.UNKNOWN, 0.5), (), Tier.APPROVAL, "why", NOW
)


def story(state=IncidentState.AWAITING_APPROVAL, *, decisions=()):
    waits = Outcome(IncidentId("i-1"), OutcomeKind.AWAITING_APPROVAL, "waits", PLAN.plan_hash, NOW)
    incident = Incident(IncidentId("i-1"), "lab", state, NOW, ())
    return IncidentStory(incident, (), (PLAN,), (), (), tuple(decisions), (waits,))


def answer(told, plan=PLAN.plan_hash, *, after=timedelta(0)):
    return decide(told, plan, kind=DecisionKind.APPROVE, decided_by="cli:root", now=NOW + after, expiry=EXPIRY)


def test_binds_to_the_plan_and_expires():
    decision = answer(story(), after=timedelta(minutes=1))
    assert decision.plan_hash == PLAN.plan_hash
    assert decision.incident == "i-1"
    assert decision.expires_at - decision.decided_at == EXPIRY


def test_a_second_answer_is_refused():
    with pytest.raises(DecisionRefused, match="decided already"):
        answer(story(decisions=[answer(story())]))


@pytest.mark.parametrize("state", [one for one in IncidentState if one is not IncidentState.AWAITING_APPROVAL])
def test_nobody_waits_in_any_other_state(state):
    with pytest.raises(DecisionRefused, match=state.value):
        answer(story(state))


def test_another_plan_is_refused_and_the_waiting_one_named():
    with pytest.raises(DecisionRefused, match=PLAN.plan_hash):
        answer(story(), PlanHash("0" * 64))


def test_the_question_expires():
    assert answer(story(), after=EXPIRY - timedelta(microseconds=1))
    with pytest.raises(DecisionRefused, match="expired at 12:10:00"):
        answer(story(), after=EXPIRY)
