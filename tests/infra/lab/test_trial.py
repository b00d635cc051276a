from pathlib import Path

import pytest

from infra.lab import placing, routing
from infra.lab.build import Lab
from infra.lab.faults import PLACES
from infra.lab.flowhash import flow_class
from infra.lab.topology import cheapest_path
from infra.lab.traffic import SOURCE_PORT, TARGET_PORT
from infra.lab.trial import FaultSpec, TrialSpec, load
from models.errors import ConfigurationInvalid
from models.incident import FaultKind
from models.mesh import ElementKind, NodeId


def written(tmp_path, text):
    path = tmp_path / "trial.yaml"
    path.write_text(text)
    return path


def test_a_short_file_is_a_whole_trial(tmp_path):
    spec = load(written(tmp_path, "faults: [{kind: grey, class: large}]"))
    assert (spec.size, spec.traffic.pps, spec.packet_size, spec.cap) == (6, 50, 1400, 30)


def test_traffic_is_small_unless_a_fault_needs_large_packets():
    assert TrialSpec(faults=(FaultSpec(kind=FaultKind.LOSS),)).packet_size == 400
    assert TrialSpec(faults=(FaultSpec(kind=FaultKind.MTU),)).packet_size == 1400


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("faults: [{knd: grey}]", r"faults\.0\.knd: Extra inputs"),
        ("faults: []", "at least 1 item"),
        ("just words", "trial: Input should be"),
        ("faults: [{kind: unknown}]", "no fault that can be made"),
        ("faults: [{kind: grey, place: n0}]", "choose auto or one of n0--n1"),
        ("faults: [{kind: node_dead, place: n0--n1}]", "choose auto or one of n0, n1"),
        ("{faults: [{kind: grey}], traffic: {source: n9}}", "traffic names n9"),
        ("{faults: [{kind: grey}], traffic: {source: n1, target: n1}}", "another node"),
        ("{faults: [{kind: grey}], size: 3}", "choose 4 to 250 nodes"),
        ("{faults: [{kind: grey, at_s: 40}]}", "after the trial's end"),
        ("{faults: [{kind: grey}], cap_s: 40}", "longer than the 30 s"),
        ("faults: [", "no YAML"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path, text, said):
    with pytest.raises(ConfigurationInvalid, match=said):
        load(written(tmp_path, text))


def test_a_missing_file_is_told():
    with pytest.raises(ConfigurationInvalid, match="cannot read"):
        load(Path("/nonexistent/trial.yaml"))


def test_a_file_that_is_no_text_is_told(tmp_path):
    path = tmp_path / "trial.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationInvalid, match="no text in UTF-8"):
        load(path)


@pytest.fixture
def paper_lab(tmp_path):
    """A lab that was never brought up: placing needs only its plan."""
    spec = TrialSpec(faults=(FaultSpec(kind=FaultKind.GREY),))
    mesh = spec.mesh("paper")
    places = {node.id: routing.place(mesh, node.id, state=tmp_path) for node in mesh.nodes}
    return Lab(mesh=mesh, timers=spec.timers, state=tmp_path, places=places)


@pytest.mark.kernel
@pytest.mark.parametrize("kind", list(PLACES))
def test_auto_places_every_fault_on_the_traffics_path(paper_lab, kind):
    spec = TrialSpec(faults=(FaultSpec(kind=kind),))
    path = cheapest_path(paper_lab.mesh, *placing.ends(spec, paper_lab.mesh))
    assert len(path) == 4
    harm = placing.harm(spec.faults[0], paper_lab, path)
    nodes = placing.nodes_of(harm.element, paper_lab.mesh)
    assert nodes == (set(path[1:3]) if PLACES[kind] is ElementKind.LINK else {path[1]})


@pytest.mark.kernel
def test_a_flow_fault_picks_the_class_of_the_measured_flow(paper_lab):
    path = (NodeId("n0"), NodeId("n1"), NodeId("n4"), NodeId("n3"))
    harm = placing.harm(FaultSpec.model_validate({"kind": "grey", "class": "flow"}), paper_lab, path)
    expected = flow_class("10.42.0.1", "10.42.0.4", source_port=SOURCE_PORT, target_port=TARGET_PORT)
    assert harm.flow_class == expected


@pytest.mark.kernel
def test_a_one_way_fault_deafens_the_far_end(paper_lab):
    path = (NodeId("n3"), NodeId("n4"), NodeId("n1"), NodeId("n0"))
    assert placing.harm(FaultSpec(kind=FaultKind.ONE_WAY), paper_lab, path).toward == "n1"


@pytest.mark.kernel
def test_a_node_fault_without_a_node_between_asks_for_a_place(paper_lab):
    with pytest.raises(ConfigurationInvalid, match="name a place"):
        placing.harm(FaultSpec(kind=FaultKind.SYSCTL_DRIFT), paper_lab, (NodeId("n0"), NodeId("n1")))
