"""Baselines: simple rules that anything cleverer must beat, each with its paper. (N,) scores, greater is likelier."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from models.signals import BoolArray, baseline, deviation, distances, window
from models.snapshot import FloatArray, IntArray, SignalKind, Snapshot

# Beyond this tail share a node counts as abnormal in the traversal (PetShop's code: 0.9 quantile of the past).
_ABNORMAL = 2.3
_FEW = 3


def random(snapshot: Snapshot) -> FloatArray:
    """Score everything the same: with ties in expectation that is a random order."""
    return np.zeros(len(snapshot.elements))


def nsigma(snapshot: Snapshot) -> FloatArray:
    """Score by the greatest |x - mean| / std over signals and rows (Lin et al., 2018); of events, by their number."""
    if _only_events(snapshot):
        return _alerts(snapshot)
    past, now = snapshot.past, snapshot.now[window(snapshot)]
    known = np.isfinite(past)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, past, 0.0).sum(axis=0) / count
    std = np.sqrt(np.where(known, (past - mean) ** 2, 0.0).sum(axis=0) / count)
    away = np.abs(now - mean)
    return np.asarray(np.nan_to_num(away / np.where(std == 0, np.inf, std)).max(axis=(0, 2)))


def baro(snapshot: Snapshot) -> FloatArray:
    """Score by BARO's hypothesis test (Pham et al., FSE 2024): max over rows and signals of (x - median) / IQR.

    Written from the paper. Its change point detection is not part of it: the split is given here.
    """
    if _only_events(snapshot):
        return nsigma(snapshot)
    past, now = snapshot.past, snapshot.now[window(snapshot)]
    measured = np.isfinite(past).any(axis=0)
    middle, spread = np.full(past.shape[1:], np.nan), np.full(past.shape[1:], np.nan)
    low, middle[measured], high = np.nanpercentile(past[:, measured], [25, 50, 75], axis=0)
    spread[measured] = high - low
    scores = (now - middle) / np.where(spread == 0, 1.0, spread)  # as its scaler: a spread of zero counts as one
    return np.asarray(np.nan_to_num(scores, nan=-np.inf).max(axis=(0, 2)))


def traversal(snapshot: Snapshot) -> FloatArray:
    """Score abnormal elements that no abnormal dependency explains, reached from the alarm over abnormal ones.

    The traversal baseline of PetShop (Hardt et al., 2023; after Lin et al., 2018). Those reached score by how far they
    stray, ahead of all others.
    """
    strays = _tail(snapshot)
    abnormal = strays >= _ABNORMAL
    return unexplained_first(strays, abnormal & _reached(snapshot, abnormal), abnormal, snapshot.edges)


def unexplained_first(strays: FloatArray, counted: BoolArray, abnormal: BoolArray, edges: IntArray) -> FloatArray:
    """Return (N,) scores: who counts and depends on nobody abnormal first, then who else counts, then all others.

    Args:
        strays: (N,) how far each strays, far below 100; orders those within a tier.
        counted: (N,) which of the abnormal ones may be named.
        abnormal: (N,).
        edges: (E, 2): i depends on j.
    """
    explained = np.zeros(len(abnormal), dtype=bool)
    apart = edges[edges[:, 0] != edges[:, 1]]
    explained[apart[abnormal[apart[:, 1]], 0]] = True
    return np.asarray(strays + 1e3 * (counted & ~explained) + 1e2 * counted)


def ranked_correlation(snapshot: Snapshot) -> FloatArray:
    """Score by |Pearson correlation| with the alarm's signal over the rows around the incident.

    After PetShop's ranked correlation (Hardt et al., 2023): among elements the alarm depends on, however far. Where no
    alarm is known it falls back to the alarm of the element that strays most.
    """
    if _only_events(snapshot):
        return nsigma(snapshot)
    target, signal = _alarm(snapshot)
    length = len(snapshot.now[window(snapshot)])
    rows = snapshot.values[max(snapshot.split - 4 * length, 0) : snapshot.split + length]
    alarm = rows[:, target, signal]
    scores = np.array([abs(_pearson(rows[:, i, signal], alarm)) for i in range(len(snapshot.elements))])
    reached = _reached(snapshot, np.ones(len(scores), dtype=bool))
    scores[target] = min(scores[target], 0.5)  # with itself it always agrees, which tells nothing
    return np.asarray(scores + reached)


BASELINES: Mapping[str, Callable[[Snapshot], FloatArray]] = {
    "nsigma": nsigma,
    "baro": baro,
    "traversal": traversal,
    "ranked correlation": ranked_correlation,
    "random": random,
}
"""By the name that reports use."""


def _only_events(snapshot: Snapshot) -> bool:
    return all(spec.kind is SignalKind.EVENT for spec in snapshot.signals)


def _alerts(snapshot: Snapshot) -> FloatArray:
    """(N,) how many alerts were raised: signals in other units only sum these up in other words."""
    counts = [k for k, spec in enumerate(snapshot.signals) if spec.unit == "1"]
    return np.asarray(np.nan_to_num(snapshot.now[:, :, counts]).sum(axis=(0, 2)))


def _tail(snapshot: Snapshot) -> FloatArray:
    if _only_events(snapshot):
        # Alerts are abnormal by themselves; how many of them says how far.
        total = _alerts(snapshot)
        return np.asarray(np.where(total > 0, _ABNORMAL + np.log1p(total), 0.0))
    tail = deviation(snapshot, baseline(snapshot), rows=window(snapshot)).tail
    directed = [k for k, spec in enumerate(snapshot.signals) if spec.worse]
    if snapshot.target_signal is not None:
        directed = [snapshot.target_signal]  # as PetShop's: an element is abnormal in what raised the alarm
    return np.asarray(np.nan_to_num(tail[-1][:, directed]).max(axis=1, initial=0.0))


def _alarm(snapshot: Snapshot) -> tuple[int, int]:
    if snapshot.target is not None and snapshot.target_signal is not None:
        return snapshot.target, snapshot.target_signal
    z = np.nan_to_num(distances(snapshot, baseline(snapshot), rows=window(snapshot))).max(axis=0)
    place, signal = np.unravel_index(int(z.argmax()), z.shape)
    return int(place), int(signal)


def _reached(snapshot: Snapshot, passable: BoolArray) -> BoolArray:
    """(N,) bool: elements that the alarm's element depends on over passable ones; all, where no alarm is known."""
    if snapshot.target is None:
        return np.ones(len(passable), dtype=bool)
    found = np.zeros(len(passable), dtype=bool)
    found[snapshot.target] = True
    waiting = [snapshot.target]
    needs: dict[int, list[int]] = {}
    for i, j in snapshot.edges.tolist():
        needs.setdefault(i, []).append(j)
    while waiting:
        for j in needs.get(waiting.pop(), ()):
            if passable[j] and not found[j]:
                found[j] = True
                waiting.append(j)
    return found


def _pearson(one: FloatArray, other: FloatArray) -> float:
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < _FEW or np.ptp(one[both]) == 0 or np.ptp(other[both]) == 0:
        return 0.0
    return float(np.corrcoef(one[both], other[both])[0, 1])
