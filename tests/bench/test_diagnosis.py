"""Recorded faults are judged the same each time, by what the cycle would have acted on."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import numpy as np
import pytest

from infra.lab.faults import PLACES
from infra.lab.placing import nodes_of
from infra.lab.topology import Shape, cheapest_path, links_along
from models.causalengine import CausalEngine
from models.errors import ConfigurationInvalid
from models.incident import FaultKind
from models.mesh import Element, ElementKind, LinkId, NodeId
from models.telemetry import Sample
from tests.bench import diagnosis_summary as summary
from tests.bench import recording, seen
from tests.bench.diagnosis_cells import DOUBLES, EVERY, QUIET, Cell, Side, plan, specification
from tests.bench.recorders import ATTEMPTS, VOIDS, wanting
from tests.bench.recording import Done, Recording
from tests.bench.replay import Answered, Method, Replayed, Said, pooled, replay
from tests.models.samples import DATA, START, Flow, World, lossy, moment, ring_with_chord

FAULT_S, END_S = 20.0, 26.0
LINK = "link:n1--n2"


def recorded(*, harmed: bool = True) -> Recording:
    mesh = ring_with_chord()
    harm = lossy(LinkId("n1--n2"), 1.0, start=FAULT_S, classes=[DATA]) if harmed else lambda *_: 0.0
    world = World(mesh, np.random.default_rng(3), [Flow("n0", "n2", 50), Flow("n2", "n0", 50)], harm=harm)
    samples: list[Sample] = [one for _, fresh in world.run(END_S) for one in fresh]
    ordered = tuple(sorted(samples, key=lambda one: (one.at, one.node)))
    truth = (Done(moment(FAULT_S), FaultKind.GREY, LINK),)
    return Recording("grey", 0, mesh, ordered, truth, "abc", 1.5)


def judged(one: Recording) -> Replayed:
    return asyncio.run(replay(one, seen.see(one), {Method.CAUSAL: CausalEngine()}))


def replayed(*said: Said | None, case: str = "grey", harms: int = 1, number: int = 0, sure: bool = True) -> Replayed:
    truth = ((LINK, FaultKind.GREY), ("node:n4", FaultKind.NODE_DEAD))[:harms]
    incidents = tuple(Answered(START, sure, {Method.CYCLE: one, Method.RULES: one}) for one in said if one)
    return Replayed(f"{case}-{number}", case, number, truth, START, incidents, {}, 14.0, 1.0)


def of(element: str, fault: FaultKind = FaultKind.GREY, confidence: float = 0.9) -> Said:
    return Said(element, fault, confidence, ((element, confidence),))


def test_a_replay_names_the_fault_twice_the_same_and_says_nothing_before_it():
    one = recorded()
    first = judged(one)
    said = first.incidents[0].said[Method.CYCLE]
    assert (said.element, said.fault) == (LINK, FaultKind.GREY)
    assert first.incidents[0].is_sure
    assert first.incidents[0].at > one.harms[0].at
    assert Method.CAUSAL in first.incidents[0].said
    assert first.loudest_before == {}
    assert judged(one) == first


def test_a_quiet_recording_has_no_incident():
    assert judged(recorded(harmed=False)).incidents == ()


def test_a_recording_is_read_as_it_was_written_and_what_was_seen_is_kept_beside_it(tmp_path):
    one = recorded()
    recording.write(one, tmp_path)
    path = recording.path_of(tmp_path, "grey", 0)
    assert recording.read(path) == one
    again, symptoms = seen.seen_of(path)
    assert again == one
    assert seen.seen_of(path) == (one, symptoms)
    assert symptoms == seen.see(one)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_that_is_no_recording_is_refused_with_its_name(tmp_path):
    path = tmp_path / f"grey-0{recording.SUFFIX}"
    path.write_bytes(b"none")
    with pytest.raises(ConfigurationInvalid, match="grey-0"):
        recording.read(path)


@pytest.mark.parametrize("case", EVERY)
def test_every_case_harms_places_on_the_way_of_the_traffic_that_do_not_touch(case):
    shapes = set()
    for number in range(3):
        spec = specification(Cell(case, number), seed=1)
        assert spec == specification(Cell(case, number), seed=1)
        shapes.add(spec.topology)
        built = spec.mesh("check")
        path = cheapest_path(built, NodeId(spec.traffic.source), NodeId(spec.traffic.target))
        known = {link.id for link in links_along(built, path)} | set(path[1:-1])
        assert {fault.place for fault in spec.faults} <= known
        assert len(spec.faults) == (2 if case in DOUBLES else 1)
        touched = [
            node
            for fault in spec.faults
            for node in nodes_of(
                Element.of_link(LinkId(fault.place))
                if PLACES[fault.kind] is ElementKind.LINK
                else Element.of_node(NodeId(fault.place)),
                built,
            )
        ]
        assert len(touched) == len(set(touched))
    assert shapes == {Shape.RING_CHORD, Shape.GRID, Shape.RANDOM_GEOMETRIC}


def test_both_sides_hold_every_recording_once():
    cells = plan(EVERY, 4, seed=1)
    assert len(set(cells)) == len(cells) == 4 * len(EVERY)
    for cell in cells:
        assert Side.DEVELOP.holds(cell.number) is not Side.HELD_OUT.holds(cell.number)
        assert Side.ALL.holds(cell.number)


def test_what_is_recorded_or_was_void_too_often_is_not_tried_again(tmp_path):
    cells = [Cell("grey", 0), Cell("loss", 0), Cell("mtu", 0)]
    recording.path_of(tmp_path, "grey", 0).touch()
    (tmp_path / VOIDS).write_text('{"case": "loss", "number": 0, "reason": "void"}\n' * ATTEMPTS)
    assert wanting(cells, tmp_path) == [Cell("mtu", 0)]


def test_only_the_first_incident_counts_for_one_fault_and_both_elements_for_two():
    wrong, right = of("link:n3--n4"), of(LINK)
    assert summary.element_is_right(replayed(right, wrong), Method.CYCLE) == 1
    assert summary.element_is_right(replayed(wrong, right), Method.CYCLE) == 0
    assert summary.kind_is_right(replayed(of(LINK, FaultKind.LOSS)), Method.CYCLE) == 0
    assert summary.element_is_right(replayed(), Method.CYCLE) == 0
    both = replayed(right, of("node:n4", confidence=0.2), harms=2)
    assert summary.both_are_near_the_top(both, Method.CYCLE) == 1
    assert summary.both_are_near_the_top(replayed(right, harms=2), Method.CYCLE) == 0
    assert pooled(both.incidents, Method.CYCLE) == [LINK, "node:n4"]


def test_a_kind_counts_as_much_as_any_other_and_a_method_that_said_nothing_was_wrong():
    many = [replayed(of(LINK), number=number) for number in range(3)]
    other = Replayed("mtu-0", "mtu", 0, ((LINK, FaultKind.MTU),), START, (), {Method.CYCLE: 0.6}, 14.0, 1.0)
    rows = {(one.case, one.metric): one for one in summary.rows([*many, other], seed=1)}
    assert rows["macro", "right_element"].value == 0.5
    assert rows["macro", "right_element"].interval is None
    assert rows["macro", "right_element"].peers["rules"] == 0.5
    assert rows["macro", "right_element"].peers["causal"] == 0
    assert rows["grey", "right_kind"].value == 1
    assert rows["mtu", "right_kind"].is_met is False
    assert rows[QUIET, "diagnoses_above_half"].value == 1
    assert rows["all", "sure_of_the_wrong_element"].value == 0


def test_what_may_decide_is_counted_by_what_the_rules_say_first():
    rules, engine = of("link:n3--n4", FaultKind.LOSS), of(LINK)
    said = {Method.CYCLE: rules, Method.RULES: rules, Method.CAUSAL: engine}
    one = Replayed("grey-0", "grey", 0, ((LINK, FaultKind.GREY),), START, (Answered(START, True, said),), {}, 1.0, 1.0)
    (fault, row) = next(iter(summary.measured([one], Method.CAUSAL, commit="abc").items()))
    assert (fault, row.rules, row.engine, row.trials) == (FaultKind.LOSS, 0, 1, 1)
    assert not row.is_better


def test_a_diagnosis_is_timed_from_the_harm():
    late = Answered(START + timedelta(seconds=2), True, {Method.CYCLE: of(LINK), Method.RULES: of(LINK)})
    one = Replayed("grey-0", "grey", 0, ((LINK, FaultKind.GREY),), START, (late,), {}, 14.0, 1.0)
    rows = {(row.case, row.metric): row for row in summary.rows([one], seed=1)}
    assert rows["grey", "fault_to_sure_p50"].value == 2
