from __future__ import annotations

import numpy as np
import pytest

from models.calibration import Calibration, calibrate, conformal_threshold


def cases(count: int, *, strength: float) -> tuple[list, list]:
    rng = np.random.default_rng(0)
    scores = [rng.normal(size=(6, 2)) for _ in range(count)]
    roots = [(int(rng.integers(6)),) for _ in range(count)]
    for one, root in zip(scores, roots, strict=True):
        one[root[0], 0] += strength
    return scores, roots


def test_weight_goes_to_the_score_that_tells():
    weights = calibrate(*cases(200, strength=4)).weights
    assert weights[0] > 3 * weights[1]


def test_confidence_follows_how_often_it_is_right():
    sure, unsure = calibrate(*cases(200, strength=4)), calibrate(*cases(200, strength=0.5))
    score = np.array([[3.0, 0.0], [0.0, 0.0]])
    assert sure.confidence(score)[0][0] > unsure.confidence(score)[0][0]


def test_nobody_becomes_likely_where_roots_are_often_out_of_view():
    scores, roots = cases(60, strength=2)
    hidden = [() if k % 2 else root for k, root in enumerate(roots)]
    flat = np.zeros((6, 2))
    assert calibrate(scores, hidden).confidence(flat)[1] > calibrate(scores, roots).confidence(flat)[1]


def test_nine_in_ten_true_roots_reach_the_threshold():
    confidences = np.linspace(0.01, 1, 100)
    threshold = conformal_threshold(confidences.tolist())
    assert (confidences >= threshold).mean() >= 0.9
    assert threshold == pytest.approx(0.1)


def test_too_few_cases_promise_nothing_and_keep_everyone():
    assert conformal_threshold([0.9, 0.9]) == 0
    assert all(Calibration((1.0,), 0.0, 0.0, 2).candidates(np.array([0.5, 0.1]), 0.4))


def test_a_root_known_to_be_in_view_leaves_nobody_no_share_and_the_order_as_it_was():
    scores = np.array([2.0, 0.5, 0.0])
    asked, in_view = (one.confidence(scores) for one in (Calibration.shipped(), Calibration.shipped().in_view()))
    assert in_view[1] == 0
    assert in_view[0].sum() == pytest.approx(1)
    assert np.allclose(in_view[0], asked[0] / asked[0].sum())


def test_no_candidates_where_nobody_in_view_is_all_but_certain():
    assert Calibration.shipped().candidates(np.array([0.02, 0.03]), 0.95) == [False, False]


def test_a_blend_without_cases_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        calibrate([], [])
