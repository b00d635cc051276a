from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from models.ranking import dealt, fit_ranker
from models.snapshot import SignalKind, SignalSpec
from tests.models.incidents import chain

pytestmark = [
    # Looked for, not imported: every worker collects this file, and one runs it.
    pytest.mark.skipif(find_spec("sklearn") is None, reason="needs the extra `learning`"),
    # Importing scikit-learn and pandas together warns about things that are not ours.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def test_learns_from_roots_it_may_see_and_finds_one_it_never_saw():
    ranker = fit_ranker([chain(k, root=k % 2 + 1) for k in range(12)], seed=1, trees=20)
    case = chain(99, root=0)
    blended = ranker.calibration.blended(ranker.scores(case.snapshot))
    assert case.snapshot.elements[int(blended.argmax())] == "front"


def test_every_fold_holds_the_same_share_of_every_root():
    cases = [chain(k, root=k % 3) for k in range(24)]
    folds = dealt(cases, 4)
    for root in ("front", "middle", "back"):
        held = [fold for case, fold in zip(cases, folds, strict=True) if case.group == root]
        assert [held.count(fold) for fold in sorted(set(folds))] == [2, 2, 2, 2]


def test_the_same_seed_gives_the_same_scores():
    cases = [chain(k, root=k % 3) for k in range(9)]
    one, other = (fit_ranker(cases, seed=5, trees=10).scores(chain(50, root=1).snapshot) for _ in range(2))
    assert np.array_equal(one, other)


def test_a_signal_that_training_did_not_have_and_one_that_is_gone_do_no_harm():
    ranker = fit_ranker([chain(k, root=k % 3) for k in range(9)], seed=5, trees=10)
    known = chain(50, root=1).snapshot
    shuffled = replace(
        known,
        signals=(SignalSpec("new", "", 0, SignalKind.GAUGE), *known.signals[::-1]),
        values=np.concatenate([known.values[:, :, :1] * 0 + 7, known.values[:, :, ::-1]], axis=2),
    )
    assert np.array_equal(ranker.scores(known), ranker.scores(shuffled))
    fewer = replace(known, signals=known.signals[:1], values=known.values[:, :, :1])
    assert np.isfinite(ranker.scores(fewer)).all()


def test_one_case_is_no_training_side():
    with pytest.raises(ValueError, match="at least two"):
        fit_ranker([chain(1, root=1)], seed=1)
