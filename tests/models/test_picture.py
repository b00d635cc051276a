"""A picture names element, fault and confidence first; the rest shows why, and leaves nothing out silently."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

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
)
from models.mesh import Element, LinkId, Mesh, NodeId
from models.picture import HEIGHT, NODES, SYMPTOMS, WIDTH, Role, picture_of
from models.ports import IncidentStory
from tests.models.samples import mesh_of, moment, ring_with_chord

MESH = ring_with_chord()
LINK, NODE = Element.of_link(LinkId("n1--n2")), Element.of_node(NodeId("n5"))
EVIDENCE = (
    Evidence("a", "40 of 40 packets lost", 40.0),
    Evidence("b", "10 of 80 packets lost", 10.0),
    Evidence("c", "it is stopped"),
    Evidence("d", "a past without spread", float("inf")),
)


def story(*causes: Cause, symptoms: tuple[Symptom, ...] | None = None) -> IncidentStory:
    first = Symptom(LINK, SymptomKind.PROBE_LOSS, moment(0), moment(6), 9.0)
    mine = (first, Symptom(NODE, SymptomKind.DRIFT, moment(2), moment(4), 1.0)) if symptoms is None else symptoms
    incident = Incident(IncidentId("i-1"), "test", IncidentState.CLOSED, moment(1), mine, moment(9))
    diagnoses = (Diagnosis(incident.id, moment(3), causes, "rules"),) if causes else ()
    outcome = Outcome(incident.id, OutcomeKind.FIXED, "done", "", moment(8))
    return IncidentStory(incident, diagnoses, (), (), (), (), (outcome,))


GREY = Cause(LINK, FaultKind.GREY, 0.8, EVIDENCE)
UNKNOWN = Cause(None, FaultKind.UNKNOWN, 0.2)


def test_the_headline_names_element_and_fault_with_the_confidence_and_the_reason():
    found = picture_of(story(GREY, UNKNOWN), MESH)
    assert (found.headline, found.confidence, found.why) == ("link n1--n2: grey", 0.8, "40 of 40 packets lost")
    assert found.is_sure
    assert all(word in found.subtitle for word in ("i-1", "closed", "rules"))


def test_an_unknown_cause_is_said_and_never_shown_as_sure():
    found = picture_of(story(replace(UNKNOWN, confidence=0.9)), MESH)
    assert (found.headline, found.is_sure, found.why) == ("cause unknown", False, "")


def test_an_incident_without_diagnosis_has_a_picture_of_its_symptoms():
    found = picture_of(story(), MESH)
    assert (found.headline, found.causes, found.signals) == ("no diagnosis yet", (), ())
    assert [one.label for one in found.timeline] == ["n1--n2 probe loss", "n5 drift"]


def test_root_suspects_and_mere_symptoms_differ_on_the_graph():
    hung = Cause(Element.of_node(NodeId("n2")), FaultKind.DAEMON_HUNG, 0.1)
    found = picture_of(story(GREY, hung, Cause(LINK, FaultKind.LOSS, 0.05), UNKNOWN), MESH)
    assert [(one.role, one.note) for one in found.lines if one.note] == [(Role.ROOT, "85%")]
    assert found.lines[-1].role is Role.ROOT, "what matters is drawn on top"
    roles = {one.name: (one.role, one.note) for one in found.spots}
    assert roles["n2"] == (Role.SUSPECT, "10%")
    assert roles["n5"] == (Role.SYMPTOM, "")
    assert roles["n0"] == (Role.WELL, "")


def test_bars_are_as_long_as_they_are_likely_and_infinite_strength_is_the_longest():
    found = picture_of(story(GREY, UNKNOWN), MESH)
    assert [(one.length, one.note) for one in found.causes] == [(240, "80%"), (60, "20%")]
    assert [one.length for one in found.signals] == [300, 75, 0, 300]
    assert [one.note for one in found.signals] == ["40.0", "10.0", "", "past without spread"]


def test_time_runs_from_the_first_sign_to_the_last():
    found = picture_of(story(GREY), MESH)
    (loss, drift) = found.timeline
    assert loss.x < drift.x
    assert (loss.note, drift.note) == ("6.0 s", "2.0 s")
    assert [one.label for one in found.marks] == ["opened +1.0 s", "diagnosed +3.0 s", "fixed +8.0 s", "closed +9.0 s"]
    assert [one.x for one in found.marks] == sorted(one.x for one in found.marks)


def test_an_incident_that_lasted_no_time_has_a_picture():
    at_once = Incident(IncidentId("i"), "test", IncidentState.OPEN, moment(0), ())
    found = picture_of(IncidentStory(at_once, (), (), (), (), (), ()), MESH)
    assert [one.label for one in found.marks] == ["opened +0.0 s"]


def test_of_a_large_mesh_the_incidents_part_is_shown_and_the_rest_counted():
    large = mesh_of(*((f"m{i:03}", f"m{i + 1:03}", 10) for i in range(99)), ("m050", "m099", 10))
    ill = Cause(Element.of_link(LinkId("m070--m071")), FaultKind.GREY, 0.8)
    found = picture_of(story(ill, symptoms=()), large)
    assert len(found.spots) == NODES
    assert found.unseen_nodes == 100 - NODES
    assert {"m069", "m070", "m071", "m072"} <= {one.name for one in found.spots}


@pytest.mark.parametrize("mesh", [Mesh("one", MESH.nodes[:1], ()), MESH])
def test_everything_stands_inside_the_picture(mesh):
    many = tuple(
        Symptom(LINK, SymptomKind.LOSS, moment(one), moment(one) + timedelta(seconds=1), 1.0) for one in range(30)
    )
    found = picture_of(story(GREY, symptoms=many), mesh)
    assert len(found.timeline) == SYMPTOMS
    assert all(0 < one.x < WIDTH and 0 < one.y < HEIGHT for one in found.spots)
    assert all(one.x > 0 and one.x + one.length < WIDTH for one in found.timeline)


def test_long_words_are_cut_and_say_so():
    long = Cause(Element.of_link(LinkId("a" * 90)), FaultKind.GREY, 0.8, (Evidence("s", "b" * 300),))
    found = picture_of(story(long), MESH)
    assert found.headline.endswith("…")
    assert len(found.headline) <= 60
    assert len(found.why) <= 120
