"""Signals: how far each one strays from its own past, whatever its unit.

Two scores for each element and signal, both signed so that more is worse:

- robust z: distance from the median in robust standard deviations. It tells *how far*.
- tail score: -log of the share of the past that was at least as bad (the IT score of Budhathoki et al., 2022). It
  tells *how rare*, and does not mind a skewed past.

Where a signal is not measured, or its past is too short, both are NaN: silence is no symptom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from models.errors import NotEnoughHistory
from models.snapshot import FloatArray, SignalKind, Snapshot

BoolArray = npt.NDArray[np.bool_]
Float = TypeVar("Float", np.float32, np.float64)

# Fewer rows give a median absolute deviation that is zero or wild every other time.
NEEDED_ROWS = 8
# Makes the median absolute deviation of a normal past its standard deviation (Iglewicz and Hoaglin, 1993).
_NORMAL = 1.4826
# A signal that never moved is not infinitely surprising: at least this share of its own size counts as noise. A share,
# never an absolute number, so that a unit may be scaled.
_FLOOR_OF_MEDIAN = 0.05
_FLOOR_OF_RANGE = 0.05
# The 90th percentile of a normal past lies this many standard deviations from its median.
_USUAL_SHARE, _USUAL = 0.9, 1.2816
# An alarm may come late: the newest tenth of the past may hold what it is to be compared with.
_OLDER = 0.9
# Beyond this a distance tells nothing more, and one broken counter would drown the rest.
_FARTHEST = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """What is normal for each element and signal.

    Attributes:
        median: (N, S).
        scale: (N, S) robust standard deviation with its floors; NaN where the past is too short.
        ordered: (rows, N, S) the past, each signal sorted toward worse with NaN last.
        measured: (N, S) rows that count.
        sign: (S,) +1: more is worse; -1: less is; 0: either way.
    """

    median: FloatArray
    scale: FloatArray
    ordered: FloatArray
    measured: npt.NDArray[np.int64]
    sign: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Deviation:
    """How far the rows of an incident stray, (rows, N, S) each, NaN where nothing can be said.

    Attributes:
        z: Robust z toward worse, within +-100; of a signal without a direction its absolute value.
        tail: Tail score, >= 0.
    """

    z: FloatArray
    tail: FloatArray


def baseline(snapshot: Snapshot) -> Baseline:
    """Learn what is normal from the rows before the incident.

    Raises:
        NotEnoughHistory: fewer than 8 rows of past, in a snapshot that holds more than events.
    """
    events = np.array([spec.kind is SignalKind.EVENT for spec in snapshot.signals])
    past = snapshot.past
    if len(past) < NEEDED_ROWS and not events.all():
        raise NotEnoughHistory(len(past), NEEDED_ROWS)
    sign = np.array([float(spec.worse) for spec in snapshot.signals])
    shape = past.shape[1:]
    if not len(past):
        empty = np.empty((0, *shape))
        return Baseline(np.zeros(shape), np.ones(shape), empty, np.zeros(shape, dtype=np.int64), sign)
    median = median_of_measured(past)
    spread = np.abs(past - median)
    measured = np.isfinite(past).sum(axis=0)
    # Without a direction, worse is farther from the median.
    ordered = np.sort(np.where(sign == 0, spread, past * np.where(sign == 0, 1.0, sign)), axis=0)
    usual = _usual(past, median, sign)
    scale = np.fmax(np.maximum(_NORMAL * median_of_measured(spread), usual), _floors(snapshot, median))
    scale = np.where(measured >= NEEDED_ROWS, scale, np.nan)
    median, scale = np.where(events, 0.0, median), np.where(events, 1.0, scale)
    return Baseline(median, scale, ordered, measured, sign)


def _usual(past: FloatArray, median: FloatArray, sign: FloatArray) -> FloatArray:
    """(N, S) standard deviation by the worst tenth: of a past with two levels the median deviation is too small."""
    older = past[: max(int(_OLDER * len(past)), 1)]
    away = np.sort(
        np.where(sign == 0, np.abs(older - median), (older - median) * np.where(sign == 0, 1.0, sign)), axis=0
    )
    place = np.maximum(np.isfinite(away).sum(axis=0) * _USUAL_SHARE - 1, 0).astype(np.int64)
    return np.asarray(np.take_along_axis(away, place[None], axis=0)[0] / _USUAL)


def _floors(snapshot: Snapshot, median: FloatArray) -> FloatArray:
    """(N, S) the least that counts as noise."""
    past = snapshot.past
    largest = np.where(np.isnan(past), 0.0, np.abs(past)).max(axis=0)
    floors = np.maximum(_FLOOR_OF_MEDIAN * np.abs(median), _FLOOR_OF_RANGE * largest)
    # A share of success counts from its best: 99 % to 95 % is five times the failures, not a twentieth less of all.
    success = [spec.kind is SignalKind.ERRORS and spec.worse == -1 for spec in snapshot.signals]
    lowest = np.fmin.reduce(past, axis=0)
    return np.asarray(np.where(success, _FLOOR_OF_RANGE * (np.fmax.reduce(past, axis=0) - lowest), floors))


def deviation(snapshot: Snapshot, normal: Baseline, *, rows: slice | None = None) -> Deviation:
    """Score rows of an incident against what is normal.

    Args:
        snapshot: The one `normal` was learned from, or a later one of the same elements and signals.
        normal: From `baseline`.
        rows: Rows of the incident, counted from its first; all of them unless given.
    """
    now = snapshot.now if rows is None else snapshot.now[rows]
    return Deviation(distances(snapshot, normal, rows=rows), _tail(now, now - normal.median, normal))


def distances(snapshot: Snapshot, normal: Baseline, *, rows: slice | None = None) -> FloatArray:
    """Return only z of `deviation`: the tail score costs a pass over the past."""
    now = snapshot.now if rows is None else snapshot.now[rows]
    away = now - normal.median
    either = normal.sign == 0
    toward = np.where(either, np.abs(away), away * np.where(either, 1.0, normal.sign))
    # A past that was zero throughout has no size of its own; what is measured now lends it one.
    scale = np.maximum(normal.scale, np.where(normal.scale == 0, 0.1 * np.abs(away), 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(toward == 0, np.where(np.isnan(scale), np.nan, 0.0), toward / scale)
    return np.asarray(np.clip(z, -_FARTHEST, _FARTHEST))


def median_of_measured(values: npt.NDArray[Float]) -> npt.NDArray[Float]:
    """Return the median over the first axis of what was measured; NaN where nothing was.

    numpy's own goes through masked arrays, which takes ten times as long.
    """
    ordered = np.sort(values, axis=0)  # NaN sorts last
    count = np.count_nonzero(~np.isnan(ordered), axis=0)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0)[None] // 2, axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(values) - 1)[None], axis=0)[0]
    return np.asarray((low + high) / 2)


def squash(z: FloatArray) -> FloatArray:
    """Return sign(z) log(1 + |z|): ten and eleven deviations are nearly the same, one and two are not."""
    return np.asarray(np.sign(z) * np.log1p(np.abs(z)))


def window(snapshot: Snapshot) -> slice:
    """Return the rows of the incident that were known when the alarm was raised; all of them if that is unknown."""
    return slice(0, None if snapshot.trigger is None else snapshot.trigger - snapshot.split + 1)


def _tail(now: FloatArray, away: FloatArray, normal: Baseline) -> FloatArray:
    either = normal.sign == 0
    toward = np.where(either, np.abs(away), now * np.where(either, 1.0, normal.sign))
    better = np.zeros(now.shape, dtype=np.int64)
    for row in normal.ordered:  # rows of the past: no (rows, past, N, S) array is ever held
        better += row < toward
    asbad = normal.measured - better
    scores = -np.log((1.0 + asbad) / (1.0 + normal.measured))
    return np.where(np.isnan(toward) | (normal.measured < NEEDED_ROWS), np.nan, scores)
