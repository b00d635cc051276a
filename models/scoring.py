"""Scoring: how good a ranking is, and how honest its confidence.

Ties are scored in expectation: a method that gives every element the same score is random, not lucky.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from models.snapshot import FloatArray, IntArray

# Fewer cases a bin make its observed share mostly noise.
_BIN_CASES = 15
_BINS = 10
_DRAWS = 2000
# Nothing is certain: what was given no chance at all costs this much, not infinitely much.
_LEAST = 1e-6


def hit(scores: FloatArray, roots: Sequence[int], *, top: int) -> float:
    """Return the expected share of draws among ties in which a root stands among the first `top`.

    Of several roots the best placed counts.

    Args:
        scores: (N,) greater is likelier.
        roots: Indices; with none in view there is nothing to hit.
        top: Places that count.
    """
    if not roots:
        return 0.0
    best = scores[list(roots)].max()
    before = int((scores > best).sum())
    tied = int((scores == best).sum())
    right = int((scores[list(roots)] == best).sum())
    places = min(max(top - before, 0), tied)
    # 1 - P(no root among `places` drawn from `tied`).
    missed = 1.0
    for k in range(places):
        missed *= max(tied - right - k, 0) / (tied - k)
    return 1.0 - missed


def average_at(scores: FloatArray, roots: Sequence[int], *, top: int = 5) -> float:
    """Return Avg@k: the mean of `hit` over the first 1, 2, ... k places (Pham et al., 2024)."""
    return float(np.mean([hit(scores, roots, top=k) for k in range(1, top + 1)]))


def surprise(confidence: FloatArray, nobody: float, roots: Sequence[int]) -> float:
    """Return the negative log likelihood of the truth; of several roots any is right, of none `nobody`."""
    likely = float(confidence[list(roots)].sum()) if roots else nobody
    return -float(np.log(max(likely, _LEAST)))


def brier(confidence: FloatArray, nobody: float, roots: Sequence[int]) -> float:
    """Return the squared distance between what was said of each class and the truth, 0..2; roots share the truth."""
    truth = np.zeros(len(confidence) + 1)
    truth[list(roots) if roots else [-1]] = 1.0 / max(len(roots), 1)
    return float(np.sum((np.append(confidence, nobody) - truth) ** 2))


def calibration_error(said: FloatArray, right: FloatArray) -> float:
    """Return ECE over bins of equal mass: mean distance between what was said and what came true.

    Args:
        said: (cases,) confidence of the first-ranked.
        right: (cases,) share of it that was right.
    """
    bins = int(np.clip(len(said) // _BIN_CASES, 1, _BINS))
    order = np.argsort(said, kind="stable")
    parts = np.array_split(order, bins)
    return float(sum(len(part) * abs(said[part].mean() - right[part].mean()) for part in parts) / len(said))


def accuracy_at_coverage(said: FloatArray, right: FloatArray, *, coverage: float = 0.7) -> float:
    """Return how often the surest `coverage` of answers are right; equal confidences share their places."""
    wanted = max(int(np.ceil(coverage * len(said))), 1)
    edge = np.sort(said)[::-1][wanted - 1]
    surer, tied = said > edge, said == edge
    open_places = wanted - int(surer.sum())
    return float((right[surer].sum() + open_places * right[tied].mean()) / wanted)


def interval(count: int, measure: Callable[[IntArray], float], *, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap of a measure over cases.

    Args:
        count: How many cases there are.
        measure: Takes indices of the cases drawn.
        rng: Draws them.
    """
    drawn = [measure(rng.integers(0, count, count)) for _ in range(_DRAWS)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def paired_interval(ours: FloatArray, theirs: FloatArray, *, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % interval of the mean difference on the same cases; above 0 throughout: ours is better."""
    apart = ours - theirs
    return interval(len(apart), lambda drawn: float(apart[drawn].mean()), rng=rng)
