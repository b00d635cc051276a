"""What moved: how far each element of a mesh strays from its own past, cheap enough to ask of ten thousand nodes.

Only who is looked at closely is decided here; how the few that strayed are ranked is the causal engine's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.meshsignals import MeshSignal, Rows
from models.signals import median_of_measured
from models.snapshot import SignalKind

# MAD of a normal distribution times this is its standard deviation.
_MAD_TO_SIGMA = 1.4826
# Where a past is far from zero, a tenth of it is the least spread that is believed.
_RELATIVE_FLOOR = 0.1
# Nearer to normal than this is no stray: one reading in some hundreds is there by chance.
STRAYS_FROM = 3.0


class Norm:
    """What is normal for the elements of one kind: median and spread of each signal, refreshed slice by slice."""

    def __init__(self, count: int, signals: Sequence[MeshSignal]) -> None:
        self._floor = np.array([one.floor for one in signals], dtype=np.float32)
        self._worse = np.array([one.spec.worse for one in signals], dtype=np.float32)
        events = np.array([one.spec.kind is SignalKind.EVENT for one in signals])
        # An event has no past to compare with: none is normal.
        self._fixed = events
        self._median = np.full((count, len(signals)), np.nan, dtype=np.float32)
        self._spread = np.full_like(self._median, np.nan)
        self._is_whole = False
        self._count = count

    def learn(self, values: Rows, rows: NDArray[np.int64], *, turn: int, turns: int) -> None:
        """Refresh a slice of the elements; the first time, all.

        Args:
            values: (R, count, signals) a ring of rows.
            rows: Which of them are the past.
            turn: Which slice, below `turns`.
            turns: Into how many slices the elements are cut.
        """
        first = -(-self._count // turns) * turn if self._is_whole else 0
        end = min(self._count, -(-self._count // turns) * (turn + 1)) if self._is_whole else self._count
        if first >= end:
            return
        past = values[rows, first:end]
        median = median_of_measured(past)
        spread = median_of_measured(np.abs(past - median)) * np.float32(_MAD_TO_SIGMA)
        floor = np.maximum(self._floor, _RELATIVE_FLOOR * np.abs(median))
        self._median[first:end] = np.where(self._fixed, 0.0, median)
        self._spread[first:end] = np.where(self._fixed, self._floor, np.fmax(spread, floor))
        self._is_whole = True

    def deviations(self, now: Rows) -> NDArray[np.float64]:
        """Return (count,) how far each element's worst signal strays, in spreads, >= 0; 0 where nothing is known.

        Args:
            now: (r, count, signals) the newest rows; a signal counts by its mean over them, so that one odd reading
                among several does not.
        """
        measured = ~np.isnan(now)
        seen = measured.sum(axis=0)
        mean = np.where(measured, now, 0.0).sum(axis=0) / np.maximum(seen, 1)
        apart = (mean - self._median) / self._spread
        apart = np.where(self._worse == 0, np.abs(apart), apart * self._worse)
        return np.asarray(np.where((seen > 0) & (apart > 0), apart, 0.0).max(axis=1, initial=0.0), dtype=np.float64)


def strays(scores: NDArray[np.float64], at_most: int) -> NDArray[np.int64]:
    """Return the indices of the elements that stray most, worst first, at most so many."""
    beyond = np.flatnonzero(scores >= STRAYS_FROM)
    if len(beyond) > at_most:
        beyond = beyond[np.argpartition(-scores[beyond], at_most - 1)[:at_most]]
    return beyond[np.argsort(-scores[beyond], kind="stable")]
