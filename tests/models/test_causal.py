from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.causal import CausalAnalysisEngine, causal_scores
from models.features import node_features
from models.incident import Cause, FaultKind
from models.snapshot import Kind, SignalKind, SignalSpec, Snapshot
from tests.models.incidents import chain, reordered

ENGINE = CausalAnalysisEngine()


@pytest.mark.parametrize("root", [0, 1, 2])
def test_the_planted_root_comes_before_who_depends_on_it(root):
    case = chain(1, root=root)
    ranking = ENGINE.identify_root_causes(case.snapshot)
    assert ranking.suspects[0].element == case.roots[0]
    assert ranking.suspects[0].confidence > ranking.no_visible_root
    assert ranking.candidates[0] == case.roots[0]


def test_nobody_is_accused_when_nothing_strays():
    ranking = ENGINE.identify_root_causes(chain(2, root=None).snapshot)
    assert max(one.confidence for one in ranking.suspects) < 0.2
    assert ENGINE.correlate_events(chain(2, root=None).snapshot) == ()


def test_confidences_and_nobody_sum_to_one():
    ranking = ENGINE.identify_root_causes(chain(3, root=1).snapshot)
    assert sum(one.confidence for one in ranking.suspects) + ranking.no_visible_root == pytest.approx(1)


def test_an_answer_says_which_signal_and_why_the_caller_is_excluded():
    ranking = ENGINE.identify_root_causes(chain(4, root=2).snapshot)
    said = {one.element: one for one in ranking.suspects}
    assert "latency strays" in said["back"].because[0]
    assert "no signal of it strays" in said["other0"].against


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)), st.sampled_from([0, 1, 2, 4]))
def test_order_and_names_change_nothing(order, root):
    case = chain(5, root=root)
    snapshot = reordered(case.snapshot, order)
    renamed = dataclasses.replace(snapshot, elements=tuple(f"x{k}" for k in range(6)))
    assert np.allclose(causal_scores(renamed).total, causal_scores(case.snapshot).total[list(order)])
    assert np.allclose(node_features(renamed), node_features(case.snapshot)[list(order)])


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e3))
def test_scaling_a_unit_changes_nothing(factor):
    snapshot = chain(6, root=2).snapshot
    scaled = snapshot.values.copy()
    scaled[:, :, 0] *= factor
    other = dataclasses.replace(snapshot, values=scaled)
    assert np.allclose(causal_scores(other).total, causal_scores(snapshot).total, atol=1e-6)


def test_a_healthy_element_far_away_changes_no_ranking():
    def ranked(snapshot: Snapshot) -> list[str]:
        return [one.element for one in ENGINE.identify_root_causes(snapshot).suspects if one.score > 1]

    with_it = chain(7, root=1, others=3).snapshot
    without = dataclasses.replace(
        with_it, elements=with_it.elements[:-1], kinds=with_it.kinds[:-1], values=with_it.values[:, :-1]
    )
    assert ranked(with_it) == ranked(without)
    assert ranked(with_it)[0] == "middle"


@pytest.mark.parametrize("silent", range(6))
@pytest.mark.parametrize("root", [None, 1, 2])
def test_a_silent_sensor_is_never_most_likely_by_its_silence(silent, root):
    case = chain(8, root=root)
    values = case.snapshot.values.copy()
    values[40:, silent] = np.nan
    ranking = ENGINE.identify_root_causes(dataclasses.replace(case.snapshot, values=values))
    first = ranking.suspects[0]
    silent_name = case.snapshot.elements[silent]
    assert first.element != silent_name or first.confidence < ranking.no_visible_root or silent_name in case.roots


def test_two_incidents_far_apart_stay_apart():
    snapshot = chain(9, root=1).snapshot
    values = snapshot.values.copy()
    values[40:, 4, 0] += 2
    groups = ENGINE.correlate_events(dataclasses.replace(snapshot, values=values))
    assert groups == (("front", "middle"), ("other1",))


def test_a_dependency_out_of_view_joins_those_that_are_all_it_has():
    snapshot = chain(10, root=None).snapshot
    values = snapshot.values.copy()
    values[40:, [3, 4], 0] += 2
    both = dataclasses.replace(snapshot, values=values, edges=np.array([[3, 5], [4, 5]]))
    assert ENGINE.correlate_events(both) == (("other0", "other1"),)


def test_a_declared_dependency_that_never_showed_is_named():
    snapshot = chain(11, root=None).snapshot
    values = snapshot.values.copy()
    values[:, 1, 0] = values[:, 0, 0] * 1.5
    graph = ENGINE.build_causal_graph(dataclasses.replace(snapshot, values=values))
    assert graph.together[0] > graph.together[1]
    assert len(graph.edges) == 2


