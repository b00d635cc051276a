"""The plan of trials: complete, mixed, and the same in every arm."""

import networkx as nx
import pytest

from infra.lab.faults import PLACES
from infra.lab.topology import as_graph, cheapest_path, links_along
from models.incident import FaultKind
from models.mesh import ElementKind, NodeId
from tests.bench.cells import BENEATH, CASES, Arm, Cell, plan, specification


def test_every_cell_is_planned_once_and_early_trials_of_all_come_first():
    cells = plan(list(CASES), list(Arm), 3, seed=5)
    assert len(cells) == len(set(cells)) == 3 * len(CASES) * len(Arm)
    assert [cell.number for cell in cells] == sorted(cell.number for cell in cells)


def test_the_order_is_mixed_by_its_seed_alone():
    asked = (list(CASES), list(Arm), 2)
    assert plan(*asked, seed=5) == plan(*asked, seed=5)
    assert plan(*asked, seed=5) != plan(*asked, seed=6)
    rounds = plan(*asked, seed=5)
    assert rounds[: len(rounds) // 2] != [Cell(one.case, one.arm, 0) for one in rounds[len(rounds) // 2 :]]


def test_every_fault_a_lab_can_make_has_a_case_and_grey_has_three():
    kinds = [FaultKind(one["kind"]) for one in CASES.values()]
    assert set(kinds) == set(PLACES)
    assert kinds.count(FaultKind.GREY) == 3


@pytest.mark.parametrize("case", CASES)
def test_arms_differ_in_what_routes_beneath_and_in_nothing_else(case):
    specs = {arm: specification(Cell(case, arm, 2), seed=7) for arm in Arm}
    same = {"name", "daemon", "timers"}
    assert len({spec.model_dump_json(exclude=same) for spec in specs.values()}) == 1
    assert {arm: spec.timers for arm, spec in specs.items()} == {arm: one.timers for arm, one in BENEATH.items()}
    assert specs[Arm.CONTROLLER].timers == specs[Arm.BABELD_1S].timers


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("number", range(6))
def test_the_fault_is_on_the_traffics_way_and_there_is_another_way(case, number):
    spec = specification(Cell(case, Arm.CONTROLLER, number), seed=7)
    built, fault = spec.mesh("check"), spec.faults[0]
    source, target = NodeId(spec.traffic.source), NodeId(spec.traffic.target)
    path = cheapest_path(built, source, target)
    left = as_graph(built)
    if PLACES[fault.kind] is ElementKind.LINK:
        link = next(one for one in built.links if one.id == fault.place)
        assert link in links_along(built, path)
        left.remove_edge(*link.nodes)
    else:
        assert fault.place in path[1:-1]
        left.remove_node(NodeId(fault.place))
    assert nx.has_path(left, source, target)


def test_meshes_places_and_moments_vary_from_trial_to_trial():
    specs = [specification(Cell("grey", Arm.CONTROLLER, number), seed=7) for number in range(20)]
    assert len({spec.topology for spec in specs}) == 3
    assert len({(spec.topology, spec.seed, spec.faults[0].place) for spec in specs}) > 15
    assert len({spec.warm_up_s for spec in specs}) > 15


def test_large_packets_are_sent_where_only_they_would_notice():
    assert specification(Cell("grey-large", Arm.CONTROLLER, 0), seed=7).packet_size > 1000
    assert specification(Cell("grey", Arm.CONTROLLER, 0), seed=7).packet_size < 1000
