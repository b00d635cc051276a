"""A window of mesh samples says of each link and node what was measured, in any order, under any name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import NotEnoughHistory
from models.mesh import Element, ElementKind, Interface, Link, LinkId, Mesh, Node, NodeId
from models.meshsignals import LINK_SIGNALS, NODE_SIGNALS, SIGNALS
from models.meshsnapshot import LEAST_PAST, ROWS, MeshWindow, element_of
from models.snapshot import Kind, SignalKind, Snapshot
from models.telemetry import DaemonState, Drift, DriftKind, DropClass, DropCount, HostReading, KernelReading, Sample
from tests.models.samples import DATA, LARGE, Flow, World, link, lossy, mesh_of, moment, ring_with_chord

MESH = ring_with_chord()
ILL = LinkId("n1--n2")
FAULT = 30.0
END = 34.0
FLOWS = (Flow("n0", "n2", 40), Flow("n4", "n2", 20, size=LARGE))


def samples_of(simulated: World, seconds: float) -> list[Sample]:
    """In order of reading; a node's own samples never overtake each other on their way."""
    return sorted((one for _, batch in simulated.run(seconds) for one in batch), key=lambda one: one.at)


def world(**bent: object) -> World:
    return World(MESH, np.random.default_rng(5), flows=FLOWS, **bent)  # type: ignore[arg-type]


@cache
def healthy() -> list[Sample]:
    return samples_of(world(), END)


@cache
def grey() -> list[Sample]:
    return samples_of(world(harm=lossy(ILL, 1.0, start=FAULT, classes=[DATA])), END)


def taken(samples: Sequence[Sample], mesh: Mesh = MESH) -> MeshWindow:
    window = MeshWindow(mesh)
    window.observe(samples)
    return window


def asked(samples: Sequence[Sample], mesh: Mesh = MESH, *, at_most: int | None = 48) -> Snapshot:
    target = Element.of_link(ILL)
    return taken(samples, mesh).snapshot(
        moment(END).timestamp(), since=moment(FAULT).timestamp(), target=target, at_most=at_most
    )


def signal(snapshot: Snapshot, element: Element, name: str) -> np.ndarray:
    column = [one.name for one in snapshot.signals].index(name)
    return snapshot.values[:, snapshot.elements.index(str(element)), column]


def during(snapshot: Snapshot, element: Element, name: str) -> float:
    """The last whole second."""
    values = signal(snapshot, element, name)[snapshot.split :]
    return float(values[np.isfinite(values)][-1])


def test_a_grey_link_loses_its_data_and_keeps_its_control():
    seen = asked(grey())
    assert during(seen, Element.of_link(ILL), "data loss, worse way") == 1.0
    assert during(seen, Element.of_link(ILL), "transit probe loss") == 1.0
    assert during(seen, Element.of_link(ILL), "neighbour probe loss") == 0.0
    assert during(seen, Element.of_link(ILL), "control loss, better way") < 0.2
    past = signal(seen, Element.of_link(ILL), "data loss, worse way")[: seen.split]
    assert np.nanmedian(past) < 0.05


def test_a_fault_of_large_packets_shows_in_their_loss_over_small_ones():
    seen = asked(samples_of(world(harm=lossy(ILL, 1.0, start=FAULT, sizes=[LARGE])), END))
    assert during(seen, Element.of_link(ILL), "large packets' loss over small ones'") > 0.8


def test_one_way_of_a_link_may_lose_while_the_other_does_not():
    seen = asked(samples_of(world(harm=lossy(ILL, 1.0, start=FAULT, source="n1")), END))
    assert during(seen, Element.of_link(ILL), "data loss, worse way") > 0.9
    assert during(seen, Element.of_link(ILL), "data loss, better way") < 0.2


def test_only_what_strayed_and_the_nodes_beside_it_are_looked_at():
    seen = asked(grey())
    assert str(Element.of_link(ILL)) in seen.elements
    assert len(seen.elements) < len(MESH.nodes) + len(MESH.links)
    assert {f"node:{one}" for one in MESH.link(ILL).nodes} <= set(seen.elements)
    assert seen.elements[seen.target] == str(Element.of_link(ILL))


def test_a_healthy_mesh_has_no_strays_but_the_target_and_its_nodes():
    assert set(asked(healthy()).elements) == {"link:n1--n2", "node:n1", "node:n2"}


