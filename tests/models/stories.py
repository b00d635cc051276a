"""An incident's story as it would stand in the database: a grey link, costed out and healed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from models.incident import (
    Cause,
    Diagnosis,
    Evidence,
    FaultKind,
    Incident,
    IncidentId,
    IncidentState,
    Outcome,
    OutcomeKind,
    Symptom,
    SymptomKind,
    Verdict,
    Verification,
)
from models.mesh import Element, Interface, Link, LinkId, NodeId
from models.planning import cost_actions
from models.ports import IncidentStory
from models.remedy import ActionReport, ActionState, Decision, DecisionKind, OperationRecord, Remedy, RemedyName, Tier

THEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINK = LinkId("n1--n2")
A, B = NodeId("n1"), NodeId("n2")
ELEMENT = Element.of_link(LINK)
EVIDENCE = (
    Evidence("deficit n1>n2 data", "data: 40 of 40 packets lost in 1.2 s", 9.0),
    Evidence("probes n1--n2", "transit probes: 6 of 6 lost", 5.0),
    Evidence("routing", "routing passes"),
)
GREY = Cause(ELEMENT, FaultKind.GREY, 0.8, EVIDENCE)


def after(seconds: float) -> datetime:
    """An instant of the story."""
    return THEN + timedelta(seconds=seconds)


def grey_link_healed(name: str = "i1", *, at: float = 0.0) -> IncidentStory:
    """The whole story, from first sign to closed in nine seconds."""

    def then(seconds: float) -> datetime:
        return after(at + seconds)

    incident = IncidentId(name)
    symptom = Symptom(ELEMENT, SymptomKind.LOSS, then(-1), then(0), 9.0, {"loss": 0.87, "direction": "n1>n2"})
    cause = Cause(None, FaultKind.UNKNOWN, 0.2)
    link = Link(LINK, Interface(A, "to-n2"), Interface(B, "to-n1"), 101)
    refused = ((RemedyName.RESTORE_MTU, "no baseline"),)
    remedy = Remedy(
        incident,
        RemedyName.COST_OUT_LINK,
        GREY,
        cost_actions(link, 5000),
        Tier.AUTO,
        "it helped before",
        then(2),
        refused,
    )
    operations = tuple(
        OperationRecord(
            remedy.operation_id(index),
            incident,
            remedy.name,
            remedy.plan_hash,
            action,
            ActionState.COMMITTED,
            then(3),
            ActionReport(remedy.operation_id(index), ActionState.COMMITTED, "101", "5000", "committed", then(7)),
        )
        for index, action in enumerate(remedy.actions)
    )
    return IncidentStory(
        incident=Incident(incident, "lab", IncidentState.CLOSED, then(0), (symptom,), then(9)),
        diagnoses=(Diagnosis(incident, then(1), (GREY, cause), "rules"),),
        remedies=(remedy,),
        operations=operations,
        verifications=(
            Verification(incident, remedy.plan_hash, then(6), Verdict.HEALED, 0.9, 0.0, 0.0, 0.0, ((A, B),), "0 lost"),
        ),
        decisions=(Decision(incident, remedy.plan_hash, DecisionKind.APPROVE, "cli:root", then(2.5), then(600)),),
        outcomes=(Outcome(incident, OutcomeKind.FIXED, "0 lost", remedy.plan_hash, then(8)),),
    )
