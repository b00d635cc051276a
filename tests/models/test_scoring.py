from __future__ import annotations

import numpy as np
import pytest

from models.scoring import (
    accuracy_at_coverage,
    average_at,
    brier,
    calibration_error,
    hit,
    paired_interval,
    surprise,
)


def test_ties_are_scored_in_expectation():
    scores = np.array([3.0, 1.0, 1.0, 1.0])
    assert hit(scores, (0,), top=1) == 1
    assert hit(scores, (2,), top=1) == 0
    assert hit(scores, (2,), top=2) == pytest.approx(1 / 3)
    assert hit(scores, (2,), top=4) == 1
    assert hit(np.zeros(10), (4,), top=3) == pytest.approx(0.3)
    assert hit(np.zeros(4), (0, 1), top=1) == pytest.approx(0.5)
    assert hit(scores, (), top=4) == 0


def test_average_at_five_is_the_mean_of_five_hits():
    assert average_at(np.array([3.0, 2.0, 1.0]), (1,)) == pytest.approx(0.8)


def test_surprise_is_the_log_of_what_the_truth_was_given():
    assert surprise(np.array([0.5, 0.25]), 0.25, (1,)) == pytest.approx(np.log(4))
    assert surprise(np.array([0.5, 0.25]), 0.25, ()) == pytest.approx(np.log(4))
    assert np.isfinite(surprise(np.array([1.0, 0.0]), 0.0, (1,)))


def test_brier_is_zero_for_certain_truth_and_two_for_certain_error():
    assert brier(np.array([1.0, 0.0]), 0.0, (0,)) == 0
    assert brier(np.array([1.0, 0.0]), 0.0, (1,)) == 2
    assert brier(np.array([0.0, 0.0]), 1.0, ()) == 0


def test_calibration_error_is_the_distance_from_what_came_true():
    said = np.full(20, 0.9)
    assert calibration_error(said, np.r_[np.ones(10), np.zeros(10)]) == pytest.approx(0.4)
    assert calibration_error(np.full(20, 0.5), np.r_[np.ones(10), np.zeros(10)]) == pytest.approx(0)


def test_the_surest_answers_count_at_coverage():
    said, right = np.array([0.9, 0.8, 0.7, 0.1]), np.array([1.0, 1.0, 0.0, 0.0])
    assert accuracy_at_coverage(said, right, coverage=0.5) == 1
    assert accuracy_at_coverage(np.zeros(4), right, coverage=0.5) == pytest.approx(0.5)


def test_a_method_better_everywhere_is_better_with_its_interval():
    rng = np.random.default_rng(0)
    low, high = paired_interval(np.ones(30), np.r_[np.zeros(15), np.ones(15)], rng=rng)
    assert 0 < low < 0.5 < high


def test_equals_count_in_expectation():
    level = np.zeros(10)
    assert hit(level, [3], top=1) == pytest.approx(0.1)
    assert hit(level, [3], top=5) == pytest.approx(0.5)
    assert hit(level, [3, 4], top=1) == pytest.approx(0.2)
    assert hit(np.array([3.0, 2.0, 2.0]), [1], top=2) == pytest.approx(0.5)
    assert hit(np.array([3.0, 2.0, 1.0]), [2], top=2) == 0.0
