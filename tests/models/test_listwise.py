from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from models.listwise import fit_listwise

# Looked for, not imported: every worker collects this file, and one runs it.
pytestmark = pytest.mark.skipif(find_spec("scipy") is None, reason="needs the extra `learning`")


def incidents(count: int) -> tuple[list[np.ndarray], list[tuple[int, ...]]]:
    rng = np.random.default_rng(3)
    features, roots = [], []
    for _ in range(count):
        # All elements of a busy incident show much; the root shows one more than its neighbours.
        one = rng.normal(size=(5, 3)) * [0.1, 1.0, 0.0] + rng.normal() * 50 * np.array([1.0, 0.0, 0.0])
        root = int(rng.integers(5))
        one[root, 0] += 1.0
        features.append(one)
        roots.append((root,))
    return features, roots


def test_tells_the_root_from_its_neighbours_however_much_all_of_them_show():
    features, roots = incidents(60)
    choice = fit_listwise(features[:40], roots[:40], ridge=1e-4)
    right = [int(choice.scores(one).argmax()) == root[0] for one, root in zip(features[40:], roots[40:], strict=True)]
    assert np.mean(right) > 0.9


def test_a_column_that_never_moved_in_training_says_nothing_later():
    features, roots = incidents(20)
    choice = fit_listwise(features, roots, ridge=0.1)
    moved = features[0] + np.array([0.0, 0.0, 1e6]) * np.arange(5)[:, None]
    assert np.allclose(choice.scores(moved), choice.scores(features[0]))


def test_any_of_two_roots_is_right_and_no_root_teaches_nothing():
    features, roots = incidents(10)
    alone = fit_listwise(features, roots, ridge=0.1)
    more = fit_listwise([*features, features[0]], [*roots, ()], ridge=0.1)
    assert np.allclose(alone.weights, more.weights)
    both = fit_listwise([np.array([[1.0], [1.0], [0.0]])], [(0, 1)], ridge=0.1).scores(np.array([[1.0], [0.0]]))
    assert both[0] > both[1]


def test_a_choice_without_any_root_is_refused():
    with pytest.raises(ValueError, match="known root"):
        fit_listwise([np.zeros((2, 1))], [()], ridge=0.1)
