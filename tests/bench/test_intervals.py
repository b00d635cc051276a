"""Statistics against answers worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.intervals import mean_interval, median_upper_bound, quantile, quantile_interval, share_interval

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)


def test_a_quantile_lies_on_the_line_between_its_neighbours():
    # 95 % of the way through 1..21 is the twentieth value; of 0..10 it is half-way between 9 and 10.
    assert quantile([float(one) for one in range(1, 22)], 0.95) == pytest.approx(20)
    assert quantile([float(one) for one in range(11)], 0.95) == pytest.approx(9.5)


def test_nothing_measured_has_no_quantile_share_or_bound():
    assert quantile([], 0.5) is None
    assert quantile_interval([1.0], 0.5, seed=1) is None
    assert mean_interval([1.0], seed=1) is None
    assert share_interval(0, 0) is None
    assert median_upper_bound([]) is None


def test_wilson_gives_the_textbook_answer():
    # 9 of 10, z = 1.96: centre (0.9 + 0.19207) / 1.38415, half-width 1.96 * sqrt(0.009 + 0.009604) / 1.38415.
    low, high = share_interval(9, 10)
    assert (low, high) == (pytest.approx(0.5958, abs=1e-4), pytest.approx(0.9821, abs=1e-4))


def test_wilson_is_no_point_at_the_ends_of_the_scale():
    # 20 of 20 proves no more than 20 / (20 + 3.8415).
    assert share_interval(20, 20) == (pytest.approx(0.8389, abs=1e-4), 1.0)
    assert share_interval(0, 20) == (0.0, pytest.approx(0.1611, abs=1e-4))


def test_the_medians_bound_is_the_order_statistic_of_the_sign_test():
    # Of twenty fair coins 15 or more are heads in 2.1 % of cases, 14 or more in 5.8 %: the fifteenth value bounds.
    assert median_upper_bound([float(one) for one in range(20, 0, -1)]) == 15
    # Of five, all five are heads in 3.1 %: the largest value. Of four in 6.25 %: no value is a bound.
    assert median_upper_bound([3.0, 1.0, 5.0, 2.0, 4.0]) == 5
    assert median_upper_bound([3.0, 1.0, 2.0, 4.0]) is None


@given(NUMBERS, st.integers(0, 100))
def test_a_bootstrap_stays_within_the_data_and_repeats_with_its_seed(values, seed):
    for share in (0.5, 0.95):
        low, high = quantile_interval(values, share, seed=seed)
        assert min(values) <= low <= high <= max(values)
        assert quantile_interval(values, share, seed=seed) == (low, high)


def test_a_bootstrap_of_one_value_repeated_is_that_value():
    assert quantile_interval([2.5] * 20, 0.95, seed=3) == (2.5, 2.5)
    assert mean_interval([2.5] * 20, seed=3) == (2.5, 2.5)


def test_a_bootstrapped_mean_covers_the_mean_about_as_wide_as_theory_says():
    # 0 and 1 fifty times each: standard error 0.05, so the interval is 0.5 -+ 0.098.
    low, high = mean_interval([0.0, 1.0] * 50, seed=4)
    assert (low, high) == (pytest.approx(0.402, abs=0.02), pytest.approx(0.598, abs=0.02))
