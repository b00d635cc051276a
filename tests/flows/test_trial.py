"""What a controller reports of a trial: what it saw first, what it did, and what it took for the cause."""

from __future__ import annotations

from dataclasses import replace

from flows.trial import report
from infra.lab.verdict import ControllerReport
from models.incident import Cause, Diagnosis, FaultKind, OutcomeKind
from tests.models.stories import GREY, LINK, THEN, after, grey_link_healed

UNKNOWN = Cause(None, FaultKind.UNKNOWN, 1.0)


def test_a_controller_that_saw_nothing_reports_nothing():
    assert report([]) == ControllerReport()


def test_a_healed_fault_is_reported_with_its_element_its_cause_and_both_actions():
    found = report([grey_link_healed()])
    assert (found.element, found.fault) == (f"link:{LINK}", FaultKind.GREY)
    assert found.detected_at == THEN
    assert [(one.element, one.remedy, one.state) for one in found.actions] == [
        (f"link:{LINK}", "cost-out-link", "committed"),
        (f"link:{LINK}", "cost-out-link", "committed"),
    ]
    assert found.events[-1].text == "closed"
    assert list(found.events) == sorted(found.events, key=lambda one: one.at)


def test_the_newest_diagnosis_that_names_a_cause_counts():
    story = grey_link_healed()
    mtu = replace(GREY, fault=FaultKind.MTU)
    story = replace(
        story,
        diagnoses=(
            Diagnosis(story.incident.id, after(1), (mtu,), "rules"),
            Diagnosis(story.incident.id, after(2), (GREY,), "rules"),
            Diagnosis(story.incident.id, after(3), (UNKNOWN,), "rules"),
        ),
    )
    assert report([story]).fault is FaultKind.GREY


def test_an_incident_that_nobody_understood_names_no_element():
    story = grey_link_healed()
    story = replace(story, diagnoses=(Diagnosis(story.incident.id, after(1), (UNKNOWN,), "rules"),), operations=())
    found = report([story])
    assert (found.element, found.fault, found.actions) == (None, None, ())
    assert found.detected_at == THEN


def test_the_first_incident_with_a_known_cause_is_what_was_diagnosed():
    first = grey_link_healed()
    first = replace(first, diagnoses=())
    later = grey_link_healed("i2", at=60)
    found = report([first, later])
    assert found.fault is FaultKind.GREY
    assert found.detected_at == THEN
    assert first.outcomes[-1].kind is OutcomeKind.FIXED
