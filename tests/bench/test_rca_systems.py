from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.bench import rca, rca_systems
from tests.models.incidents import chain


def answer(scores, root):
    """One case of three elements; root None: none is in view."""
    case = chain(1, root=root, others=0)
    return rca.Answer(case, np.array(scores), None, 0.0, 0.0)


def test_scores_that_are_always_right_may_be_sharper_than_those_that_are_often_wrong():
    right = [answer([2.0, 0.0, 0.0], 0)] * 4
    wrong = [answer([2.0, 0.0, 0.0], 0), answer([2.0, 0.0, 0.0], 1)]
    sure, unsure = (rca_systems.fitted_over({"one": part}) for part in (right, wrong))
    assert sure.weights[0] > unsure.weights[0]


def test_a_system_counts_once_however_many_incidents_it_has():
    right, wrong = answer([2.0, 0.0, 0.0], 0), answer([2.0, 0.0, 0.0], 1)
    few, many = (rca_systems.fitted_over({"a": [right] * n, "b": [right, wrong]}) for n in (1, 50))
    assert few == many


def test_nobody_scores_more_where_incidents_without_a_root_show_something():
    rooted = [answer([3.0, 0.0, 0.0], 0)] * 3 + [answer([3.0, 0.0, 0.0], 1)]
    quiet, loud = ([answer([shown, 0.0, 0.0], None)] * 3 for shown in (0.0, 3.0))
    found = [rca_systems.fitted_over({"a": rooted, "b": rooted + part}).bias for part in (quiet, loud)]
    assert found[0] < found[1]


def test_without_incidents_of_nobody_a_root_is_taken_to_be_in_view():
    assert rca_systems.fitted_over({"a": [answer([2.0, 0.0, 0.0], 0)]}).bias == -np.inf


def test_nine_of_ten_roots_of_every_system_are_candidates():
    sure, unsure = answer([2.0, 0.0, 0.0], 0), answer([2.0, 0.0, 0.0], 1)
    systems = {"easy": [sure] * 20, "hard": [sure] * 10 + [unsure] * 10}
    found = rca_systems.fitted_over(systems)
    assert 0 < found.threshold <= found.confidence(unsure.scores)[0][1]
    assert rca_systems.fitted_over({"easy": systems["easy"]}).threshold > found.threshold


def test_each_system_is_judged_by_what_the_others_taught():
    cases = [chain(k, root=k % 3) for k in range(6)]
    renamed = [dataclasses.replace(case, name=f"other {case.name}") for case in cases]
    report = rca_systems.measure({"one": cases, "other": renamed})
    assert {row.case for row in report.rows} == {"one", "other"}
    assert {row.metric for row in report.rows} == {"ece", "nll", "brier", "accuracy_at_70"}
    nll = next(row for row in report.rows if row.metric == "nll")
    assert nll.value < nll.peers["even odds"]


@pytest.mark.parametrize("given", [["--set", "nothing=here"], ["--simulated", "0"]])
def test_systems_that_cannot_be_compared_end_with_two(given, capsys):
    with pytest.raises(SystemExit, match="2"):
        rca_systems.main(given)
    assert "FORMAT=DIR" in capsys.readouterr().err
