"""The learned half of the analysis: a directed GraphSAGE that says how likely each element is the root of an incident.

Two rounds of message passing, with weights of their own for what an element depends on and for what depends on it, a
jumping connection over all rounds, and a softmax over all elements and "no visible root". No identities, no degrees.
Fitting needs PyTorch and PyG (models/fitting.py); asking needs numpy only, so that a node and the first heal have it.

Sources: Hamilton et al. (2017), GraphSAGE; Rossi et al. (2023), weights of their own for both directions of an edge;
Xu et al. (2018), jumping knowledge. What else an element sees of the graph is one column: its share of the worst in
view. What reaches an element's own score is thus local or a maximum, and a healthy element far away changes no ranking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from models.errors import ConfigurationInvalid, SnapshotInvalid
from models.graphinputs import COLUMNS, GraphInputs, cost_of_quiet, graph_inputs
from models.residuals import ResidualDetector
from models.snapshot import FloatArray, IntArray, Snapshot
from models.weights import Float32Array, Weights, read

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the detector makes of one snapshot.

    Attributes:
        elements: N ids, as in the snapshot.
        scores: (N,) logits; larger is more likely the root.
        confidence: (N,) P(this element is the root | an incident), from a softmax with `no_root`; sums to 1 with it.
        no_root: P(no element in view is the root).
        anomaly: (N,) P(root | it is this element or none), 0..1: what each element would get if it were alone.
        worst: (N,) how far the worst signal strays, in the model's squashed units; 0: normal or not measured.
    """

    elements: tuple[str, ...]
    scores: FloatArray
    confidence: FloatArray
    no_root: float
    anomaly: FloatArray
    worst: FloatArray

    def ranked(self) -> list[tuple[str, float]]:
        """Return (element, confidence), the likeliest first; equals by id, so that the answer is the same each time."""
        return sorted(
            zip(self.elements, map(float, self.confidence), strict=True), key=lambda pair: (-pair[1], pair[0])
        )


@dataclass(frozen=True, slots=True, eq=False)
class CausalPrediction:
    """A prediction with what speaks for and against each element on the graph.

    Attributes:
        prediction: As `predict` gives it, over the longer past.
        explained_by: N; the dependency that strays at least as far as the element itself, and so may be what moved it;
            None where there is none.
        explains: N; the straying elements that depend on it, directly or over others.
    """

    prediction: Prediction
    explained_by: tuple[str | None, ...]
    explains: tuple[tuple[str, ...], ...]


class GraphSAGEAnomalyDetector:
    """Ranks the elements of a snapshot; without weights it refuses to guess."""

    def __init__(self) -> None:
        self.model: Weights | None = None

    @classmethod
    def loaded(cls, raw: bytes, *, digest: str) -> Self:
        """Return a detector with these weights; raises as `load`."""
        detector = cls()
        detector.load(raw, digest=digest)
        return detector

    def load(self, raw: bytes, *, digest: str) -> None:
        """Take weights into use; when they are refused, those in use stay.

        Args:
            raw: As `models.weights.write` wrote them.
            digest: The SHA-256 they were promoted under.

        Raises:
            WeightsCorrupt: they are not those.
            ConfigurationInvalid: they were fitted for other columns than this version computes.
        """
        weights = read(raw, digest=digest)
        if weights.shape.columns != COLUMNS:
            raise ConfigurationInvalid(
                f"weights {digest[:12]} were fitted for other inputs than this version computes",
                "fit and promote new ones with the flow train-graphsage",
            )
        self.model = weights

    def predict(self, snapshot: Snapshot) -> Prediction:
        """Say how likely each element is the root.

        Raises:
            NotEnoughHistory: the past is too short to say what is normal.
            ConfigurationInvalid: no weights were loaded.
        """
        if self.model is None:
            raise ConfigurationInvalid("the detector has no weights", "load promoted or shipped ones before asking it")
        inputs = graph_inputs(snapshot)
        scores, none = forward(self.model, inputs)
        worst = inputs.features[:, COLUMNS.index("worst")]
        return _prediction(snapshot.elements, scores / self.model.shape.temperature, none, worst)

    def anomalies(self, snapshot: Snapshot) -> FloatArray:
        """Say how odd each element's rows are by its own signals alone; needs no weights, but a longer past.

        Meant for a closer look at few elements: each is fitted anew, which takes milliseconds.

        Returns:
            (rows since the split, N), >= 0, larger is odder; no row is judged by a later one.

        Raises:
            NotEnoughHistory: fewer than `models.residuals.NEEDED_ROWS` rows before the split.
        """
        past, now = snapshot.past, snapshot.now
        scores = [ResidualDetector.fitted(past[:, one]).score(now[:, one]) for one in range(len(snapshot.elements))]
        return np.stack(scores, axis=1)

    def predict_with_causal(self, snapshot: Snapshot, history: Snapshot | None = None) -> CausalPrediction:
        """Say how likely each element is the root, and which straying neighbours explain it or are explained by it.

        Args:
            snapshot: The incident.
            history: Quiet rows before it, same elements and signals in the same order; they lengthen the past.

        Raises:
            SnapshotInvalid: the history is of other elements or signals, or does not end before the snapshot begins.
            NotEnoughHistory, ConfigurationInvalid: as `predict`.
        """
        longer = snapshot if history is None else _with_history(snapshot, history)
        prediction = self.predict(longer)
        worst = prediction.worst
        # Below this nothing strays: three robust deviations in squashed units would be .46; two are noise.
        straying = worst >= np.log1p(3.0) / 3.0
        explained: list[str | None] = []
        for place in range(len(worst)):
            below = longer.edges[longer.edges[:, 0] == place, 1]
            below = below[(below != place) & straying[below]]
            best = below[np.argmax(worst[below])] if below.size else None
            is_explained = best is not None and straying[place] and worst[best] >= worst[place]
            explained.append(longer.elements[int(best)] if is_explained and best is not None else None)
        explains = tuple(_callers(place, longer, straying) for place in range(len(worst)))
        return CausalPrediction(prediction, tuple(explained), explains)


