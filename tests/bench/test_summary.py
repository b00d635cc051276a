"""From records to rows: the figures, the goals, and what must not flatter us."""

import pytest

from tests.bench.cells import CAP_S, Arm, Cell, plan
from tests.bench.examples import SEED, record, series
from tests.bench.summary import notes, rows


def row(records, case, metric):
    return next(one for one in rows(records, seed=SEED) if (one.case, one.metric) == (case, metric))


def test_the_controllers_outage_stands_beside_the_other_arms():
    records = series("grey", Arm.CONTROLLER, [1.0, 2.0, 3.0]) + series("grey", Arm.BABELD_1S, [50.0, 50.0, 8.0])
    found = row(records, "grey", "outage_p50")
    assert (found.value, found.n, found.peers) == (2.0, 3, {"babeld-1s": 50.0})
    assert found.interval[0] <= 2.0 <= found.interval[1]


def test_what_never_recovered_is_counted_and_its_cap_is_in_the_tail():
    last = record(Cell("grey", Arm.CONTROLLER, 19), outage_s=CAP_S, never_recovered=True)
    records = [*series("grey", Arm.CONTROLLER, [1.0] * 19), last]
    assert row(records, "grey", "never_recovered").value == 1
    # 18.05 of 19 steps: a twentieth of the way from 1 to the cap.
    assert row(records, "grey", "outage_p95").value == pytest.approx(1 + 0.05 * (CAP_S - 1))


def test_void_and_failed_trials_are_counted_and_enter_no_figure():
    records = [
        *series("mtu", Arm.CONTROLLER, [4.0]),
        record(Cell("mtu", Arm.CONTROLLER, 1), end="void", outage_s=0.0),
        record(Cell("mtu", Arm.CONTROLLER, 2), end="error"),
        record(Cell("mtu", Arm.BABELD_1S, 0), end="error"),
    ]
    assert row(records, "mtu", "outage_p95").value == 4.0
    assert row(records, "mtu", "outage_p95").n == 1
    assert (row(records, "mtu", "voids").value, row(records, "mtu", "errors").value) == (1, 1)
    assert row(records, "mtu", "errors").peers == {"babeld-1s": 1}
    assert row(records, "mtu", "outage_p95").peers == {"babeld-1s": None}


def test_what_was_never_detected_counts_as_the_cap_and_so_does_an_alarm_from_before_the_fault():
    records = [
        *series("loss", Arm.CONTROLLER, [1.0], detect_s=None),
        record(Cell("loss", Arm.CONTROLLER, 1), detect_s=-3.0),
    ]
    assert row(records, "loss", "time_to_detect_p95").value == CAP_S
    assert row(records, "loss", "never_detected").value == 1
    assert row(records, "loss", "alarms_before_fault").value == 1


def test_pairs_are_made_of_the_same_trial_number_and_bound_the_median_difference():
    ours = series("link_down", Arm.CONTROLLER, [2.0, 3.0, 4.0, 5.0, 6.0, 99.0])
    alone = series("link_down", Arm.BABELD_1S, [1.5, 2.5, 3.5, 4.5, 5.6])
    found = row(ours + alone, "link_down", "outage_over_alone_upper95")
    # Five pairs, so the largest difference bounds; the sixth trial has no partner.
    assert (found.value, found.n, found.goal, found.is_met) == (pytest.approx(0.5), 5, 1.0, True)


@pytest.mark.parametrize(
    ("case", "metric", "goal"),
    [
        ("grey", "outage_p95", 5),
        ("grey-large", "outage_p95", 5),
        ("grey-flow", "outage_p95", 5),
        ("loss", "outage_p95", 5),
        ("mtu", "outage_p95", 20),
        ("daemon_hung", "outage_p95", 20),
        ("qdisc_drift", "outage_p95", 20),
        ("carrier_flap", "outage_p95", None),
        ("carrier_flap", "right_element", 0.9),
        ("one_way", "wrong_left", 0),
    ],
)
def test_each_promise_is_a_goal(case, metric, goal):
    assert row(series(case, Arm.CONTROLLER, [1.0]), case, metric).goal == goal


def test_an_action_left_on_the_wrong_element_misses_its_goal():
    records = series("grey", Arm.CONTROLLER, [1.0, 1.0], wrong_left=1)
    assert row(records, "grey", "wrong_left").value == 2
    assert row(records, "grey", "wrong_left").is_met is False


def test_routing_alone_has_no_goals_to_meet():
    records = series("grey", Arm.BABELD_1S, [50.0])
    assert all(one.goal is None and one.is_met is None for one in rows(records, seed=SEED))


def test_notes_tell_of_missing_few_and_mixed_trials():
    cells = plan(["grey"], [Arm.CONTROLLER], 3, seed=SEED)
    records = [
        record(Cell("grey", Arm.CONTROLLER, 0)),
        record(Cell("grey", Arm.CONTROLLER, 1), commit="facade"),
        *[record(Cell("grey", Arm.CONTROLLER, 2), end="void")] * 4,
    ]
    said = " ".join(notes(cells, records))
    assert "1 of 3 trials have no result; 1 of them used up their attempts" in said
    assert "only 2 trials" in said
    assert "several commits: c0ffee, facade" in said
    assert "load average" in said
