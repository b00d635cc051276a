"""What a few numbers let us say, and how surely: quantiles, shares and paired differences with intervals. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt

import numpy as np

Interval = tuple[float, float]
RESAMPLES = 2000  # the ends of a 95 % interval then rest on fifty draws each; more moves them less than the data would
SURE = 0.95
NORMAL_95 = 1.959963984540054  # the standard normal's 97.5 % point


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the quantile, linear between neighbours; None of none."""
    return float(np.quantile(np.asarray(values, dtype=float), share)) if values else None


def quantile_interval(values: Sequence[float], share: float, *, seed: int) -> Interval | None:
    """Return the 95 % interval of a quantile by the bootstrap; None below two values.

    Args:
        values: The sample.
        share: 0.5 for the median, 0.95 for the p95.
        seed: Of the resampling, so that the same file gives the same report.

    Source: Efron (1979), percentile method. With n = 20 a p95 rests on the two worst runs: read its interval as a
        hint that is rather too narrow.
    """
    if len(values) < 2:  # one value has no spread
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.choice(np.asarray(values, dtype=float), size=(RESAMPLES, len(values)), replace=True)
    low, high = np.quantile(np.quantile(drawn, share, axis=1), [(1 - SURE) / 2, (1 + SURE) / 2])
    return float(low), float(high)


def mean_interval(values: Sequence[float], *, seed: int) -> Interval | None:
    """Return the 95 % interval of the mean by the bootstrap; None below two values."""
    if len(values) < 2:  # one value has no spread
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.choice(np.asarray(values, dtype=float), size=(RESAMPLES, len(values)), replace=True)
    low, high = np.quantile(drawn.mean(axis=1), [(1 - SURE) / 2, (1 + SURE) / 2])
    return float(low), float(high)


def share_interval(hits: int, total: int) -> Interval | None:
    """Return the 95 % interval of a share, 0..1; None of none.

    Source: Wilson (1927). Unlike the normal approximation it stays inside 0..1 and is not a point at 0 of n.
    """
    if total == 0:
        return None
    share = hits / total
    square = NORMAL_95**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = NORMAL_95 * sqrt(share * (1 - share) / total + square / (4 * total**2)) / (1 + square / total)
    # At 0 of n and n of n the ends are exact; the arithmetic misses them by a rounding.
    return (0.0 if hits == 0 else middle - half, 1.0 if hits == total else middle + half)


def median_upper_bound(differences: Sequence[float]) -> float | None:
    """Return the upper 95 % bound of the median; None below five values, where no value is a bound.

    The smallest order statistic that lies above the median with probability >= 0.95, whatever the distribution:
    P(X_(r) < median) = P(Binomial(n, 1/2) >= r) <= 0.05.

    Source: the sign test's one-sided confidence bound (Conover, Practical Nonparametric Statistics, 3.2).
    """
    ordered = sorted(differences)
    n = len(ordered)
    for rank in range(1, n + 1):
        if sum(comb(n, heads) for heads in range(rank, n + 1)) / 2**n <= 1 - SURE:
            return ordered[rank - 1]
    return None
