from itertools import pairwise

import networkx as nx
import pytest

from infra.lab.topology import Shape, as_graph, cheapest_path, least_gap, link_addresses, links_along, mesh, next_hops
from models.errors import ConfigurationInvalid
from models.mesh import NodeId


@pytest.mark.parametrize("shape", list(Shape))
@pytest.mark.parametrize("size", [4, 6, 9])
def test_second_best_path_of_every_pair_is_at_least_five_dearer(shape, size):
    built = mesh(shape, size)
    graph = as_graph(built)
    for source in graph:
        for target in graph:
            if source < target:
                paths = list(nx.shortest_simple_paths(graph, source, target, weight="weight"))[:2]
                costs = [nx.path_weight(graph, path, "weight") for path in paths]
                assert len(costs) == 1 or costs[1] - costs[0] >= 5
    assert least_gap(graph) >= 5


@pytest.mark.parametrize("shape", list(Shape))
def test_names_and_addresses_are_unique_and_the_mesh_is_connected(shape):
    built = mesh(shape, 9, name="mine")
    assert built.name == "mine"
    assert [node.id for node in built.nodes] == [f"n{index}" for index in range(9)]
    assert len({node.address for node in built.nodes}) == 9
    assert built.nodes[0].address == "10.42.0.1"
    assert len({link.id for link in built.links}) == len(built.links)
    assert nx.is_connected(as_graph(built))
    for link in built.links:
        assert link.id == f"{link.a.node}--{link.b.node}"
        assert link.a.name == f"to-{link.b.node}"
        assert len(link.a.name) <= 15


def test_ring_chord_of_six_has_seven_links_and_no_bridge():
    graph = as_graph(mesh(Shape.RING_CHORD))
    assert graph.number_of_edges() == 7
    assert not nx.has_bridges(graph)


def test_a_random_mesh_can_lose_any_link():
    assert not nx.has_bridges(as_graph(mesh(Shape.RANDOM_GEOMETRIC, 20, seed=3)))


def test_the_same_seed_gives_the_same_mesh_and_another_seed_another():
    assert mesh(Shape.RING_CHORD, seed=5) == mesh(Shape.RING_CHORD, seed=5)
    assert mesh(Shape.RING_CHORD, seed=5) != mesh(Shape.RING_CHORD, seed=6)


def test_link_addresses_are_consecutive_pairs():
    assert link_addresses(0) == ("10.43.0.0", "10.43.0.1")
    assert link_addresses(200) == ("10.43.1.144", "10.43.1.145")


def test_next_hops_agree_with_the_cheapest_paths():
    built = mesh(Shape.GRID, 9)
    hops = next_hops(built)
    path = cheapest_path(built, NodeId("n0"), NodeId("n8"))
    assert all(hops[here][NodeId("n8")] == there for here, there in pairwise(path))
    assert len(links_along(built, path)) == len(path) - 1


@pytest.mark.parametrize(("shape", "size"), [(Shape.RING_CHORD, 3), (Shape.LINE, 1), (Shape.GRID, 251)])
def test_a_size_that_does_not_fit_is_refused_with_the_mend(shape, size):
    with pytest.raises(ConfigurationInvalid, match="choose"):
        mesh(shape, size)
