from datetime import UTC, datetime, timedelta

from infra.lab.faults import Harm
from infra.lab.paths import Move, RoundTrip
from infra.lab.verdict import ActionTaken, ControllerReport, judge, why_void
from models.incident import FaultKind
from models.mesh import Element, LinkId, NodeId
from models.remedy import ActionState

T0 = datetime(2030, 1, 1, tzinfo=UTC)
GREY = Harm(kind=FaultKind.GREY, element=Element.of_link(LinkId("n1--n4")))
DOWN = Harm(kind=FaultKind.LINK_DOWN, element=Element.of_link(LinkId("n1--n4")))


def way(*names):
    nodes = tuple(NodeId(name) for name in names)
    return RoundTrip(there=nodes, back=nodes[::-1])


START, MOVED = Move(0, way("n0", "n1", "n4", "n3")), way("n0", "n5", "n4", "n3")


def test_a_path_that_stays_counts():
    assert why_void([START], [GREY], fault_at=10, actions_at=[]) is None


def test_a_path_that_moved_before_the_fault_voids_any_trial():
    for harm in (GREY, DOWN):
        assert "before the fault" in why_void([START, Move(8, MOVED)], [harm], fault_at=10, actions_at=[9])


def test_a_path_that_moves_without_an_action_voids_a_grey_trial_and_not_one_that_routing_sees():
    moves = [START, Move(12, MOVED)]
    assert "before any action" in why_void(moves, [GREY], fault_at=10, actions_at=[])
    assert "before any action" in why_void(moves, [GREY], fault_at=10, actions_at=[13])
    assert why_void(moves, [DOWN], fault_at=10, actions_at=[]) is None


def test_a_path_that_an_action_moved_counts():
    assert why_void([START, Move(12, MOVED)], [GREY], fault_at=10, actions_at=[11.9]) is None


def test_an_action_before_the_fault_excuses_no_move():
    assert why_void([START, Move(12, MOVED)], [GREY], fault_at=10, actions_at=[5]) is not None


def action(element, state, after=1):
    return ActionTaken(at=T0 + timedelta(seconds=after), element=element, remedy="cost-out-link", state=state)


def test_a_right_diagnosis_is_told_from_a_right_place():
    at = T0 + timedelta(seconds=1.5)
    right = ControllerReport(element="link:n1--n4", fault=FaultKind.GREY, detected_at=at)
    place = ControllerReport(element="link:n1--n4", fault=FaultKind.LOSS)
    wrong = ControllerReport(element="link:n0--n1", fault=FaultKind.GREY)
    told = [judge(one, [GREY], T0) for one in (right, place, wrong)]
    assert [(one["right_element"], one["right_cause"]) for one in told] == [(True, True), (True, False), (False, False)]
    assert told[0]["detect_s"] == 1.5
    assert told[1]["detect_s"] is None


def test_only_a_committed_action_elsewhere_is_wrong_and_left():
    report = ControllerReport(
        actions=(
            action("link:n1--n4", ActionState.COMMITTED),
            action("link:n0--n1", ActionState.COMMITTED),
            action("link:n0--n1", ActionState.UNDONE),
        )
    )
    told = judge(report, [GREY], T0)
    assert (told["wrong_left"], told["undone"]) == (1, 1)


def test_without_a_controller_nothing_is_held_against_it():
    assert judge(None, [GREY], T0) == {}


def test_a_round_trip_crosses_a_link_only_if_both_ways_do():
    both = way("n0", "n1", "n4", "n3")
    assert both.crosses(frozenset({NodeId("n1"), NodeId("n4")}))
    assert both.crosses(frozenset({NodeId("n1")}))
    assert not both.crosses(frozenset({NodeId("n0"), NodeId("n4")}))
    one = RoundTrip(there=both.there, back=MOVED.back)
    assert not one.crosses(frozenset({NodeId("n1"), NodeId("n4")}))
