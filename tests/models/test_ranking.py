from __future__ import annotations

import numpy as np
import pytest

from models.ranking import fit_ranker
from tests.models.incidents import chain

pytest.importorskip("sklearn", reason="needs the extra `learning`")
# Importing scikit-learn and pandas together warns about things that are not ours.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_learns_from_roots_it_may_see_and_finds_one_it_never_saw():
    ranker = fit_ranker([chain(k, root=k % 2 + 1) for k in range(12)], seed=1, trees=20)
    case = chain(99, root=0)
    blended = ranker.calibration.blended(ranker.scores(case.snapshot))
    assert case.snapshot.elements[int(blended.argmax())] == "front"


def test_the_same_seed_gives_the_same_scores():
    cases = [chain(k, root=k % 3) for k in range(9)]
    one, other = (fit_ranker(cases, seed=5, trees=10).scores(chain(50, root=1).snapshot) for _ in range(2))
    assert np.array_equal(one, other)


def test_one_case_is_no_training_side():
    with pytest.raises(ValueError, match="at least two"):
        fit_ranker([chain(1, root=1)], seed=1)
