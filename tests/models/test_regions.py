"""A mesh that several detectors watch, a region each, shows what one detector of the whole would show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.detection import Detector, Losses
from models.incident import Symptom, SymptomKind
from models.mesh import Mesh, NodeId
from models.regions import Outlook, Region, joined, regions, together, whole
from models.telemetry import Drift, DriftKind, Sample
from tests.models.samples import DATA, Flow, World, lossy, mesh_of, moment, ring_with_chord, with_drift

MESH = ring_with_chord()
N5 = NodeId("n5")
AROUND_N5 = {link.id for link in MESH.links_of(N5)}
FAULT, SECONDS = 7.0, 13.0
FIFTY = Flow("n0", "n3", 50)


@st.composite
def meshes(draw: st.DrawFn) -> Mesh:
    """Any mesh: of one node, in several parts, with two links between the same nodes."""
    count = draw(st.integers(1, 30))
    ends = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] != pair[1])
    chosen = draw(st.lists(ends, max_size=2 * count)) if count > 1 else []
    of_ends = mesh_of(*((f"n{a}", f"n{b}", 10) for a, b in chosen))
    links = tuple(replace(link, id=f"{link.id}/{place}") for place, link in enumerate(of_ends.links))
    nodes = tuple(replace(MESH.nodes[0], id=NodeId(f"n{one}")) for one in range(count))
    return replace(of_ends, nodes=nodes, links=links)


@given(meshes(), st.integers(1, 10))
@settings(max_examples=60)
def test_every_node_and_every_link_is_in_one_region_that_sees_its_ends(mesh, most):
    cut = regions(mesh, most_nodes=most)
    assert sorted(node for one in cut for node in one.nodes) == sorted(node.id for node in mesh.nodes)
    assert sorted(link for one in cut for link in one.links) == sorted(link.id for link in mesh.links)
    for one in cut:
        near = {far for node in one.nodes for link in mesh.links_of(node) for far in link.nodes}
        assert set(one.seen) == {*one.nodes, *near}
        assert {end for link in one.links for end in mesh.link(link).nodes} <= set(one.seen)
    assert cut == regions(mesh, most_nodes=most)


@given(meshes(), st.integers(1, 10))
@settings(max_examples=60)
def test_no_region_is_too_large_and_none_is_less_than_half_of_what_it_may_be(mesh, most):
    sizes = [len(one.nodes) for one in regions(mesh, most_nodes=most)]
    assert max(sizes) <= most
    assert len(sizes) == 1 or min(sizes) >= (most + 1) // 2


def test_few_links_cross_the_borders_of_a_grid():
    grid = nx.grid_2d_graph(20, 20)
    mesh = mesh_of(*((f"{a[0]:02}.{a[1]:02}", f"{b[0]:02}.{b[1]:02}", 10) for a, b in grid.edges))
    cut = regions(mesh, most_nodes=100)
    region_of = {node: place for place, one in enumerate(cut) for node in one.nodes}
    crossing = sum(region_of[a] != region_of[b] for a, b in (link.nodes for link in mesh.links))
    assert len(cut) == 4
    # Four squares would have 40; four cut at random have three in four of the 760.
    assert crossing <= 80


def test_a_mesh_without_nodes_has_no_region():
    assert regions(Mesh("empty", (), ()), most_nodes=5) == ()


def batches(seed: int, **bent: object) -> list[tuple[float, list[Sample]]]:
    return list(World(MESH, np.random.default_rng(seed), flows=[FIFTY], **bent).run(SECONDS))  # type: ignore[arg-type]


def watched(delivered: Iterable[tuple[float, list[Sample]]]) -> list[tuple[Symptom, ...]]:
    detector, seen = Detector(MESH), []
    for now, samples in delivered:
        detector.observe(samples)
        seen.append(detector.symptoms(moment(now)))
    return seen


def detectors(cut: Iterable[Region]) -> list[Detector]:
    return [Detector(MESH, region=one) for one in cut]


def watched_by_regions(
    delivered: Iterable[tuple[float, list[Sample]]], cut: tuple[Region, ...], *, talking: bool = True
) -> list[tuple[Symptom, ...]]:
    parts, seen = detectors(cut), []
    for now, samples in delivered:
        for part, region in zip(parts, cut, strict=True):
            part.observe([one for one in samples if one.node in region.seen])
        outlook = together(part.outlook(moment(now)) for part in parts) if talking else None
        seen.append(joined(part.placed_symptoms(moment(now), outlook) for part in parts))
    return seen


def all_lose(t: float, *_: object) -> float:
    return 0.6 if t >= FAULT else 0.0


def n5_dies(t: float, link: str, *_: object) -> float:
    return 1.0 if link in AROUND_N5 and t >= FAULT else 0.0


def n5_comes_late(t: float, link: str, *_: object) -> float:
    return 1.0 if link in AROUND_N5 and t < FAULT else 0.0


def n2_is_busy(_: float, one: Sample) -> Sample:
    return replace(one, host=replace(one.host, cpu_pressure=0.4)) if one.node == "n2" else one


CASES: dict[str, tuple[dict[str, object], set[SymptomKind]]] = {
    "a grey link": ({"harm": lossy("n1--n2", 1, start=FAULT, classes=[DATA])}, {SymptomKind.LOSS}),
    "a lossy link beside busy hosts": (
        {"harm": lossy("n1--n4", 0.5, start=FAULT), "pressure": 0.6, "sample_jitter": 0.1},
        {SymptomKind.LOSS},
    ),
    "a node that dies": (
        {"harm": n5_dies, "reading": lambda t, one: None if one.node == N5 and t >= FAULT else one},
        {SymptomKind.SILENT_NODE, SymptomKind.UNREACHABLE},
    ),
    "a node that dies far from a busy host": (
        {"harm": n5_dies, "reading": n2_is_busy},
        {SymptomKind.LOSS, SymptomKind.UNREACHABLE},
    ),
    "a node that comes late": (
        {"harm": n5_comes_late, "reading": lambda t, one: None if one.node == N5 and t < FAULT else one},
        set(),
    ),
    "every link at once": ({"harm": all_lose}, {SymptomKind.LOSS}),
    "a drift": (
        {"reading": with_drift("n2", Drift(DriftKind.MTU, "to-n3", "1500", "1280"), start=FAULT)},
        {SymptomKind.DRIFT},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_regions_show_together_what_one_detector_shows_in_the_same_order_at_every_moment(case):
    bent, kinds = CASES[case]
    delivered = batches(21, **bent)
    expected = watched(delivered)
    assert {one.kind for symptoms in expected for one in symptoms} >= kinds
    for most in (1, 2, 3):
        cut = regions(MESH, most_nodes=most)
        assert len(cut) > 1
        assert watched_by_regions(delivered, cut) == expected


def test_regions_that_do_not_talk_take_a_busy_prober_for_broken_links():
    delivered = batches(22, harm=all_lose)
    alone = watched_by_regions(delivered, regions(MESH, most_nodes=1), talking=False)
    together_ = watched(delivered)
    first = [next(place for place, symptoms in enumerate(seen) if symptoms) for seen in (alone, together_)]
    assert first[0] < first[1], "only all regions together see that most links lose probes, and wait"


def test_regions_judge_together_what_verification_asks_of_one_detector():
    delivered = batches(23, harm=lossy("n1--n2", 0.5, start=4), reading=lambda t, one: one if t < 9 else None)
    one, cut = Detector(MESH), regions(MESH, most_nodes=2)
    parts = detectors(cut)
    for _, samples in delivered:
        for detector in (one, *parts):
            detector.observe(samples)
    asked = moment(12), moment(6)
    losses = [part.losses(*asked) for part in parts]
    links = {key: value for found in losses for key, value in found.links.items()}
    pairs = {key: value for found in losses for key, value in found.pairs.items()}
    assert Losses(links, pairs) == one.losses(*asked)
    assert frozenset[NodeId]().union(*(part.unheard(*asked) for part in parts)) == one.unheard(*asked)
    assert one.unheard(*asked)


def test_a_region_that_knows_of_no_others_judges_no_pair_that_leaves_it():
    delivered = batches(24, harm=n5_dies)
    (corner, *_) = regions(MESH, most_nodes=1)
    assert N5 in corner.seen
    detector = Detector(MESH, region=corner)
    for now, samples in delivered:
        detector.observe(samples)
        found = [one for _, one in detector.placed_symptoms(moment(now))]
        assert {str(one.facts["to"]) for one in found if one.kind is SymptomKind.UNREACHABLE} <= set(corner.nodes)


def test_the_whole_mesh_is_a_region_and_looks_out_for_itself():
    part = whole(MESH)
    assert part.nodes == part.seen == tuple(node.id for node in MESH.nodes)
    outlook = Detector(MESH, region=part).outlook(moment(0))
    assert together([outlook]) == outlook == Outlook(1.0, 0, len(MESH.links), dict.fromkeys(part.nodes, float("inf")))
