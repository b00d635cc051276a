"""An incident told to a person."""

from __future__ import annotations

from dataclasses import replace

from models.incident import Symptom, SymptomKind
from models.mesh import Element, NodeId
from models.narrative import told
from tests.models.stories import GREY, after, grey_link_healed


def test_a_story_is_told_line_by_line_in_the_order_it_happened():
    assert told(grey_link_healed()) == [
        (after(-1), "symptom   loss on link:n1--n2 n1>n2 87% lost"),
        (after(0), "incident i1"),
        (
            after(1),
            (
                "diagnosis grey of link:n1--n2 0.80, unknown of no element 0.20. "
                "data: 40 of 40 packets lost in 1.2 s; transit probes: 6 of 6 lost"
            ),
        ),
        (after(2), "remedy    cost-out-link (tier auto): it helped before; not restore-mtu: no baseline"),
        (after(2.5), "decision  approve by cli:root"),
        (after(3), "requested set-cost on n1 interface=to-n2 cost=5000"),
        (after(3), "requested set-cost on n2 interface=to-n1 cost=5000"),
        (after(6), "verified  healed: 0 lost"),
        (after(7), "committed set-cost on n1 interface=to-n2 cost=5000: committed"),
        (after(7), "committed set-cost on n2 interface=to-n1 cost=5000: committed"),
        (after(8), "outcome   fixed: 0 lost"),
        (after(9), "closed"),
    ]


def test_what_has_not_happened_yet_is_not_told():
    story = grey_link_healed()
    operation = replace(story.operations[0], report=None)
    story = replace(
        story,
        incident=replace(story.incident, closed_at=None),
        operations=(operation,),
        verifications=(),
        decisions=(),
        outcomes=(),
    )
    lines = [line for _, line in told(story)]
    assert [line for line in lines if line.startswith(("verified", "outcome", "closed", "decision"))] == []
    assert lines[-1].startswith("requested set-cost on n1")


def test_a_symptom_without_direction_or_loss_is_told_without_them():
    story = grey_link_healed()
    symptom = Symptom(Element.of_node(NodeId("n1")), SymptomKind.DAEMON_STOPPED, after(-1), after(0), 1.0)
    lines = told(replace(story, incident=replace(story.incident, symptoms=(symptom,))))
    assert lines[0] == (after(-1), "symptom   daemon-stopped on node:n1")


def test_only_the_best_three_causes_are_told():
    story = grey_link_healed()
    diagnosis = replace(story.diagnoses[0], causes=(GREY,) * 5)
    (line,) = [line for _, line in told(replace(story, diagnoses=(diagnosis,))) if line.startswith("diagnosis")]
    assert line.count("grey of") == 3
