"""The gate: what may serve, and scores with ties in expectation."""

from __future__ import annotations

import numpy as np
import pytest

from models.fitting import Example
from models.graphinputs import COLUMNS, GraphInputs
from models.promotion import Score, judge, scores_of_rules

GOOD, FAIR = Score(0.8, 0.9, 0.7, 100), Score(0.6, 0.7, None, 100)


def test_a_candidate_that_beats_every_rule_is_promoted():
    assert judge(GOOD, {"nsigma": FAIR}, None).is_promoted
    assert judge(GOOD, {"nsigma": FAIR}, GOOD).is_promoted


@pytest.mark.parametrize("rival", [Score(0.8, 0.7, None, 100), Score(0.6, 0.9, None, 100)])
def test_a_candidate_that_only_equals_a_rule_is_not(rival):
    verdict = judge(GOOD, {"random": FAIR, "traversal": rival}, None)
    assert not verdict.is_promoted
    assert "traversal" in verdict.reason


@pytest.mark.parametrize("serving", [Score(0.81, 0.9, 0.7, 100), Score(0.8, 0.91, 0.7, 100), Score(0.8, 0.9, 0.6, 100)])
def test_a_candidate_worse_than_the_one_that_serves_is_not(serving):
    verdict = judge(GOOD, {"nsigma": FAIR}, serving)
    assert not verdict.is_promoted
    assert "serving model" in verdict.reason


def test_nothing_is_proven_without_a_root():
    assert not judge(Score(0.0, 0.0, 0.1, 0), {}, None).is_promoted


def test_traversal_prefers_what_strays_while_nothing_below_it_does():
    features = np.zeros((3, len(COLUMNS)))
    features[:, COLUMNS.index("worst")] = [1.2, 0.9, 0.0]
    one = Example(GraphInputs(features, np.array([[0, 1], [1, 2]])), (1,), "g")
    found = scores_of_rules([one])
    assert found["traversal"].top1 == 1.0
    assert found["nsigma"].top1 == 0.0
    assert found["random"].top1 == pytest.approx(1 / 3)