def test_each_node_depends_on_its_links_at_both_ends():
    seen = asked(grey(), at_most=None)
    assert len(seen.elements) == len(MESH.nodes) + len(MESH.links)
    named = {(seen.elements[i], seen.elements[j]) for i, j in seen.edges}
    assert named == {(f"node:{node}", f"link:{one.id}") for one in MESH.links for node in one.nodes}
    assert {one for one, kind in zip(seen.elements, seen.kinds, strict=True) if kind is Kind.LINK} == {
        f"link:{one.id}" for one in MESH.links
    }


def test_the_order_in_which_nodes_report_changes_nothing():
    by_node = sorted(grey(), key=lambda one: (one.at.timestamp() // 2, one.node, one.at))
    np.testing.assert_array_equal(asked(by_node, at_most=None).values, asked(grey(), at_most=None).values)


def test_a_sample_seen_twice_changes_nothing():
    doubled = [one for one in grey() for _ in range(2)]
    np.testing.assert_array_equal(asked(doubled, at_most=None).values, asked(grey(), at_most=None).values)


def test_a_link_declared_the_other_way_round_says_the_same():
    turned = replace(MESH, links=tuple(replace(one, a=one.b, b=one.a) for one in MESH.links))
    np.testing.assert_array_equal(asked(grey(), turned, at_most=None).values, asked(grey(), at_most=None).values)


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(len(MESH.links))), nodes=st.permutations(range(len(MESH.nodes))))
def test_the_order_of_declaration_changes_no_element(order, nodes):
    shuffled = Mesh(MESH.name, tuple(MESH.nodes[one] for one in nodes), tuple(MESH.links[one] for one in order))
    one, other = asked(grey()), asked(grey(), shuffled)
    assert set(one.elements) == set(other.elements)
    places = [other.elements.index(name) for name in one.elements]
    np.testing.assert_array_equal(other.values[:, places], one.values)


def test_other_names_change_nothing():
    new = {node.id: NodeId(f"z{9 - index}") for index, node in enumerate(MESH.nodes)}

    def end(one: Interface) -> Interface:
        return replace(one, node=new[one.node])

    renamed = Mesh(
        MESH.name,
        tuple(replace(one, id=new[one.id]) for one in MESH.nodes),
        tuple(replace(one, a=end(one.a), b=end(one.b)) for one in MESH.links),
    )
    seen = asked([replace(one, node=new[one.node]) for one in grey()], renamed)
    np.testing.assert_array_equal(seen.values, asked(grey()).values)


def test_a_healthy_node_far_away_changes_nothing():
    wider = replace(
        MESH,
        nodes=(*MESH.nodes, Node(NodeId("n6"), "10.42.0.7"), Node(NodeId("n7"), "10.42.0.8")),
        links=(*MESH.links, link("n6", "n7")),
    )
    seen, without = asked(grey(), wider), asked(grey())
    assert seen.elements == without.elements
    np.testing.assert_array_equal(seen.values, without.values)


def test_a_silent_node_is_not_measured_and_strays_by_nothing_of_its_own():
    silent = [one for one in healthy() if one.node != "n4" or one.at < moment(FAULT)]
    seen = asked(silent, at_most=None)
    column = seen.elements.index("node:n4")
    assert np.isnan(seen.values[seen.split + 1 :, column]).all()
    assert "node:n4" not in asked(silent).elements


def test_what_a_node_cannot_measure_is_not_zero():
    blind = [replace(one, missing=frozenset({"counters", "probes", "baseline"})) for one in healthy()]
    seen = asked(blind, at_most=None)
    measured = {one.name for index, one in enumerate(seen.signals) if np.isfinite(seen.values[:, :, index]).any()}
    assert "data loss, worse way" not in measured
    assert "round trip" not in measured
    assert "settings astray" not in measured
    assert {"cpu pressure", "carrier down"} <= measured


def test_a_pause_of_a_collector_is_no_measurement():
    paused = [one for one in healthy() if one.node != "n1" or not moment(20) < one.at < moment(26)]
    values = signal(asked(paused, at_most=None), Element.of_node(NodeId("n1")), "routing packets sent")
    times = asked(paused, at_most=None).times - moment(0).timestamp()
    assert np.isnan(values[(times > 21) & (times < 26)]).all()
    assert np.isfinite(values[(times > 28) & (times < 33)]).all()


