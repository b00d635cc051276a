from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from models.baselines import BASELINES, baro, nsigma, ranked_correlation, traversal
from models.scoring import hit
from tests.models.incidents import chain


@pytest.mark.parametrize("name", BASELINES)
def test_each_gives_every_element_a_number(name):
    scores = BASELINES[name](chain(1, root=2).snapshot)
    assert scores.shape == (6,)
    assert not np.isnan(scores).any()


def test_distance_rules_see_an_element_that_fails_alone():
    case = chain(2, root=4)
    assert nsigma(case.snapshot).argmax() == 4
    assert baro(case.snapshot).argmax() == 4


def test_traversal_goes_down_to_the_last_abnormal_dependency():
    assert traversal(chain(3, root=2).snapshot).argmax() == 2


def test_traversal_does_not_leave_the_alarm():
    snapshot = chain(4, root=1).snapshot
    values = snapshot.values.copy()
    values[40:, 4, 0] += 50
    assert traversal(dataclasses.replace(snapshot, values=values)).argmax() == 1


def test_correlation_prefers_what_the_alarm_depends_on():
    assert set(np.argsort(ranked_correlation(chain(5, root=2).snapshot))[-3:]) == {0, 1, 2}


def test_random_hits_as_often_as_chance():
    assert hit(BASELINES["random"](chain(6, root=2).snapshot), (2,), top=1) == pytest.approx(1 / 6)
