"""Ranking: what incidents with known roots taught, blended with the causal score and calibrated.

Three scores of every element: randomised trees (Geurts et al., 2006) and a logistic regression over `node_features`,
and the causal score, which needs no training. Their blend is fitted on predictions for held-out folds.

scikit-learn is part of the extra `learning`, so it is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from models.calibration import Calibration, calibrate
from models.causal import causal_scores
from models.features import node_features
from models.snapshot import Case, FloatArray, Snapshot

TREES = 100
_FOLDS = 4
# A leaf of one row is that row learned by heart.
_LEAF = 2
# Strong: columns outnumber cases.
_RIDGE = 0.01
# Trees that never saw a root among some thousand leaves still cannot rule it out.
_LEAST = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class _Example:
    features: FloatArray
    causal: FloatArray
    roots: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LearnedRanker:
    """A blend that was fitted to one system.

    Attributes:
        calibration: Weights of trees, regression and causal score, and what their sum is worth.
    """

    calibration: Calibration
    _trees: Any
    _regression: Any

    def scores(self, snapshot: Snapshot) -> FloatArray:
        """Return (N, 3): log share of trees, regression's margin, causal score; `calibration` blends them."""
        return _scores(_example(snapshot, ()), self._trees, self._regression)


def fit_ranker(
    cases: Sequence[Case], *, seed: int, fold_by: Literal["case", "group"] = "group", trees: int = TREES
) -> LearnedRanker:
    """Fit to cases of one system with the same signals.

    Args:
        cases: The training side; roots known.
        seed: Of trees and folds.
        fold_by: What the blend is fitted on: `group` when it shall hold for roots never seen (the default), `case`
            when what comes has the same roots. One group alone is always split by case.
        trees: How many.

    Raises:
        ValueError: fewer than two cases.
    """
    if len(cases) < 2:  # noqa: PLR2004 - one to fit, one to check
        raise ValueError("a blend needs at least two cases with known roots")
    examples = [_example(case.snapshot, case.roots) for case in cases]
    held: dict[int, FloatArray] = {}
    for fold in _folds(cases, fold_by, seed):
        rest = [one for k, one in enumerate(examples) if k not in fold]
        forest, regression = _fitted(rest, seed, trees)
        held |= {k: _scores(examples[k], forest, regression) for k in fold}
    calibration = calibrate([held[k] for k in range(len(cases))], [one.roots for one in examples])
    return LearnedRanker(calibration, *_fitted(examples, seed, trees))


def _example(snapshot: Snapshot, roots: Sequence[str]) -> _Example:
    places = tuple(snapshot.elements.index(root) for root in roots)
    return _Example(node_features(snapshot), causal_scores(snapshot).total, places)


def _folds(cases: Sequence[Case], fold_by: str, seed: int) -> list[set[int]]:
    names = sorted({case.group for case in cases})
    if fold_by == "case" or len(names) == 1:
        order = np.random.default_rng(seed).permutation(len(cases)).tolist()
        return [set(order[k::_FOLDS]) for k in range(min(_FOLDS, len(cases)))]
    mixed = np.random.default_rng(seed).permutation(len(names)).tolist()
    fold_of = {names[one]: k % _FOLDS for k, one in enumerate(mixed)}
    folds = [{k for k, case in enumerate(cases) if fold_of[case.group] == fold} for fold in range(_FOLDS)]
    return [fold for fold in folds if fold]


def _fitted(examples: Sequence[_Example], seed: int, trees: int) -> tuple[Any, Any]:
    from sklearn.ensemble import ExtraTreesClassifier  # noqa: PLC0415 - of the extra `learning`, and slow to import
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - as above
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - as above
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - as above

    inputs = np.vstack([one.features for one in examples])
    is_root = np.concatenate([np.isin(np.arange(len(one.features)), one.roots) for one in examples])
    forest = ExtraTreesClassifier(
        trees, min_samples_leaf=_LEAF, class_weight="balanced_subsample", bootstrap=True, random_state=seed, n_jobs=1
    )
    line = make_pipeline(
        StandardScaler(), LogisticRegression(C=_RIDGE, class_weight="balanced", max_iter=1000, tol=1e-3)
    )
    return forest.fit(inputs, is_root), line.fit(inputs, is_root)


def _scores(one: _Example, forest: Any, regression: Any) -> FloatArray:
    share = forest.predict_proba(one.features)[:, 1]
    margin = regression.decision_function(one.features)
    # A margin's size is the regression's certainty about rows; only its differences within one incident rank.
    return np.column_stack([np.log(share + _LEAST) - np.log(_LEAST), margin - margin.mean(), one.causal])
