"""The rules decide unless an engine was measured better; then it says where, they say what, and drift lowers it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.diagnosing import LEAST_TRIALS, ON_THE_LAB, Measured, Profile, Ranking, combined, may_decide, of_ranking
from models.incident import Cause, Diagnosis, Evidence, FaultKind, IncidentId
from models.mesh import Element, LinkId
from tests.models.samples import START

ONE, OTHER = Element.of_link(LinkId("n0--n1")), Element.of_link(LinkId("n1--n2"))
RULES = Diagnosis(
    IncidentId("i"),
    START,
    (
        Cause(ONE, FaultKind.GREY, 0.6, (Evidence("s", "seen"),)),
        Cause(ONE, FaultKind.LOSS, 0.2),
        Cause(OTHER, FaultKind.MTU, 0.1, subject="to-n2"),
        Cause(None, FaultKind.UNKNOWN, 0.1),
    ),
    "rules",
)


def ranking(one: float, other: float, drift: float | None = None) -> Ranking:
    return Ranking("abc", {str(ONE): one, str(OTHER): other, "node:n9": 0.05}, 1 - one - other - 0.05, drift)


def test_no_fault_kind_leaves_the_rules_without_trials_on_record():
    assert all(one.trials >= LEAST_TRIALS and one.commit for one in ON_THE_LAB.values())
    assert not any(may_decide(fault, {}) for fault in FaultKind)


@pytest.mark.parametrize(
    ("rules", "engine", "trials", "expected"),
    [(10, 19, 20, True), (10, 12, 20, False), (19, 10, 20, False), (0, 5, 5, False), (20, 20, 20, False)],
)
def test_an_engine_decides_only_with_enough_trials_and_a_lead_beyond_chance(rules, engine, trials, expected):
    table = {FaultKind.GREY: Measured(rules, engine, trials, "abc")}
    assert may_decide(FaultKind.GREY, table) is expected
    assert may_decide(FaultKind.LOSS, table) is False


def test_the_engine_says_where_and_the_rules_say_what():
    found = combined(RULES, ranking(0.1, 0.8))
    assert (found.best.element, found.best.fault, found.best.subject) == (OTHER, FaultKind.MTU, "to-n2")
    assert found.best.confidence == pytest.approx(0.8)
    assert found.method == "abc"
    of_one = {one.fault: one.confidence for one in found.causes if one.element == ONE}
    assert of_one == pytest.approx({FaultKind.GREY: 0.075, FaultKind.LOSS: 0.025})
    assert {one.statement for one in found.best.evidence} == {"abc gives link:n1--n2 0.80"}


def test_what_the_rules_know_nothing_of_is_unknown():
    found = combined(RULES, ranking(0.1, 0.1))
    assert found.best.fault is FaultKind.UNKNOWN
    assert found.best.confidence == pytest.approx(0.8)


def test_drift_lowers_every_confidence_and_is_told():
    found = combined(RULES, ranking(0.1, 0.8, drift=0.5))
    assert {one.element: one.confidence for one in found.causes}[OTHER] == pytest.approx(0.4)
    assert "50% of its inputs" in found.best.evidence[-1].statement
    assert of_ranking(ranking(0.1, 0.8, drift=0.5))[0] == (OTHER, pytest.approx(0.4))


@given(one=st.floats(0, 0.5), other=st.floats(0, 0.45), drift=st.none() | st.floats(0, 1))
def test_confidences_never_sum_to_more_than_one_and_the_best_is_first(one, other, drift):
    causes = combined(RULES, ranking(one, other, drift)).causes
    assert sum(cause.confidence for cause in causes) == pytest.approx(1.0, abs=0.001)
    assert [cause.confidence for cause in causes] == sorted((cause.confidence for cause in causes), reverse=True)


def test_a_profile_finds_its_own_training_side_usual_and_another_strange():
    rng = np.random.default_rng(1)
    side = rng.normal(size=(2000, 4))
    profile = Profile.of(side)
    assert profile.drift(rng.normal(size=(2000, 4))) < 0.02
    assert profile.drift(rng.normal(size=(500, 4)) + 10) == pytest.approx(1.0)
    assert profile.drift(np.full((3, 4), np.nan)) == 0.0