def test_remedies_come_from_the_catalogue_and_from_what_helped_before():
    cause = Cause(None, FaultKind.MTU, 0.8)
    untried = ENGINE.suggest_remediation(cause)
    assert [one.remedy for one in untried] == ["restore-mtu", "cost-out-link"]
    learned = ENGINE.suggest_remediation(cause, fixed={(FaultKind.MTU, "restore-mtu"): (0, 5)})
    assert learned[0].remedy == "cost-out-link"
    assert "0 of 5" in learned[1].reason


def test_an_element_of_a_mesh_is_scored_like_any_other():
    snapshot = chain(12, root=2).snapshot
    mesh = dataclasses.replace(snapshot, kinds=(Kind.NODE, Kind.LINK, Kind.NODE, Kind.NODE, Kind.LINK, Kind.NODE))
    assert np.array_equal(causal_scores(mesh).total, causal_scores(snapshot).total)


def with_alarm_in_availability(seed: int) -> Snapshot:
    """front -> middle -> back: middle fails requests while an unrelated service is slower than the alarm is loud."""
    snapshot = chain(seed, root=None).snapshot
    values = snapshot.values.copy()
    values[40:, [0, 1], 1] -= 4.0
    values[40:, 3, 0] += 5.0
    return dataclasses.replace(snapshot, values=values, target=0, target_signal=1)


def test_the_alarms_own_signal_decides_whom_it_may_be():
    suspects = ENGINE.identify_root_causes(with_alarm_in_availability(13)).suspects
    assert suspects[0].element == "middle"
    assert (
        "where the alarm was raised nothing depends on it" in {one.element: one.against for one in suspects}["other0"]
    )


def test_where_only_the_alarms_element_is_known_the_signal_it_strays_in_is_taken():
    snapshot = with_alarm_in_availability(14)
    guessed = causal_scores(dataclasses.replace(snapshot, target_signal=None))
    assert np.array_equal(guessed.total, causal_scores(snapshot).total)


def calls(outward: dict[int, float], rates: dict[int, float]) -> Snapshot:
    """Two callers, of which one calls 2 and 3 and the other 3; deviations of client latency and of requests."""
    rng = np.random.default_rng(15)
    values = rng.normal(1.0, 0.05, (45, 4, 2))
    for place, more in outward.items():
        values[40:, place, 0] += more
    for place, less in rates.items():
        values[40:, place, 1] -= less
    return Snapshot(
        elements=("one", "two", "mine", "shared"),
        kinds=(Kind.SERVICE,) * 4,
        edges=np.array([[0, 2], [0, 3], [1, 3]]),
        signals=(
            SignalSpec("client latency", "s", 1, SignalKind.LATENCY, outward=True),
            SignalSpec("requests", "1/s", 0, SignalKind.RATE),
        ),
        times=np.arange(45.0),
        values=values,
        split=40,
    )


@pytest.mark.parametrize(("slow", "root"), [({0: 2.0}, "mine"), ({0: 2.0, 1: 2.0}, "shared")])
def test_what_callers_measure_of_their_calls_accuses_who_they_call(slow, root):
    first = ENGINE.identify_root_causes(calls(slow, {})).suspects[0]
    assert first.element == root
    assert "who depends on it waits for its dependencies" in first.because


def test_who_calls_nobody_in_view_answers_for_what_it_waits_for():
    strays = causal_scores(calls({3: 2.0}, {})).parts["own"]
    assert strays.argmax() == 3
    assert causal_scores(calls({0: 2.0}, {})).parts["own"][0] < 1  # a caller may blame who it calls


@pytest.mark.parametrize("rows", [60, 600])
def test_one_spike_in_the_newest_row_of_many_accuses_nobody(rows):
    snapshot = chain(17, root=None, others=0).snapshot
    times = np.arange(snapshot.split + rows, dtype=float)
    values = np.random.default_rng(17).normal(1.0, 0.05, (len(times), 3, 2))
    values[-1, 2, 0] += 2.0
    spiked = dataclasses.replace(snapshot, times=times, values=values, trigger=None, target=None, target_signal=None)
    assert causal_scores(spiked).parts["own"].max() < 1


def test_who_lets_its_callees_starve_is_suspected_and_not_they():
    first = ENGINE.identify_root_causes(calls({}, {2: 0.9})).suspects[0]
    assert first.element == "one"


def test_a_busy_processor_is_not_explained_by_a_slow_dependency():
    snapshot = chain(16, root=2).snapshot
    busy = dataclasses.replace(
        snapshot, signals=(snapshot.signals[0], SignalSpec("cpu", "share", 1, SignalKind.GAUGE)), target=None
    )
    values = busy.values.copy()
    values[40:, 1, 1] += 80.0
    found = causal_scores(dataclasses.replace(busy, values=values))
    assert found.parts["resource"].argmax() == 1
    assert found.parts["unexplained"][1] < 0.5
