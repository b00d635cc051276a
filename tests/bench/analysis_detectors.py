"""Detectors of odd points in many series at once, ours and their peers, by VUS-PR.

Each is fitted on the training side only and scores the test side; labels are read to score, never to choose.
VUS-PR: volume under the precision-recall surface over buffer lengths around each anomaly (Paparrizos et al., VLDB 2022;
the range-based recall of their Range-AUC-PR), here with buffers 0..20, as TSB-AD's window of 20.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.bench.report import Row

Floats = npt.NDArray[np.float64]
BUFFERS = range(0, 21, 4)
THRESHOLDS = 250
_LAGS, _SMOOTH, _TOP, _VARIANCE = 5, 5, 5, 0.9


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
    robust = np.abs(test - middle) / spread
    top = np.sort(robust, axis=1)[:, -_TOP:].mean(axis=1)
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-9
    z_train, z_test = (train - mean) / deviation, (test - mean) / deviation
    plain = _residual(z_train, z_test)
    lagged_train, lagged_test = _lagged(z_train), _lagged(z_test)
    lagged = _residual(lagged_train, lagged_test)
    robust_train = np.sort(np.abs(train - middle) / spread, axis=1)[:, -_TOP:].mean(axis=1)
    forest = IsolationForest(n_estimators=100, random_state=seed, n_jobs=1).fit(train[:: max(1, len(train) // 4000)])
    # Ours: what the correlation of the last rows does not explain, and how far the worst signals stray, each as its
    # distance from what the training side itself showed, evened over as many rows as are lagged.
    parts = [
        _against(lagged, _residual(lagged_train, lagged_train)),
        _against(top, robust_train),
    ]
    return {
        "ours": _evened(np.mean(parts, axis=0)),
        "PCA": plain,
        "lag-5 PCA": lagged,
        "top-5 robust z": top,
        "IForest": -forest.score_samples(test),
        "random": np.random.default_rng(seed).random(len(test)),
    }


def _lagged(rows: Floats) -> Floats:
    padded = np.vstack([np.repeat(rows[:1], _LAGS - 1, axis=0), rows])
    return np.hstack([padded[lag : lag + len(rows)] for lag in range(_LAGS)])


def _residual(train: Floats, test: Floats) -> Floats:
    """Squared distance from the subspace that holds nine tenths of the training side's variance."""
    values, vectors = np.linalg.eigh(np.cov(train, rowvar=False))
    order = np.argsort(-values)
    kept = int(np.searchsorted(np.cumsum(values[order]) / values.sum(), _VARIANCE)) + 1
    basis = vectors[:, order[:kept]]
    centred = test - train.mean(axis=0)
    return np.asarray(((centred - centred @ basis @ basis.T) ** 2).sum(axis=1))


def _against(scores: Floats, usual: Floats) -> Floats:
    """Logarithm of a score against the 99th percentile of the training side's own."""
    return np.log1p(np.maximum(scores, 0) / (np.percentile(usual, 99) + 1e-9))


def _evened(scores: Floats) -> Floats:
    return np.convolve(scores, np.ones(_SMOOTH) / _SMOOTH, mode="same")


def vus_pr(scores: Floats, labels: npt.NDArray[np.int8]) -> float:
    """Return the mean over buffers of the area under precision and range-based recall, 0..1."""
    return float(np.mean([_range_auc_pr(scores, labels.astype(bool), buffer) for buffer in BUFFERS]))


def _range_auc_pr(scores: Floats, labels: npt.NDArray[np.bool_], buffer: int) -> float:
    soft, ranges = _softened(labels, buffer)
    order = np.argsort(-scores, kind="stable")
    cuts = np.unique(np.linspace(1, len(scores), THRESHOLDS).astype(int))
    hits = np.cumsum(soft[order])[cuts - 1]
    # A point in the buffer counts as positive by how near it is; the denominator is the mean of sharp and softened.
    positives = (labels.sum() + soft.sum()) / 2
    rank = np.empty(len(scores), dtype=int)
    rank[order] = np.arange(len(scores))
    first_found = np.array([rank[start:end].min() for start, end in ranges])
    existing = (first_found[None, :] < cuts[:, None]).mean(axis=1)
    recall = np.concatenate([[0.0], np.minimum(hits / positives, 1.0) * existing])
    precision = np.concatenate([[1.0], hits / cuts])
    return float(np.sum(np.diff(recall) * precision[1:]))


def _softened(labels: npt.NDArray[np.bool_], buffer: int) -> tuple[Floats, list[tuple[int, int]]]:
    """Labels with slopes of sqrt(1 - distance / buffer) around each anomaly, and the ranges they then cover."""
    soft = labels.astype(float)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], labels.astype(int), [0]])))
    ranges = []
    half = buffer // 2
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        for distance in range(1, half + 1):
            weight = float(np.sqrt(1 - distance / buffer))
            for place in (start - distance, end - 1 + distance):
                if 0 <= place < len(soft):
                    soft[place] = max(soft[place], weight)
        ranges.append((max(0, start - half), min(len(soft), end + half)))
    return soft, ranges
