"""What the quiet bench makes of what was seen."""

from datetime import UTC, datetime

import pytest

from models.incident import Cause, Diagnosis, FaultKind, Incident, IncidentId, IncidentState, Symptom, SymptomKind
from models.mesh import Element, LinkId, NodeId
from models.ports import IncidentStory
from models.remedy import Action, ActionState, OperationId, OperationRecord, PlanHash, Verb
from tests.bench.quiet import Seen, rows

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINK = Element.of_link(LinkId("n0--n1"))
NODES = [NodeId("n0"), NodeId("n1")]


def story(*, confidences=(), symptoms=1, operations=0):
    incident = IncidentId("inc-1")
    seen = tuple(Symptom(LINK, SymptomKind.LOSS, AT, AT, 9.0) for _ in range(symptoms))
    action = Action(NODES[0], Verb.SET_COST, {"interface": "to-n1", "cost": 5000}, LINK)
    return IncidentStory(
        incident=Incident(incident, "quiet", IncidentState.OPEN, AT, seen),
        diagnoses=tuple(
            Diagnosis(incident, AT, (Cause(LINK if fault is not FaultKind.UNKNOWN else None, fault, one),), "rules")
            for fault, one in confidences
        ),
        remedies=(),
        operations=tuple(
            OperationRecord(
                operation=OperationId(f"o{number}"),
                incident=incident,
                remedy="cost-out-link",
                plan_hash=PlanHash("p"),
                action=action,
                state=ActionState.UNDONE,
                requested_at=AT,
            )
            for number in range(operations)
        ),
        verifications=(),
        decisions=(),
        outcomes=(),
    )


def figures(*stories, samples=(1200, 1200), seconds=600.0):
    seen = Seen(stories, dict(zip(NODES, samples, strict=True)), expected=1200, seconds=seconds)
    return {row.metric: row for row in rows(seen)}


def test_a_quiet_mesh_left_alone_meets_the_goal():
    found = figures()
    assert found["actions"].is_met
    assert {name: row.value for name, row in found.items()} == dict.fromkeys(found, 0)


def test_an_action_misses_the_goal_even_when_it_was_undone():
    found = figures(story(operations=2))
    assert found["actions"].value == 2
    assert found["actions"].is_met is False


def test_only_sure_diagnoses_of_a_fault_count_as_above_half():
    doubts = ((FaultKind.GREY, 0.5), (FaultKind.UNKNOWN, 0.9), (FaultKind.GREY, 0.51))
    assert figures(story(confidences=doubts))["diagnoses_above_half"].value == 1


def test_symptoms_are_counted_by_the_hour_also_of_an_incident_that_lists_none_any_more():
    found = figures(story(symptoms=2), story(symptoms=0))
    assert found["incidents"].value == 2
    assert found["false_symptoms_per_hour"].value == pytest.approx(18)


def test_a_node_that_sampled_more_does_not_make_up_for_one_that_missed():
    found = figures(samples=(1300, 1150))
    assert (found["samples_missed"].value, found["samples_missed"].n) == (50, 2400)
