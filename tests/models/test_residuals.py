"""What the residual detector promises: it hears a broken relation, and units, gaps and dead signals do not bend it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import NotEnoughHistory
from models.residuals import NEEDED_ROWS, ResidualDetector

SPAN = slice(120, 140)


def quiet_rows(rows: int, seed: int) -> np.ndarray:
    """Six signals, the first four of which follow one slow wave; the fifth is constant, the sixth is noise."""
    rng = np.random.default_rng(seed)
    wave = np.sin(np.arange(rows) / 30)[:, None] * np.array([1.0, 2.0, -1.0, 0.5])
    own = rng.normal(0, 0.05, size=(rows, 4))
    return np.hstack([wave + own, np.full((rows, 1), 7.0), rng.normal(0, 1, size=(rows, 1))])


TRAIN = quiet_rows(1500, 1)
DETECTOR = ResidualDetector.fitted(TRAIN)


def stands_out(scores: np.ndarray) -> bool:
    before = scores[: SPAN.start]
    return bool(np.median(scores[SPAN]) > before.max())


def test_a_broken_relation_stands_out_though_each_signal_stays_within_its_past():
    rows = quiet_rows(200, 2)
    rows[SPAN, 1] = -rows[SPAN, 1]
    assert np.abs(rows[SPAN, 1]).max() < np.abs(TRAIN[:, 1]).max()
    assert stands_out(DETECTOR.score(rows))
    assert np.argmax(np.median(DETECTOR.by_signal(rows)[SPAN], axis=0)) == 1


def test_a_constant_signal_that_moves_stands_out():
    rows = quiet_rows(200, 3)
    rows[SPAN, 4] = 9.0
    assert stands_out(DETECTOR.score(rows))


def test_quiet_rows_stay_near_what_is_usual():
    assert np.median(DETECTOR.by_signal(quiet_rows(400, 4))) < 1.0


def test_no_row_is_judged_by_a_later_one():
    rows = quiet_rows(200, 5)
    later = rows.copy()
    later[150:] += 50.0
    np.testing.assert_allclose(DETECTOR.score(later)[:150], DETECTOR.score(rows)[:150], rtol=1e-9)
    assert DETECTOR.score(later)[150] > 2 * DETECTOR.score(rows)[150]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from([2.0**-10, 0.5, 8.0, 2.0**12]), min_size=6, max_size=6))
def test_units_change_nothing(units):
    rows = quiet_rows(200, 6)
    scaled = ResidualDetector.fitted(TRAIN * units).score(rows * units)
    np.testing.assert_allclose(scaled, DETECTOR.score(rows), rtol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(6)))
def test_the_order_of_signals_changes_nothing(order):
    rows = quiet_rows(200, 7)
    mixed = ResidualDetector.fitted(TRAIN[:, order]).score(rows[:, order])
    np.testing.assert_allclose(mixed, DETECTOR.score(rows), rtol=1e-6)


def test_a_signal_that_was_never_measured_changes_nothing():
    silent = np.full((1500, 1), np.nan)
    rows = quiet_rows(200, 8)
    wider = ResidualDetector.fitted(np.hstack([TRAIN, silent]))
    np.testing.assert_allclose(wider.score(np.hstack([rows, silent[:200]])), DETECTOR.score(rows), rtol=1e-6)


def test_one_silent_reading_of_noise_is_not_odd():
    rows = quiet_rows(200, 9)
    rows[SPAN, 5] = np.nan
    assert not stands_out(DETECTOR.score(rows))


def test_too_few_quiet_rows_are_refused():
    with pytest.raises(NotEnoughHistory, match=f"{NEEDED_ROWS} are needed"):
        ResidualDetector.fitted(TRAIN[: NEEDED_ROWS - 1])
