"""Whether a person may still answer a plan that waits, and the decision that answer becomes."""

from __future__ import annotations

from datetime import datetime, timedelta

from models.errors import DecisionRefused
from models.incident import IncidentState, OutcomeKind
from models.ports import IncidentStory
from models.remedy import Decision, DecisionKind, PlanHash


def decide(
    story: IncidentStory,
    plan_hash: PlanHash,
    *,
    kind: DecisionKind,
    decided_by: str,
    now: datetime,
    expiry: timedelta,
) -> Decision:
    """Turn a person's answer into a decision bound to exactly the plan that waits.

    Args:
        story: The incident that the plan belongs to, with everything chosen and decided so far.
        plan_hash: What the person saw and answers.
        kind: Approve or deny.
        decided_by: Who, for the record (`api:alice`, `cli:root`).
        now: Aware UTC.
        expiry: How long the decision stands (`Limits.approval_expiry`).

    Returns:
        The decision, stale after `now + expiry`.

    Raises:
        DecisionRefused: the incident waits for nobody, a newer plan took this one's place, the question
            expired, or it was decided before.
    """
    incident = story.incident
    if any(one.plan_hash == plan_hash for one in story.decisions):
        raise DecisionRefused("this plan was decided already; a decision is used once")
    if incident.state is not IncidentState.AWAITING_APPROVAL:
        raise DecisionRefused(f"incident {incident.id} is {incident.state.value} and waits for no decision")
    newest = story.remedies[-1].plan_hash if story.remedies else ""
    if newest != plan_hash:
        raise DecisionRefused(f"incident {incident.id} waits with another plan, {newest}; read it and decide on that")
    asked = [one.at for one in story.outcomes if one.kind is OutcomeKind.AWAITING_APPROVAL]
    if asked and now - max(asked) >= expiry:
        raise DecisionRefused(f"the question expired at {max(asked) + expiry:%H:%M:%S} UTC; the incident is escalated")
    return Decision(
        incident=incident.id,
        plan_hash=plan_hash,
        kind=kind,
        decided_by=decided_by,
        decided_at=now,
        expires_at=now + expiry,
    )
