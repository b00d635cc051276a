"""Rules name what the facts allow, no more; grouping follows the mesh and not the names."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.correlation import belongs, correlate
from models.graph import affected_pairs, articulation_nodes, paths, survives
from models.incident import Diagnosis, FaultKind, Incident, IncidentId, IncidentState, Symptom, SymptomKind
from models.linkrules import SETTLED_DOWN
from models.linkview import LinkView, Tally, Way
from models.mesh import Element, LinkId, NodeId
from models.rules import A_LOOK, RulesDiagnostician
from models.telemetry import ProbeKind, SizeClass, TrafficClass
from tests.models.samples import START, mesh_of, ring_with_chord

MESH = ring_with_chord()
LINE = mesh_of(("a", "b", 10), ("b", "c", 10))


def symptom(name: str, kind: SymptomKind, **facts: float | str) -> Symptom:
    element = Element.of_link(name) if "--" in name else Element.of_node(name)
    return Symptom(element, kind, START, START, 5.0, facts)


def diagnosed(*symptoms: Symptom, mesh=MESH, after: timedelta = A_LOOK) -> Diagnosis:
    incident = Incident(IncidentId("i"), "test", IncidentState.OPEN, START, symptoms)
    return RulesDiagnostician().diagnose(incident, mesh, at=START + after)


def pair(a: str, b: str) -> Symptom:
    return symptom(a, SymptomKind.UNREACHABLE, **{"from": a, "to": b})


def drift(node: str, kind: str, subject: str, where: str | None = None) -> Symptom:
    facts = {"drift": kind, "node": node, "subject": subject, "expected": "1", "actual": "0"}
    return symptom(where or node, SymptomKind.DRIFT, **facts)


def stayed_down() -> Symptom:
    gone = symptom("n1--n2", SymptomKind.CARRIER_DOWN, interface="n1:to-n2")
    return replace(gone, at=START + SETTLED_DOWN)


def view(data: float, control: float, *, probes: bool = True) -> dict[str, float | str]:
    counted = {
        (way, kind, SizeClass.SMALL): Tally(40, 40 * share)
        for way in Way
        for kind, share in ((TrafficClass.DATA, data), (TrafficClass.PROBE, control))
    }
    probed = {(Way.FORWARD, ProbeKind.TRANSIT, SizeClass.SMALL): Tally(8, 8 * data)} if probes else {}
    return LinkView(2.0, counted, probed).facts()


@pytest.mark.parametrize(
    ("symptoms", "element", "fault"),
    [
        ([stayed_down()], "n1--n2", FaultKind.LINK_DOWN),
        (
            [symptom("n1--n2", SymptomKind.CARRIER_FLAP, interface="n1:to-n2", changes=6)],
            "n1--n2",
            FaultKind.CARRIER_FLAP,
        ),
        ([symptom("n1--n2", SymptomKind.LOSS, **view(1.0, 0.0))], "n1--n2", FaultKind.GREY),
        ([symptom("n1--n2", SymptomKind.LOSS, **view(1.0, 1.0))], "n1--n2", FaultKind.BLACKHOLE),
        ([symptom("n1--n2", SymptomKind.LOSS, **view(0.4, 0.4))], "n1--n2", FaultKind.LOSS),
        ([symptom("n1--n2", SymptomKind.LOSS, **view(0.5, 0.0))], "n1--n2", FaultKind.GREY),
        (
            [symptom("n1--n2", SymptomKind.LOSS, **view(0.4, 0.3)), symptom("n1--n2", SymptomKind.DELAY)],
            "n1--n2",
            FaultKind.RATE_CLAMP,
        ),
        (
            [symptom("n1--n2", SymptomKind.LOSS, **view(0.4, 0.4), rtt_ms=580.0, rtt_past_ms=0.7)],
            "n1--n2",
            FaultKind.RATE_CLAMP,
        ),
        (
            [symptom("n1--n2", SymptomKind.LOSS, **view(0.4, 0.4), rtt_ms=580.0, rtt_past_ms=90.0)],
            "n1--n2",
            FaultKind.LOSS,
        ),
        ([symptom("n2", SymptomKind.DAEMON_STOPPED)], "n2", FaultKind.DAEMON_HUNG),
        ([symptom("n2", SymptomKind.DAEMON_ABSENT), pair("n0", "n2")], "n2", FaultKind.DAEMON_KILLED),
        ([drift("n2", "sysctl", "net.ipv4.ip_forward"), pair("n1", "n3")], "n2", FaultKind.SYSCTL_DRIFT),
        ([drift("n2", "route", "10.42.0.4"), pair("n2", "n3")], "n2", FaultKind.ROUTE_DRIFT),
        (
            [drift("n1", "qdisc", "to-n2", "n1--n2"), symptom("n1--n2", SymptomKind.LOSS, **view(0.4, 0.3))],
            "n1--n2",
            FaultKind.QDISC_DRIFT,
        ),
        ([symptom("n2", SymptomKind.SILENT_NODE)], "n2", FaultKind.NODE_DEAD),
    ],
)
def test_names_the_cause_surely_enough_to_act(symptoms, element, fault):
    best = diagnosed(*symptoms).best
    assert (best.element.name, best.fault) == (element, fault)
    assert best.confidence >= 0.7
    assert best.evidence


def test_a_queue_that_a_burst_filled_is_not_acted_on():
    burst = view(0.4, 0.4, probes=False) | {"rate_ratio": 5.0, "rtt_ms": 580.0, "rtt_past_ms": 0.7}
    assert diagnosed(symptom("n1--n2", SymptomKind.LOSS, **burst)).best.confidence < 0.7


def test_a_drift_without_harm_is_not_enough_to_act_on():
    causes = diagnosed(drift("n2", "sysctl", "net.ipv4.ip_forward")).causes
    assert {one.fault: one.confidence for one in causes}[FaultKind.SYSCTL_DRIFT] <= 0.5


def test_a_slight_loss_on_one_signal_alone_is_not_enough_to_ask():
    cause = next(
        one
        for one in diagnosed(symptom("n1--n2", SymptomKind.LOSS, **view(0.1, 0.0, probes=False))).causes
        if one.fault is not FaultKind.UNKNOWN
    )
    assert cause.confidence < 0.4


def test_pairs_alone_leave_the_cause_unknown():
    assert diagnosed(pair("n0", "n3")).best.fault is FaultKind.UNKNOWN


def test_evidence_says_numbers_an_operator_can_check():
    evidence = diagnosed(symptom("n1--n2", SymptomKind.LOSS, **view(1.0, 0.0))).best.evidence
    assert evidence[0].statement == "deficit n1>n2 data/small: 40 of 40 packets lost in 2.0 s"


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(6)), st.floats(0.3, 1.0), st.floats(0.0, 1.0))
def test_ranking_ignores_what_the_nodes_are_called(names, data, control):
    called = {f"n{index}": f"n{name}" for index, name in enumerate(names)}
    # Ends keep their places, so that only the names differ.
    renamed = mesh_of(*((called[one.a.node], called[one.b.node], one.cost) for one in MESH.links))
    facts = view(data, control)
    here = diagnosed(symptom("n1--n2", SymptomKind.LOSS, **facts))
    there = diagnosed(symptom(f"{called['n1']}--{called['n2']}", SymptomKind.LOSS, **facts), mesh=renamed)
    assert [(one.fault, one.confidence) for one in here.causes] == [(one.fault, one.confidence) for one in there.causes]
    assert sum(one.confidence for one in here.causes) == pytest.approx(1.0, abs=1e-3)
    assert FaultKind.UNKNOWN in {one.fault for one in here.causes}


def test_unreachable_pairs_join_the_link_they_use_and_strangers_stay_apart():
    ill = symptom("n1--n2", SymptomKind.LOSS, **view(1.0, 0.0))
    other = symptom("n4--n5", SymptomKind.LOSS, **view(0.4, 0.4))
    groups = correlate([pair("n0", "n3"), other, ill], MESH)
    assert sorted([[str(one.element) for one in group] for group in groups]) == [
        ["link:n1--n2", "node:n0"],
        ["link:n4--n5"],
    ]


def test_a_fresh_symptom_belongs_to_the_incident_of_its_element_only():
    incident = Incident(
        IncidentId("i"), "test", IncidentState.OPEN, START, (symptom("n1--n2", SymptomKind.LOSS, **view(1.0, 0.0)),)
    )
    assert belongs(incident, symptom("n1--n2", SymptomKind.PROBE_LOSS), MESH)
    assert belongs(incident, pair("n0", "n3"), MESH)
    assert not belongs(incident, symptom("n3--n4", SymptomKind.LOSS, **view(1.0, 0.0)), MESH)


def test_links_of_a_node_that_died_far_apart_in_time_are_not_its_death():
    dead = view(1.0, 1.0)
    first, second = (symptom(one, SymptomKind.LOSS, **dead) for one in ("n2--n3", "n3--n4"))
    later = Symptom(second.element, second.kind, START + timedelta(seconds=60), second.at, 5.0, dead)
    assert len(correlate([first, second], MESH)) == 1
    assert len(correlate([first, later], MESH)) == 2


def test_the_shape_of_a_line_hangs_on_its_middle():
    assert articulation_nodes(LINE) == {"b"}
    assert not survives(LINE, {LinkId("a--b")})
    assert articulation_nodes(MESH) == frozenset()
    assert all(survives(MESH, {link.id}) for link in MESH.links)


def test_paths_follow_costs_and_tell_who_is_affected():
    way = NodeId("n0"), NodeId("n3")
    assert paths(MESH, {})[way] == ("n0--n1", "n1--n2", "n2--n3")
    assert "n1--n2" not in paths(MESH, {LinkId("n1--n2"): 5000})[way]
    affected = affected_pairs(MESH, Element.of_link(LinkId("n1--n2")), {})
    assert way in affected
    assert (NodeId("n4"), NodeId("n5")) not in affected
    assert affected_pairs(MESH, Element.of_link(LinkId("n1--n2")), {}, among=[way]) == {way}
    ways = paths(MESH, {})
    assert len(ways) == len(list(ways)) == 30
    assert (way[0], way[0]) not in ways
    assert (way[0], NodeId("n9")) not in ways
    assert (NodeId("n9"), way[0]) not in ways


def test_a_carrier_that_is_just_gone_may_be_flapping_and_is_down_once_it_stays_away():
    young = diagnosed(replace(stayed_down(), at=START + timedelta(seconds=2.9)))
    assert young.best.fault is FaultKind.LINK_DOWN
    assert young.best.confidence < 0.7
    assert FaultKind.CARRIER_FLAP in {one.fault for one in young.causes}
    old = diagnosed(stayed_down())
    assert old.best.confidence == pytest.approx(0.95)
    assert FaultKind.CARRIER_FLAP not in {one.fault for one in old.causes}


@pytest.mark.parametrize(("data", "control", "fault"), [(0.8, 0.1, FaultKind.GREY), (0.4, 0.3, FaultKind.LOSS)])
def test_control_that_is_spared_beyond_chance_makes_a_link_grey(data, control, fault):
    assert diagnosed(symptom("n1--n2", SymptomKind.LOSS, **view(data, control))).best.fault is fault


def test_a_way_that_is_dead_beside_one_that_lives_is_one_way_though_the_other_seems_to_lose_a_little():
    counted = {
        (way, kind, SizeClass.SMALL): Tally(20, 20 if way is Way.FORWARD else lost)
        for way in Way
        for kind, lost in ((TrafficClass.DATA, 8), (TrafficClass.PROBE, 2))
    }
    facts = LinkView(6.0, counted).facts()
    best = diagnosed(symptom("n1--n2", SymptomKind.LOSS, **facts)).best
    assert (best.fault, best.confidence) == (FaultKind.ONE_WAY, pytest.approx(0.8))


def test_a_dead_link_waits_one_look_for_the_other_links_of_its_node():
    dead = symptom("n1--n2", SymptomKind.LOSS, **view(1.0, 1.0))
    first = diagnosed(dead, after=timedelta()).best
    assert (first.fault, first.confidence < 0.7) == (FaultKind.BLACKHOLE, True)
    assert diagnosed(dead).best.confidence == pytest.approx(0.9)
    grey = symptom("n1--n2", SymptomKind.LOSS, **view(1.0, 0.0))
    assert diagnosed(grey, after=timedelta()).best.confidence >= 0.7
