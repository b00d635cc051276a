from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from models.calibration import Calibration
from models.errors import DatasetInvalid
from models.snapshot import SignalKind
from tests.bench import rca
from tests.infra.datasets.test_datasets import petshop
from tests.models.incidents import chain


def test_zero_shot_is_scored_beside_every_peer_on_the_same_cases():
    cases = [chain(k, root=k % 3) for k in range(6)]
    by_method = {rca.OURS: rca.zero_shot(cases)} | {
        name: rca.answered(cases, score, None) for name, score in rca.BASELINES.items()
    }
    rows = {(row.case, row.metric): row for row in rca.rows_of("chain", "petshop", by_method)}
    top = rows["chain", "top1"]
    assert top.value == 1
    assert top.is_met
    assert set(top.peers) == {"nsigma", "baro", "traversal", "ranked correlation", "random"}
    assert top.peers["random"] == pytest.approx(1 / 6)
    assert rows["chain", "nll"].value < rows["chain", "nll"].peers["even odds"]
    assert rows["chain latency", "top1"].n == 6


def test_nothing_of_the_test_side_is_fitted_on():
    cases = [chain(k, root=k % 2) for k in range(4)]
    sides = [case if k % 2 else _test(case) for k, case in enumerate(cases)]
    ((_, train, test),) = rca.plans("tvdiag", sides, without_fitting=False)
    assert {case.side for case in train} == {"train"}
    assert {case.side for case in test} == {"test"}


def _test(case):
    return type(case)(f"t{case.name}", case.snapshot, case.roots, case.fault, "test", case.group)


def test_the_training_side_alone_asks_no_test_case():
    sides = [chain(0, root=0), _test(chain(1, root=1)), chain(2, root=1)]
    ((_, train, asked),) = rca.plans("tvdiag", sides, without_fitting=False, training_only=True)
    assert not train
    assert {case.side for case in asked} == {"train"}


def test_of_the_training_side_no_look_is_counted(tmp_path, monkeypatch):
    cases = tuple(chain(k, root=k % 2) for k in range(4))
    monkeypatch.setitem(rca.LOADERS, "petshop", lambda _: cases)
    report = rca.measure("petshop", tmp_path, without_fitting=False, log=tmp_path / "looks", training_only=True)
    assert report.rows[0].case == "petshop/training side"
    assert not (tmp_path / "looks").exists()


def test_a_set_without_a_test_side_is_refused():
    with pytest.raises(DatasetInvalid, match="test side"):
        rca.plans("tvdiag", [chain(1, root=1)], without_fitting=False)


def test_every_look_is_counted_by_set(tmp_path):
    log = tmp_path / "looks.jsonl"
    assert rca.remember({"set": "a"}, log) == 1
    assert rca.remember({"set": "b"}, log) == 1
    assert rca.remember({"set": "a"}, log) == 2
    assert len(log.read_text().splitlines()) == 3


def test_a_folder_that_holds_something_else_ends_with_two(tmp_path, capsys):
    assert rca.main(["--data", str(tmp_path), "--format", "tvdiag", "--looks", str(tmp_path / "l")]) == 2
    assert "check --data and --format" in capsys.readouterr().err.replace("\n", " ")


def test_a_past_too_short_ends_with_two_and_says_so(tmp_path, capsys):
    petshop(tmp_path / "set", packed=False)
    arguments = ["--data", str(tmp_path / "set"), "--format", "petshop", "--zero-shot"]
    assert rca.main([*arguments, "--looks", str(tmp_path / "l")]) == 2
    assert "not enough history" in capsys.readouterr().err


def test_confidence_is_kept_for_what_was_ranked():
    (answer,) = rca.answered([chain(1, root=1)], lambda one: np.arange(float(len(one.elements))), Calibration.shipped())
    assert answer.confidence is not None
    assert answer.confidence.sum() + answer.nobody == pytest.approx(1)
    assert json.dumps(answer.roots) == "[1]"


def test_a_peer_is_as_sure_as_suits_the_cases_best():
    cases = [chain(k, root=1) for k in range(4)]

    def right(one):
        return np.array([float(name == "middle") for name in one.elements])

    def wrong(one):
        return np.array([float(name == "back") if name != "other0" else -np.inf for name in one.elements])

    sure = rca.with_best_temperature(rca.answered(cases, right, None))
    unsure = rca.with_best_temperature(rca.answered(cases, wrong, None))
    assert all(likely[1] > 0.99 for likely in sure)
    assert all(likely == pytest.approx(np.full(6, 1 / 6)) for likely in unsure)


def test_a_root_that_is_left_out_is_answered_for_by_what_the_others_taught():
    cases = [chain(k, root=k % 3) for k in range(9)]
    answers = rca.left_out(cases, cases)
    assert [one.case.name for one in answers] == [case.name for case in cases]
    assert np.mean([one.scores.argmax() == one.roots[0] for one in answers]) == 1


def test_measurements_are_weighed_and_alerts_are_learned():
    cases = [chain(k, root=k % 2) for k in range(4)]
    assert not rca.only_alerts(cases)
    alerts = [
        dataclasses.replace(
            case,
            snapshot=dataclasses.replace(
                case.snapshot,
                signals=tuple(dataclasses.replace(spec, kind=SignalKind.EVENT) for spec in case.snapshot.signals),
            ),
        )
        for case in cases
    ]
    assert rca.only_alerts(alerts)
