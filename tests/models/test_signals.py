from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import NotEnoughHistory
from models.signals import baseline, deviation, squash
from models.snapshot import Kind, SignalKind, SignalSpec, Snapshot, Worse


def snapshot(past: list[float], now: float, *, worse: Worse = 1, kind: SignalKind = SignalKind.GAUGE) -> Snapshot:
    column = np.array([*past, now])
    return Snapshot(
        elements=("a",),
        kinds=(Kind.NODE,),
        edges=np.empty((0, 2), dtype=np.int64),
        signals=(SignalSpec("x", "1", worse, kind),),
        times=np.arange(float(len(column))),
        values=column.reshape(-1, 1, 1),
        split=len(past),
    )


def scores(one: Snapshot) -> tuple[float, float]:
    found = deviation(one, baseline(one))
    return float(found.z[0, 0, 0]), float(found.tail[0, 0, 0])


PAST = [8.0, 9.0, 9.0, 10.0, 10.0, 11.0, 11.0, 12.0, 10.0]


def test_z_is_distance_from_the_median_in_robust_deviations():
    z, tail = scores(snapshot(PAST, 14.0))
    assert z == pytest.approx(4.0 / 1.4826)  # median 10, median absolute deviation 1
    assert tail == pytest.approx(np.log(10))  # none of nine was as bad: (1 + 0) / (1 + 9)


def test_less_is_worse_where_the_signal_says_so():
    assert scores(snapshot(PAST, 6.0, worse=-1)) == scores(snapshot(PAST, 14.0))
    assert scores(snapshot(PAST, 6.0, worse=0)) == scores(snapshot(PAST, 14.0, worse=0))
    assert scores(snapshot(PAST, 6.0))[0] < 0


@given(st.floats(1e-6, 1e6), st.floats(-100, 100))
def test_scaling_a_unit_changes_nothing(factor, now):
    before = scores(snapshot(PAST, now))
    assert scores(snapshot([factor * one for one in PAST], factor * now))[0] == pytest.approx(before[0], rel=1e-6)


def test_what_never_moved_is_not_infinitely_surprising():
    assert scores(snapshot([0.0] * 9, 3.0))[0] == pytest.approx(10)
    assert scores(snapshot([100.0] * 9, 105.0))[0] == pytest.approx(1)


def test_silence_is_no_symptom():
    assert np.isnan(scores(snapshot(PAST, np.nan))).all()
    assert np.isnan(scores(snapshot([*PAST[:7], np.nan, np.nan], 99.0))).all()


def test_a_short_past_is_refused_but_events_need_none():
    with pytest.raises(NotEnoughHistory, match="3 rows"):
        baseline(snapshot(PAST[:3], 1.0))
    one = snapshot([], 3.0, kind=SignalKind.EVENT)
    assert deviation(one, baseline(one)).z[0, 0, 0] == 3


def test_only_the_rows_asked_for_are_scored():
    one = dataclasses.replace(snapshot(PAST, 14.0), split=8)
    assert deviation(one, baseline(one), rows=slice(0, 1)).z.shape == (1, 1, 1)


def test_squashing_keeps_order_and_sign():
    assert squash(np.array([-2.0, 0.0, 2.0])).tolist() == pytest.approx([-np.log(3), 0, np.log(3)])


def test_a_level_the_past_was_at_now_and_then_is_no_news():
    two_levels = [10.0] * 14 + [14.0, 14.1, 13.9, 14.0, 14.2] + [10.1] * 11 + [9.9] * 10
    assert scores(snapshot(two_levels, 14.0))[0] < 2
    assert scores(snapshot([10.0] * 40, 14.0))[0] > 7


def test_an_alarm_that_comes_late_makes_its_fault_no_usual_level():
    late = [10.0] * 36 + [14.0] * 4
    assert scores(snapshot(late, 14.0))[0] > 5


def test_a_share_of_success_is_measured_from_its_best():
    past = [100.0, 99.6, 99.9, 100.0, 99.8, 99.7, 100.0, 99.9, 100.0]
    z, _ = scores(snapshot(past, 97.5, worse=-1, kind=SignalKind.ERRORS))
    assert z > 5
