"""Odd rows in many signals at once: what the usual relations between signals do not explain, signal by signal.

Fitted on quiet rows alone; no labels, no names. Linear reconstructions say what is usual: of a row from the relations
inside it (a break between signals shows), and of the last rows from their relations over time (a shape that never was
shows). What they leave is weighed twice, against what they leave of quiet rows *held out* from the fit:

- signal by signal, each in its own deviations; the few worst count. A small signal is heard, and one that nobody can
  reconstruct is not odd for that;
- all signals together, each as a share of its own range. What is small stays small, which keeps signals that slowly
  leave their narrow past from drowning the rest.

Sources: the residual of principal components, Jackson and Mudholkar (1979); lagged rows, Ku et al. (1995).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from models.errors import NotEnoughHistory
from models.snapshot import FloatArray

# With fewer quiet rows than this a 99th percentile is a single row.
NEEDED_ROWS = 100
# Held out to learn what is usually left: the last of the quiet rows, as what is asked about comes after them.
_HELD_OUT = 0.3
_USUAL = 99.0
# (rows looked at together, share of the variance that counts as a usual relation).
_BY_SIGNAL = ((1, 0.9), (5, 0.95))
_TOGETHER = (5, 0.95)
# A signal that hardly moved is believed to move by this share of its own size.
_FLOOR_OF_SIZE = 0.02
# Beyond so many deviations, or ranges, a distance tells nothing more, and one broken counter would bend the rest.
_FARTHEST_DEVIATIONS = 10.0
_FARTHEST_RANGES = 2.0
# In deviations: what is left of a constant signal is nothing, and the first reading that differs is not beyond all.
_LEAST_LEFT = 0.05
# So many signals decide, and so many rows are evened over. These and the views above were chosen by putting anomalies
# into quiet rows of asd and smd; what came of it on their test sides stands in docs/benchmarks.md.
_WORST = 3
_EVENED = 5


@dataclass(frozen=True, slots=True, eq=False)
class _Scale:
    """Makes signals comparable: `(x - middle) / size`, at most `farthest`; what was not measured is in the middle."""

    middle: FloatArray
    size: FloatArray
    farthest: float

    def of(self, rows: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):  # a signal without a size
            away = (rows - self.middle) / self.size
        return np.asarray(np.nan_to_num(np.clip(away, -self.farthest, self.farthest), nan=0.0))


@dataclass(frozen=True, slots=True, eq=False)
class _Relations:
    """Principal components of `lags` rows side by side, oldest first: mean (lags x S,), basis (lags x S, rank)."""

    lags: int
    mean: FloatArray
    basis: FloatArray

    @classmethod
    def fitted(cls, scaled: FloatArray, lags: int, share: float) -> Self:
        rows = _lagged(scaled, lags)
        mean = rows.mean(axis=0)
        centred = rows - mean
        values, vectors = np.linalg.eigh(centred.T @ centred / len(rows))
        explained = np.cumsum(np.maximum(values[::-1], 0.0))
        rank = int(np.searchsorted(explained, share * explained[-1])) + 1 if explained[-1] > 0 else 0
        return cls(lags, mean, vectors[:, ::-1][:, :rank])

    def left(self, scaled: FloatArray) -> FloatArray:
        """Return (T, S) root mean square over the lags of what is not reconstructed."""
        centred = _lagged(scaled, self.lags) - self.mean
        rest = centred - centred @ self.basis @ self.basis.T
        return np.asarray(np.sqrt((rest**2).reshape(len(scaled), self.lags, scaled.shape[1]).mean(axis=1)))


@dataclass(frozen=True, slots=True, eq=False)
class ResidualDetector:
    """Scores rows of S signals; made by `fitted`."""

    deviations: _Scale
    ranges: _Scale
    # Each with (S,) what is usually left of each signal.
    relations: Sequence[tuple[_Relations, FloatArray]]
    # With what is usually left of all signals.
    together: tuple[_Relations, float]

    @classmethod
    def fitted(cls, quiet: FloatArray) -> Self:
        """Learn what is usual.

        Args:
            quiet: (T, S) rows in order of time, one unit a signal whatever it is; NaN where not measured. A signal may
                be constant, or never measured.

        Raises:
            NotEnoughHistory: fewer than `NEEDED_ROWS` rows.
        """
        if len(quiet) < NEEDED_ROWS:
            raise NotEnoughHistory(len(quiet), NEEDED_ROWS)
        deviations, ranges = _scales(quiet)
        split = round(len(quiet) * (1 - _HELD_OUT))
        scaled, shares = deviations.of(quiet), ranges.of(quiet)
        relations = []
        for lags, share in _BY_SIGNAL:
            found = _Relations.fitted(scaled[:split], lags, share)
            usual = np.percentile(found.left(scaled[split:]), _USUAL, axis=0)
            relations.append((found, np.maximum(usual, _LEAST_LEFT)))
        joined = _Relations.fitted(shares[:split], *_TOGETHER)
        whole = float(np.percentile(_length(joined.left(shares[split:])), _USUAL))
        return cls(deviations, ranges, tuple(relations), (joined, max(whole, float(np.finfo(float).eps))))

    def by_signal(self, rows: FloatArray) -> FloatArray:
        """Return (T, S) how odd each signal is, >= 0; about 1 is what one quiet row in a hundred reaches.

        Args:
            rows: (T, S) in order of time. What was not measured is NaN, and taken for usual.
        """
        scaled = self.deviations.of(rows)
        return np.asarray(np.mean([found.left(scaled) / usual for found, usual in self.relations], axis=0))

    def score(self, rows: FloatArray) -> FloatArray:
        """Return (T,) how odd each row is, >= 0, from (T, S) as `by_signal`; no row is judged by a later one."""
        worst = np.sort(np.log1p(self.by_signal(rows)), axis=1)[:, -_WORST:].mean(axis=1)
        joined, whole = self.together
        odd = worst + np.log1p(_length(joined.left(self.ranges.of(rows))) / whole)
        before = np.repeat(odd[:1], _EVENED - 1)
        return np.convolve(np.concatenate([before, odd]), np.full(_EVENED, 1 / _EVENED), mode="valid")


def _scales(quiet: FloatArray) -> tuple[_Scale, _Scale]:
    held = np.isfinite(quiet)
    count = np.maximum(held.sum(axis=0), 1)
    mean = np.where(held, quiet, 0.0).sum(axis=0) / count
    deviation = np.sqrt(np.where(held, (quiet - mean) ** 2, 0.0).sum(axis=0) / count)
    size = np.where(held, np.abs(quiet), 0.0).max(axis=0)
    extent = np.where(held, quiet, -np.inf).max(axis=0) - np.where(held, quiet, np.inf).min(axis=0)
    # What never moved has its own size for a range; what was zero throughout has none, and any reading of it is far.
    tiny = np.finfo(float).tiny
    deviation = np.maximum(np.maximum(deviation, _FLOOR_OF_SIZE * size), tiny)
    extent = np.maximum(np.where(extent > 0, extent, size), tiny)
    return _Scale(mean, deviation, _FARTHEST_DEVIATIONS), _Scale(mean, extent, _FARTHEST_RANGES)


def _length(left: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt((left**2).sum(axis=1)))


def _lagged(rows: FloatArray, lags: int) -> FloatArray:
    """(T, lags x S): each row behind those before it; the first rows see the first one repeated."""
    padded = np.concatenate([np.repeat(rows[:1], lags - 1, axis=0), rows])
    return np.hstack([padded[lag : lag + len(rows)] for lag in range(lags)])
