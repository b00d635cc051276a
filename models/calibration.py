"""Calibration: from scores to confidences that mean what they say.

P(element i is the root) = exp(w . x_i) / (exp(bias) + sum_j exp(w . x_j)): a listwise softmax with one more class,
"no visible root". The weights w >= 0 blend several scores and hold the temperature; they and the bias are fitted on
predictions for cases that the scorers were *not* fitted on, by the mean negative log likelihood.

A candidate set holds the root in a promised share of such cases (split conformal; Vovk et al., 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.snapshot import FloatArray, IntArray

_STEPS = 400
_RATE = 0.05
# Pulls weights toward the even start: a few dozen cases may not claim certainty.
_PULL = 0.01
_CERTAIN = 0.9
# Of the causal score: nats for one of its points, and what nobody in view scores. `bench rca_systems` fits them over
# systems of which each counts the same; of what it finds for nobody without one or the other system (3.5 to 4) the
# greater, since a network is quiet more often than the simulation is.
SHIPPED_SHARPNESS = 1.7
_SHIPPED_NOBODY = 4.0
# Nine of ten roots of each of those systems are at least this likely.
_SHIPPED_THRESHOLD = 0.007


@dataclass(frozen=True, slots=True)
class Calibration:
    """How scores become confidences.

    Attributes:
        weights: One for each score that is blended, >= 0.
        bias: Score of "no visible root"; minus infinity: one is known to be in view.
        threshold: Elements at least this likely are candidates.
        cases: How many of the system it was fitted on; 0: none, others only.
    """

    weights: tuple[float, ...]
    bias: float
    threshold: float
    cases: int

    @classmethod
    def shipped(cls) -> Calibration:
        """Return what other systems say of the causal score, for a system of which no root is known yet."""
        return cls(weights=(SHIPPED_SHARPNESS,), bias=_SHIPPED_NOBODY, threshold=_SHIPPED_THRESHOLD, cases=0)

    def in_view(self) -> Calibration:
        """Return the same for incidents whose root is known to be among the elements."""
        return replace(self, bias=-np.inf)

    def blended(self, scores: FloatArray) -> FloatArray:
        """Return (N,) one score each, of (N,) or (N, scores)."""
        columns = scores[:, None] if scores.ndim == 1 else scores
        return np.asarray(columns @ np.array(self.weights))

    def confidence(self, scores: FloatArray) -> tuple[FloatArray, float]:
        """Return (N,) P(each is the root) and P(no visible root); they sum to 1."""
        logits = np.append(self.blended(scores), self.bias)
        likely = np.exp(logits - logits.max())
        likely /= likely.sum()
        return likely[:-1], float(likely[-1])

    def candidates(self, confidence: FloatArray, nobody: float) -> list[bool]:
        """Say of each element whether the candidate set holds it; none when nobody is likelier than all of them."""
        if not len(confidence) or nobody > _CERTAIN:
            return [False] * len(confidence)
        return [bool(one >= min(self.threshold, confidence.max())) for one in confidence]


def calibrate(
    scores: Sequence[FloatArray],
    roots: Sequence[Sequence[int]],
    *,
    start: Sequence[float] | None = None,
    pull: float = _PULL,
) -> Calibration:
    """Fit a blend and its confidence.

    Args:
        scores: For each case (N, scores), from scorers that had not seen the case.
        roots: For each case indices of its roots; empty: none is in view.
        start: Weights that hold until cases say otherwise, > 0; even ones unless given.
        pull: Toward them, in nats a case for a weight that is e times as large or small.

    Raises:
        ValueError: there is no case, or they differ in length.
    """
    if not scores or len(scores) != len(roots):
        raise ValueError("give as many roots as scores, at least one")
    width = scores[0].shape[1]
    # log(weights): they stay positive by themselves. Adam; deterministic.
    place = np.append(np.log(np.full(width, 1.0 / width) if start is None else np.array(start)), 0.0)
    origin = place.copy()
    cases = _Cases.of(scores, roots)
    first, second = np.zeros_like(place), np.zeros_like(place)
    for step in range(1, _STEPS + 1):
        slope = cases.slope(place) + 2 * pull * (place - origin)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        place = place - _RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    fitted = Calibration(tuple(np.exp(place[:-1]).tolist()), float(place[-1]), 0.0, len(scores))
    held = held_confidences(fitted, scores, roots)
    return replace(fitted, threshold=conformal_threshold(held) if held else 0.0)


def held_confidences(
    calibration: Calibration, scores: Sequence[FloatArray], roots: Sequence[Sequence[int]]
) -> list[float]:
    """Return the true root's confidence in every case that has one in view; of several the greatest."""
    return [
        float(max(calibration.confidence(one)[0][list(root)])) for one, root in zip(scores, roots, strict=True) if root
    ]


def conformal_threshold(confidences: Sequence[float], *, share: float = 0.9) -> float:
    """Return what the true root's confidence reaches in at least `share` of cases; 0 where they are too few to promise.

    Args:
        confidences: Of the true root, for cases not fitted on.
        share: Promised coverage.
    """
    rank = int(np.floor((len(confidences) + 1) * (1 - share)))
    return float(np.sort(confidences)[rank - 1]) if rank >= 1 else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Cases:
    """All cases as one table: a row an element, cases one after another."""

    rows: FloatArray
    starts: IntArray
    case_of: IntArray
    is_root: FloatArray
    hidden: FloatArray

    @classmethod
    def of(cls, scores: Sequence[FloatArray], roots: Sequence[Sequence[int]]) -> _Cases:
        sizes = np.array([len(one) for one in scores])
        is_root = np.concatenate([np.isin(np.arange(len(one)), root) for one, root in zip(scores, roots, strict=True)])
        return cls(
            np.vstack(scores),
            np.cumsum(sizes) - sizes,
            np.repeat(np.arange(len(sizes)), sizes),
            is_root.astype(np.float64),
            np.array([float(not root) for root in roots]),
        )

    def slope(self, place: FloatArray) -> FloatArray:
        """Slope of the mean negative log likelihood in log(weights) and the bias."""
        weights, bias = np.exp(place[:-1]), place[-1]
        logits = self.rows @ weights
        top = np.maximum(np.maximum.reduceat(logits, self.starts), bias)
        likely, nobody = np.exp(logits - top[self.case_of]), np.exp(bias - top)
        total = np.add.reduceat(likely, self.starts) + nobody
        likely, nobody = likely / total[self.case_of], nobody / total
        found = likely * self.is_root  # any of several roots is right
        held = np.maximum(np.add.reduceat(found, self.starts), np.finfo(float).tiny)
        wrong = likely - found / held[self.case_of]
        return np.append((wrong @ self.rows) * weights, (nobody - self.hidden).sum()) / len(self.starts)