def forward(weights: Weights, inputs: GraphInputs) -> tuple[FloatArray, float]:
    """Return the logits: (N,) of the elements, and of "no visible root" (already divided by the temperature).

    Sparse products over sorted edges, single precision: equal to PyG's layers within 1e-5.
    """
    arrays = weights.arrays
    features = inputs.features.astype(np.float32)
    needs, serves = _Neighbours(inputs.edges, len(features)), _Neighbours(inputs.edges[:, ::-1], len(features))
    state = _rectified(features @ arrays["enter.weight"].T + arrays["enter.bias"])
    states = [state]
    for layer in range(weights.shape.layers):
        sent = state @ arrays[f"own.{layer}.weight"].T + arrays[f"own.{layer}.bias"]
        sent += needs.gathered(state) @ arrays[f"needs.{layer}.weight"].T
        sent += serves.gathered(state) @ arrays[f"serves.{layer}.weight"].T
        state = _rectified(sent)
        states.append(state)
    joined = np.concatenate(states, axis=1)
    scores = _two_layers(arrays, "score", joined)[:, 0] - cost_of_quiet(features)
    view = np.concatenate([joined.max(axis=0), features.max(axis=0)])
    none = float(_two_layers(arrays, "none", view[None])[0, 0])
    return scores.astype(np.float64), none / weights.shape.temperature


class _Neighbours:
    """The neighbours of every element along the edges, sorted once for all layers."""

    def __init__(self, edges: IntArray, count: int) -> None:
        order = np.argsort(edges[:, 0], kind="stable")
        self._others = edges[order, 1]
        degree = np.bincount(edges[:, 0], minlength=count)
        self._having = np.flatnonzero(degree)
        self._starts = (np.cumsum(degree) - degree)[self._having]
        self._degree = degree[self._having].astype(np.float32)[:, None]
        self._count = count

    def gathered(self, state: Float32Array) -> Float32Array:
        """Return (N, 2 x width): mean and maximum over neighbours, 0 without any."""
        width = state.shape[1]
        gathered = np.zeros((self._count, 2 * width), dtype=np.float32)
        if self._having.size:
            sent = state[self._others]
            gathered[self._having, :width] = np.add.reduceat(sent, self._starts, axis=0) / self._degree
            gathered[self._having, width:] = np.maximum.reduceat(sent, self._starts, axis=0)
        return gathered


def softmax_with_none(scores: FloatArray, none: float) -> tuple[FloatArray, float]:
    """Return the probabilities of the elements and of "none", summing to 1."""
    top = max(float(scores.max()), none)
    shares, rest = np.exp(scores - top), float(np.exp(none - top))
    whole = float(shares.sum()) + rest
    return shares / whole, rest / whole


def _prediction(elements: tuple[str, ...], scores: FloatArray, none: float, worst: FloatArray) -> Prediction:
    confidence, no_root = softmax_with_none(scores, none)
    anomaly = 1.0 / (1.0 + np.exp(np.clip(none - scores, -500, 500)))
    return Prediction(elements, scores, confidence, no_root, anomaly, worst)


def _rectified(sent: Float32Array) -> Float32Array:
    rectified: Float32Array = np.maximum(sent, np.float32(0.0))
    return rectified


def _two_layers(arrays: Mapping[str, Float32Array], name: str, inputs: Float32Array) -> Float32Array:
    inner = _rectified(inputs @ arrays[f"{name}.0.weight"].T + arrays[f"{name}.0.bias"])
    outer: Float32Array = inner @ arrays[f"{name}.1.weight"].T + arrays[f"{name}.1.bias"]
    return outer


def _with_history(snapshot: Snapshot, history: Snapshot) -> Snapshot:
    if (history.elements, history.signals) != (snapshot.elements, snapshot.signals):
        raise SnapshotInvalid("history", "give the same elements and signals in the same order")
    if history.times[-1] >= snapshot.times[0]:
        raise SnapshotInvalid("history", "end it before the snapshot begins")
    added = len(history.times)
    return replace(
        snapshot,
        times=np.concatenate([history.times, snapshot.times]),
        values=np.concatenate([history.values, snapshot.values]),
        split=snapshot.split + added,
        trigger=None if snapshot.trigger is None else snapshot.trigger + added,
    )


def _callers(start: int, snapshot: Snapshot, straying: BoolArray) -> tuple[str, ...]:
    """Return the straying elements from which a way of straying elements leads down to this one."""
    if not straying[start]:
        return ()
    reached, fresh = {start}, [start]
    while fresh:
        above = snapshot.edges[np.isin(snapshot.edges[:, 1], fresh), 0]
        fresh = [int(one) for one in np.unique(above) if straying[one] and int(one) not in reached]
        reached.update(fresh)
    return tuple(snapshot.elements[one] for one in sorted(reached - {start}))
