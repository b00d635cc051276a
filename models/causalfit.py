"""Fitting the causal score to a system: how much each part counts there, and what its confidence is worth.

Nine weights and nothing else, drawn toward the shipped ones, so that few incidents change little. What counts as much
is a root, not a case: eight tries of one root tell where that root is, and nothing of the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from models.calibration import (
    SHIPPED_SHARPNESS,
    Calibration,
    calibrate,
    conformal_threshold,
    held_confidences,
)
from models.causal import WEIGHTS, causal_scores
from models.snapshot import Case, FloatArray, Snapshot

# Shipped weights hold within half a nat for most systems: one half over that squared, shared by the roots.
_PULL_OF_ONE_ROOT = 2.0
# Fewer left-out roots promise nothing about the next one.
_ROOTS_TO_PROMISE = 5


def causal_parts(snapshot: Snapshot) -> FloatArray:
    """Return (N, parts) what `fit_causal` weighs.

    Raises:
        NotEnoughHistory: the past is too short to say what is normal.
    """
    parts = causal_scores(snapshot).parts
    return np.column_stack([parts[name] for name in WEIGHTS])


def fit_causal(cases: Sequence[Case]) -> Calibration:
    """Fit the weights of the causal score's parts, and its confidence, to incidents with known roots.

    The candidate set is measured on roots that were left out; below five roots it holds everyone.

    Args:
        cases: Of one system; those of one `group` have one root.

    Raises:
        ValueError: there is none.
        NotEnoughHistory: the past of one is too short.
    """
    if not cases:
        raise ValueError("fitting needs at least one incident with a known root")
    scores = [causal_parts(case.snapshot) for case in cases]
    roots = [tuple(case.snapshot.elements.index(root) for root in case.roots) for case in cases]
    groups = sorted({case.group for case in cases})
    fitted = _fitted(scores, roots, len(groups))
    if len(groups) < _ROOTS_TO_PROMISE:
        return replace(fitted, threshold=0.0)
    held: list[float] = []
    for group in groups:
        inside = [k for k, case in enumerate(cases) if case.group == group]
        rest = [k for k, case in enumerate(cases) if case.group != group]
        without = _fitted([scores[k] for k in rest], [roots[k] for k in rest], len(groups) - 1)
        held += held_confidences(without, [scores[k] for k in inside], [roots[k] for k in inside])
    return replace(fitted, threshold=conformal_threshold(held))


def _fitted(scores: Sequence[FloatArray], roots: Sequence[Sequence[int]], distinct: int) -> Calibration:
    # Few incidents are as sure as other systems were, not as unsure as the bare weights.
    start = tuple(SHIPPED_SHARPNESS * weight for weight in WEIGHTS.values())
    return calibrate(scores, roots, start=start, pull=_PULL_OF_ONE_ROOT / distinct)