def test_counters_that_start_over_are_no_loss():
    def restarted(one: Sample) -> Sample:
        return replace(one, epoch=2, sequence=one.sequence - 40) if one.node == "n2" and one.sequence >= 40 else one

    values = signal(asked([restarted(one) for one in healthy()], at_most=None), Element.of_link(ILL), "data rate")
    assert np.nanmax(values) < 400
    loss = signal(
        asked([restarted(one) for one in healthy()], at_most=None), Element.of_link(ILL), "data loss, worse way"
    )
    assert np.nanmax(loss[2:]) < 0.35


def test_a_nodes_own_signals_are_rates_and_states_in_their_units():
    def with_host(one: Sample) -> Sample:
        seconds = one.sequence / 2
        kernel = KernelReading((DropCount(DropClass.QUEUE, int(6 * seconds)),), int(4 * seconds), 900.0)
        host = HostReading(0.25, int(10 * seconds), 0, int(2 * seconds), DaemonState.STOPPED, kernel)
        drifts = (
            Drift(DriftKind.SYSCTL, "net.ipv4.ip_forward", "1", "0"),
            Drift(DriftKind.MTU, "to-n2", "1500", "900"),
        )
        return replace(one, host=host, drifts=drifts) if one.node == "n1" else one

    seen = asked([with_host(one) for one in healthy()], at_most=None)
    node = Element.of_node(NodeId("n1"))
    assert during(seen, node, "cpu pressure") == 0.25
    assert during(seen, node, "system call p99") == 900.0
    assert during(seen, node, "routing daemon away") == 1.0
    assert during(seen, node, "settings astray") == 1.0
    assert during(seen, Element.of_link(ILL), "link settings astray") == 1.0
    rates = {name: np.nanmean(signal(seen, node, name)) for name in ("drops: queue", "retransmits", "forwarded")}
    assert rates == pytest.approx({"drops: queue": 6.0, "retransmits": 4.0, "forwarded": 10.0}, rel=0.1)
    assert np.nanmean(signal(seen, node, "no route")) == pytest.approx(2.0, rel=0.1)


def test_says_not_enough_history_instead_of_guessing():
    window = taken([one for one in healthy() if one.at < moment(8)])
    with pytest.raises(NotEnoughHistory, match=f"{LEAST_PAST} are needed"):
        window.snapshot(moment(8).timestamp(), since=moment(6).timestamp())
    with pytest.raises(NotEnoughHistory):
        MeshWindow(MESH).snapshot(0.0, since=0.0)


def test_the_window_forgets_what_is_older_than_itself():
    long = samples_of(World(mesh_of(("n0", "n1", 10)), np.random.default_rng(1)), ROWS + 20.0)
    window = taken(long, mesh_of(("n0", "n1", 10)))
    end = moment(ROWS + 20.0).timestamp()
    seen = window.snapshot(end, since=end - 2, at_most=None)
    assert len(seen.times) <= ROWS
    assert seen.times[0] > moment(15).timestamp()


def test_after_a_long_pause_the_window_starts_over():
    later = [replace(one, at=one.at + (moment(3600) - moment(0))) for one in grey()]
    window = taken([replace(one, sequence=one.sequence - 10_000) for one in healthy()])
    window.observe(later)
    seen = window.snapshot(moment(3600 + END).timestamp(), since=moment(3600 + FAULT).timestamp())
    assert seen.times[0] >= moment(3590).timestamp()
    assert str(Element.of_link(ILL)) in seen.elements


def test_every_signal_has_a_name_of_its_own_and_a_unit():
    names = [one.spec.name for one in SIGNALS]
    assert len(set(names)) == len(LINK_SIGNALS) + len(NODE_SIGNALS)
    assert all(one.spec.unit and one.floor > 0 for one in SIGNALS)
    assert {one.spec.kind for one in SIGNALS} == set(SignalKind)


@pytest.mark.parametrize("element", [Element.of_link(ILL), Element(ElementKind.NODE, "a:b")])
def test_an_element_is_read_back_from_its_name(element):
    assert element_of(str(element)) == element


def test_undeclared_nodes_are_ignored():
    assert isinstance(link("n0", "n1"), Link)
    strangers = [replace(one, node=NodeId("stranger")) for one in healthy()]
    window = taken(strangers)
    with pytest.raises(NotEnoughHistory):
        window.snapshot(moment(END).timestamp(), since=moment(FAULT).timestamp())
