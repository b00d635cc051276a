"""An incident told to a person: one line per thing that happened, in the order it happened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from models.incident import Cause, Diagnosis, Symptom
from models.ports import IncidentStory
from models.remedy import OperationRecord, Remedy, Tier

# More evidence than this does not help at three in the morning; the API has the rest.
SENTENCES = 2


def told(story: IncidentStory) -> list[tuple[datetime, str]]:
    """Return (when, sentence) for symptoms, diagnoses, remedies, operations, verifications and outcomes."""
    return sorted(_lines(story), key=lambda line: line[0])


def _lines(story: IncidentStory) -> Iterator[tuple[datetime, str]]:
    yield story.incident.opened_at, f"incident {story.incident.id}"
    for symptom in story.incident.symptoms:
        yield symptom.since, f"symptom   {_of_symptom(symptom)}"
    for diagnosis in story.diagnoses:
        yield diagnosis.at, f"diagnosis {_of_diagnosis(diagnosis)}"
    for remedy in story.remedies:
        yield remedy.evidence_at, f"remedy    {_of_remedy(remedy)}"
    for operation in story.operations:
        yield from _of_operation(operation)
    for verification in story.verifications:
        yield verification.at, f"verified  {verification.verdict}: {verification.reason}"
    for decision in story.decisions:
        yield decision.decided_at, f"decision  {decision.kind} by {decision.decided_by}"
    for outcome in story.outcomes:
        yield outcome.at, f"outcome   {outcome.kind}: {outcome.reason}"
    if story.incident.closed_at is not None:
        yield story.incident.closed_at, "closed"


def _of_symptom(symptom: Symptom) -> str:
    direction = symptom.facts.get("direction", "")
    loss = symptom.facts.get("loss")
    share = f" {float(loss):.0%} lost" if isinstance(loss, int | float) else ""
    return f"{symptom.kind} on {symptom.element} {direction}{share}".rstrip()


def _of_diagnosis(diagnosis: Diagnosis) -> str:
    ranking = ", ".join(_of_cause(cause) for cause in diagnosis.causes[:3])
    why = "; ".join(one.statement for one in diagnosis.best.evidence[:SENTENCES])
    return f"{ranking}. {why}"


def _of_cause(cause: Cause) -> str:
    return f"{cause.fault} of {cause.element or 'no element'} {cause.confidence:.2f}"


def _of_remedy(remedy: Remedy) -> str:
    refused = "".join(f"; not {name}: {why}" for name, why in remedy.refused)
    # Whoever approves or denies types the plan's hash.
    plan = f" [plan {remedy.plan_hash}]" if remedy.tier is Tier.APPROVAL else ""
    return f"{remedy.name} (tier {remedy.tier.name.lower()}): {remedy.reason}{refused}{plan}"


def _of_operation(operation: OperationRecord) -> Iterator[tuple[datetime, str]]:
    action = operation.action
    what = f"{action.verb} on {action.node} {_of_arguments(operation)}".rstrip()
    yield operation.requested_at, f"requested {what}"
    report = operation.report
    if report is not None:
        yield report.at, f"{report.state:<9} {what}: {report.message}"


def _of_arguments(operation: OperationRecord) -> str:
    return " ".join(f"{name}={value}" for name, value in operation.action.arguments.items())
