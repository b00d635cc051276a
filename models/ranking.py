"""Ranking: what incidents with known roots taught, blended with the causal score and calibrated.

Three scores of every element: randomised trees (Geurts et al., 2006) and a choice among the incident's elements
(`models.listwise`) over `node_features`, and the causal score, which needs no training. Their blend is fitted on
predictions for held-out folds.

scikit-learn is part of the extra `learning`, so it is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from models.calibration import Calibration, calibrate
from models.causal import causal_scores
from models.features import node_features
from models.listwise import Listwise, fit_listwise
from models.snapshot import Case, FloatArray, SignalKind, SignalSpec, Snapshot

TREES = 100
_FOLDS = 4
# Strong: columns outnumber cases.
_RIDGE = 0.2
# Of all columns a split looks at: more than the usual square root, since most columns are rare alerts.
_COLUMNS = 0.1
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
        calibration: Weights of trees, choice and causal score, and what their sum is worth.
    """

    calibration: Calibration
    _trees: Any
    _choice: Listwise
    _signals: tuple[str, ...]

    def scores(self, snapshot: Snapshot) -> FloatArray:
        """Return (N, 3): log share of trees, log odds of the choice, causal score; `calibration` blends them.

        A signal that the training side did not have is left out, one that it had alone counts as not measured.
        """
        return _scores(_example(_aligned(snapshot, self._signals), ()), self._trees, self._choice)


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
        forest, choice = _fitted(rest, seed, trees)
        held |= {k: _scores(examples[k], forest, choice) for k in fold}
    calibration = calibrate([held[k] for k in range(len(cases))], [one.roots for one in examples])
    signals = tuple(spec.name for spec in cases[0].snapshot.signals)
    return LearnedRanker(calibration, *_fitted(examples, seed, trees), signals)


def dealt(cases: Sequence[Case], folds: int) -> list[str]:
    """Return the fold of each case, such that every fold has the same share of every root's cases.

    Drawn at random, a fold with more of one root leaves less of it to be fitted on, and of two roots that look alike
    the other becomes the likelier one exactly where it is wrong.
    """
    order = sorted(range(len(cases)), key=lambda k: (cases[k].group, cases[k].fault or "", k))
    turns = [""] * len(cases)
    for turn, k in enumerate(order):
        turns[k] = str(turn % folds)
    return turns


def _example(snapshot: Snapshot, roots: Sequence[str]) -> _Example:
    places = tuple(snapshot.elements.index(root) for root in roots)
    return _Example(node_features(snapshot), causal_scores(snapshot).total, places)


def _folds(cases: Sequence[Case], fold_by: str, seed: int) -> list[set[int]]:
    names = sorted({case.group for case in cases})
    if fold_by == "case" or len(names) == 1:
        turns = dealt(cases, min(_FOLDS, len(cases)))
        return [{k for k, turn in enumerate(turns) if turn == fold} for fold in sorted(set(turns))]
    mixed = np.random.default_rng(seed).permutation(len(names)).tolist()
    fold_of = {names[one]: k % _FOLDS for k, one in enumerate(mixed)}
    folds = [{k for k, case in enumerate(cases) if fold_of[case.group] == fold} for fold in range(_FOLDS)]
    return [fold for fold in folds if fold]


def _aligned(snapshot: Snapshot, names: tuple[str, ...]) -> Snapshot:
    """Return the snapshot with the fitted signals, in their order."""
    found = {spec.name: k for k, spec in enumerate(snapshot.signals)}
    if tuple(found) == names:
        return snapshot
    values = np.full((*snapshot.values.shape[:2], len(names)), np.nan)
    known = [k for k, name in enumerate(names) if name in found]
    values[:, :, known] = snapshot.values[:, :, [found[names[k]] for k in known]]
    kind = SignalKind.EVENT if all(spec.kind is SignalKind.EVENT for spec in snapshot.signals) else SignalKind.GAUGE
    signals = tuple(snapshot.signals[found[name]] if name in found else SignalSpec(name, "", 0, kind) for name in names)
    alarm = None if snapshot.target_signal is None else snapshot.signals[snapshot.target_signal].name
    target = names.index(alarm) if alarm in names else None
    return replace(snapshot, signals=signals, values=values, target_signal=target)


def _fitted(examples: Sequence[_Example], seed: int, trees: int) -> tuple[Any, Listwise]:
    from sklearn.ensemble import ExtraTreesClassifier  # noqa: PLC0415 - of the extra `learning`, and slow to import

    inputs = np.vstack([one.features for one in examples])
    is_root = np.concatenate([np.isin(np.arange(len(one.features)), one.roots) for one in examples])
    # Neither drawn anew nor weighted: roots are few, each drawing would lose a third of them, and a weight for their
    # class makes elements that look a little like roots nearly as likely as those that look like nothing else.
    forest = ExtraTreesClassifier(trees, max_features=_COLUMNS, random_state=seed, n_jobs=1)
    choice = fit_listwise([one.features for one in examples], [one.roots for one in examples], ridge=_RIDGE)
    return forest.fit(inputs, is_root), choice


def _scores(one: _Example, forest: Any, choice: Listwise) -> FloatArray:
    share = forest.predict_proba(one.features)[:, 1]
    return np.column_stack([np.log(share + _LEAST) - np.log(_LEAST), choice.scores(one.features), one.causal])
