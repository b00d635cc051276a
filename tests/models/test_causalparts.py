from __future__ import annotations

import numpy as np
import pytest

from models.causalparts import agreement, blame, most_of_dependencies, reach, unexplained

STRONG = float(np.log1p(30.0))


def test_most_of_dependencies_is_theirs_and_not_its_own():
    edges = np.array([[0, 1], [0, 2], [1, 1]])
    assert most_of_dependencies(np.array([5.0, 2.0, 3.0]), edges).tolist() == [3.0, 0.0, 0.0]


def test_a_caller_keeps_only_what_its_callee_does_not_show():
    edges = np.array([[0, 1], [2, 3]])
    z = np.array([30.0, 30.0, 30.0, 3.0])
    assert unexplained(np.log1p(z), edges)[[0, 1, 2]] == pytest.approx([0.0, 1.0, 0.9])


def test_blame_is_whole_for_the_one_all_strays_have_in_common():
    edges = np.array([[0, 2], [1, 2], [0, 3]])
    found = blame(np.array([STRONG, STRONG, 0.0, 0.0]), edges)
    assert found[2] == pytest.approx(1.0)
    assert found[3] == pytest.approx(2 / 3)  # its one dependant strays, and holds half of what does


def test_reach_is_the_weakest_link_of_the_best_path():
    edges = np.array([[0, 1], [1, 2], [0, 3], [3, 2], [4, 2]])
    joined, needed = reach(np.array([0.2, 0.4, 1.0, 0.8, 1.0]), edges, 0)
    assert joined.tolist() == [0.0, 0.4, 0.8, 0.8, 0.0]
    assert needed.tolist() == [True, True, True, True, False]


def test_an_unmeasured_element_lets_half_pass_and_is_not_reached_itself():
    joined, _ = reach(np.array([1.0, np.nan, 1.0]), np.array([[0, 1], [1, 2], [2, 1]]), 0)
    assert joined.tolist() == [0.0, 0.0, 0.5]


def test_agreement_needs_a_target_that_moves_and_rows_in_common():
    rows = np.array([[0.0, 1.0, 3.0, np.nan], [0.0, 1.0, 3.0, 1.0], [0.0, 1.0, 3.0, np.nan], [1.0, 3.0, 3.0, 2.0]])
    assert agreement(rows, 0) == pytest.approx([0.0, 1.0, 0.0, 0.0])
    assert agreement(rows, 2).tolist() == [0.0] * 4
