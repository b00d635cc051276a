"""Detectors of odd points in many series at once, ours and their peers, by VUS-PR.

Each is fitted on the training side only and scores the test side; labels are read to score, never to choose.
VUS-PR: volume under the precision-recall surface over buffer lengths around anomalies (Paparrizos et al., VLDB 2022),
as TSB-AD measures it with a window of 20: every buffer 0..20, 250 thresholds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.graphsage import GraphSAGEAnomalyDetector
from models.snapshot import Kind, SignalKind, SignalSpec, Snapshot
from tests.bench.report import Row

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
BUFFERS = range(21)
THRESHOLDS = 250
_LAGS, _TOP = 5, 5
# Of both PCAs, on rows as published, each signal a share of its range: of ten settings (that or standardised; .5-.99)
# the best for lag-5 PCA on both sets together. A peer is compared at its best.
_VARIANCE = 0.95


def detector_rows(data: Path, *, quick: bool, say: Callable[[str], object], seed: int) -> list[Row]:
    """Compare on every set of a folder; the mean over its entities."""
    rows = []
    for path in sorted(data.glob("*.npz")):
        with np.load(path) as arrays:
            entities = sorted({name.rsplit("/", 1)[0] for name in arrays.files})[: 1 if quick else None]
            found: dict[str, list[float]] = {}
            for entity in entities:
                say(f"{path.stem} {entity} ...")
                train, test, label = (arrays[f"{entity}/{part}"] for part in ("train", "test", "label"))
                for name, scores in all_scores(train.astype(float), test.astype(float), seed=seed).items():
                    found.setdefault(name, []).append(vus_pr(scores, label))
        means = {name: float(np.mean(values)) for name, values in found.items()}
        ours = means.pop("ours")
        rows.append(
            Row(case=path.stem, metric="vus_pr", unit="", value=ours, n=len(entities), peers=dict(means),
                goal=max(means.values()), better="higher")
        )  # fmt: skip
    return rows


def all_scores(train: Floats, test: Floats, *, seed: int) -> dict[str, Floats]:
    """Score every test row with every detector; higher is odder."""
    from sklearn.ensemble import IsolationForest  # noqa: PLC0415 - of the extra `learning`; latency needs none of it

    middle = np.median(train, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(train - middle), axis=0), 0.05 * np.ptp(train, axis=0) + 1e-9)
    top = np.sort(np.abs(test - middle) / spread, axis=1)[:, -_TOP:].mean(axis=1)
    forest = IsolationForest(n_estimators=100, random_state=seed, n_jobs=1).fit(train[:: max(1, len(train) // 4000)])
    return {
        "ours": GraphSAGEAnomalyDetector().anomalies(_one_element(train, test))[:, 0],
        "PCA": _residual(train, test),
        "lag-5 PCA": _residual(_lagged(train), _lagged(test)),
        "top-5 robust z": top,
        "IForest": -forest.score_samples(test),
        "random": np.random.default_rng(seed).random(len(test)),
    }


def _one_element(train: Floats, test: Floats) -> Snapshot:
    """A system whose published rows are those of one element."""
    signals = tuple(SignalSpec(f"signal {one}", "", 0, SignalKind.GAUGE) for one in range(train.shape[1]))
    values = np.concatenate([train, test])[:, None]
    nothing = np.empty((0, 2), dtype=np.int64)
    times = np.arange(len(values), dtype=float)
    return Snapshot(("entity",), (Kind.NODE,), nothing, signals, times, values, split=len(train))


def _lagged(rows: Floats) -> Floats:
    padded = np.vstack([np.repeat(rows[:1], _LAGS - 1, axis=0), rows])
    return np.hstack([padded[lag : lag + len(rows)] for lag in range(_LAGS)])


def _residual(train: Floats, test: Floats) -> Floats:
    """Squared distance from the subspace that holds 95 % of the training side's variance."""
    values, vectors = np.linalg.eigh(np.cov(train, rowvar=False))
    order = np.argsort(-values)
    kept = int(np.searchsorted(np.cumsum(values[order]) / values.sum(), _VARIANCE)) + 1
    basis = vectors[:, order[:kept]]
    centred = test - train.mean(axis=0)
    return np.asarray(((centred - centred @ basis @ basis.T) ** 2).sum(axis=1))


def vus_pr(scores: Floats, labels: npt.NDArray[np.int8]) -> float:
    """Return the mean over buffers of the area under precision and range-based recall, 0..1; labels hold an anomaly."""
    sharp = labels.astype(bool)
    falling = -np.sort(-scores)
    cuts = falling[np.linspace(0, len(scores) - 1, THRESHOLDS).astype(int)]
    # Equal scores are found together.
    found = np.searchsorted(-falling, -cuts, side="right")
    order = np.argsort(-scores, kind="stable")
    return float(np.mean([_area(scores, sharp, buffer, cuts=cuts, found=found, order=order) for buffer in BUFFERS]))


def _area(
    scores: Floats, sharp: npt.NDArray[np.bool_], buffer: int, *, cuts: Floats, found: Places, order: Places
) -> float:
    soft, ranges = _softened(sharp, buffer)
    hits: Floats = np.cumsum(soft[order])[found - 1]
    sharp_hits: Places = np.cumsum(sharp[order], dtype=np.int64)[found - 1]
    # Of a buffer only what was found counts as positive, and by half: missing it costs nothing, finding it a little.
    positives = float(sharp.sum()) + (hits - sharp_hits) / 2
    best = np.array([scores[start:end].max() for start, end in ranges])
    existing = (best[None, :] >= cuts[:, None]).mean(axis=1)
    recall = np.concatenate([[0.0], np.minimum(hits / positives, 1.0) * existing])
    return float(np.sum(np.diff(recall) * hits / found))


def _softened(sharp: npt.NDArray[np.bool_], buffer: int) -> tuple[Floats, list[tuple[int, int]]]:
    """Labels with slopes of sqrt(1 - distance / buffer) around each anomaly, and the ranges they then cover.

    Where slopes overlap they add up to at most 1, and ranges that touch are one.
    """
    soft = sharp.astype(float)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], sharp.astype(int), [0]])))
    half, ranges = buffer // 2, list[tuple[int, int]]()
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        for distance in range(1, half + 1):
            for place in (start - distance, end - 1 + distance):
                if 0 <= place < len(soft):
                    soft[place] += np.sqrt(1 - distance / buffer)
        first, last = max(0, start - half), min(len(soft), end + half)
        joined = bool(ranges) and ranges[-1][1] >= start - half + 1
        ranges[-1:] = [(ranges[-1][0], last)] if joined else [*ranges[-1:], (first, last)]
    return np.minimum(soft, 1.0), ranges
