"""Causal analysis: which element made the others look bad, from dependencies and deviations alone.

Nothing here is learned, so it also answers for a system that nobody has seen before. Where answers with known truth
exist, `models.ranking` blends this score with what was learned, and `models.calibration` states the confidence.

The score of an element, all of it zero for one that shows nothing:

- own: how far its worst signal strays;
- gap: the part of that which its own dependencies do not show (own minus the most of what it depends on). A caller
  that is slow because its callee is slow has none;
- residual: the deviation left after its past relation to its dependencies is taken away;
- blame: the share of straying dependants that straying *others* do not explain: who depends on it strays, who does
  not is well. It is the only part that a silent element can have, and is never enough alone;
- moves: rank correlation with the signal that raised the alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.calibration import Calibration
from models.incident import Cause, FaultKind
from models.planning import CATALOGUE
from models.signals import baseline, distances, median_of_measured, squash, window
from models.snapshot import FloatArray, IntArray, SignalKind, Snapshot

# Below this many robust deviations an element is one that shows nothing (Iglewicz and Hoaglin: 3.5 is an outlier).
STRAYS = 3.5
# Ranks need a few rows of the past around the incident, and more of it only waters it down.
_MOVES_ROWS = 24
# A dependency is kept as causal when both ends ever moved together this much, or when there is no past to tell.
_TOGETHER = 0.1
# How much of each part: one for what an element shows itself, less for what others say about it.
_WEIGHTS = {"own": 0.5, "gap": 0.3, "residual": 0.5, "blame": 1.5, "moves": 0.5}
# Signals without a direction (a rate that rose) are strange rather than bad.
_STRANGE = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class CausalGraph:
    """Dependencies, checked against the past.

    Attributes:
        edges: (E, 2) as the snapshot's.
        together: (E,) absolute rank correlation of both ends' deviations in the past, 0..1; NaN: cannot be told.
    """

    edges: IntArray
    together: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class CausalScores:
    """Every part of every element's score, (N,) each, >= 0.

    Attributes:
        parts: By name, as the module's docstring lists them.
        total: Their weighted sum.
        worst: Index of the signal that strays most, -1 where nothing is measured.
        strays: Its robust z toward worse; NaN where nothing is measured.
    """

    parts: Mapping[str, FloatArray]
    total: FloatArray
    worst: npt.NDArray[np.int64]
    strays: FloatArray


@dataclass(frozen=True, slots=True)
class Suspect:
    """One candidate of a ranking.

    Attributes:
        element: Id.
        confidence: P(it is a root | an incident), 0..1.
        score: Before calibration.
        because: What spoke for it, strongest first, in words.
        against: Why it may be none, in words; empty if nothing speaks against it.
    """

    element: str
    confidence: float
    score: float
    because: tuple[str, ...]
    against: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Suspects and what is left.

    Attributes:
        suspects: Every element, best first; equal scores in order of their ids.
        no_visible_root: P(no element of the snapshot is the root).
        candidates: Ids that hold the root in nine of ten incidents like those calibrated on; empty: none may.
    """

    suspects: tuple[Suspect, ...]
    no_visible_root: float
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What to do about a cause.

    Attributes:
        remedy: Name in the catalogue.
        reason: Why this one.
    """

    remedy: str
    reason: str


class CausalAnalysisEngine:
    """Answers what broke, how sure that is, and what to do.

    Args:
        calibration: Turns scores into confidences; the default was set by hand, says little and claims little.
    """

    def __init__(self, calibration: Calibration | None = None) -> None:
        self._calibration = calibration or Calibration.cautious()

    def correlate_events(self, snapshot: Snapshot) -> tuple[tuple[str, ...], ...]:
        """Group straying elements into incidents: those that depend on each other, directly or through one shared.

        Two incidents far apart stay apart even if they began together.

        Returns:
            Groups of ids, the largest first, each sorted; () when nothing strays.
        """
        strays = causal_scores(snapshot).strays >= STRAYS
        joined = list(range(len(snapshot.elements)))

        def leader(one: int) -> int:
            while joined[one] != one:
                joined[one] = joined[joined[one]]
                one = joined[one]
            return one

        by_dependency: dict[int, list[int]] = {}
        for i, j in snapshot.edges.tolist():
            if strays[i]:
                by_dependency.setdefault(j, []).append(i)
        for j, dependants in by_dependency.items():
            # A dependency that is well joins its dependants only if they are all it has: the cause may be out of view.
            if strays[j] or _all_of(j, dependants, snapshot.edges):
                for one in dependants:
                    joined[leader(one)] = leader(j)
        groups: dict[int, list[str]] = {}
        for index in np.nonzero(strays)[0].tolist():
            groups.setdefault(leader(index), []).append(snapshot.elements[index])
        return tuple(sorted((tuple(sorted(group)) for group in groups.values()), key=lambda one: (-len(one), one)))

    def build_causal_graph(self, snapshot: Snapshot) -> CausalGraph:
        """Return the declared dependencies with how much each showed in the past."""
        edges = snapshot.edges
        together = np.full(len(edges), np.nan)
        if snapshot.split >= _MOVES_ROWS:
            worst = _by_element(distances(_past_as_now(snapshot), baseline(snapshot)), snapshot)
            for k, (i, j) in enumerate(edges.tolist()):
                together[k] = _rank_correlation(worst[:, i], worst[:, j])
        return CausalGraph(edges, together)

    def identify_root_causes(self, snapshot: Snapshot, *, scores: FloatArray | None = None) -> Ranking:
        """Rank every element as a root.

        Args:
            snapshot: What was seen.
            scores: (N,) to rank by instead of the causal score, e.g. a blend that this engine's calibration fits.

        Raises:
            NotEnoughHistory: the past is too short to say what is normal.
        """
        found = causal_scores(snapshot)
        ranked = found.total if scores is None else scores
        confidence, nobody = self.calculate_confidence(ranked)
        order = sorted(range(len(ranked)), key=lambda k: (-ranked[k], snapshot.elements[k]))
        suspects = tuple(
            Suspect(snapshot.elements[k], float(confidence[k]), float(ranked[k]), *_words(k, found, snapshot))
            for k in order
        )
        held = self._calibration.candidates(confidence, nobody)
        return Ranking(suspects, nobody, tuple(snapshot.elements[k] for k in order if held[k]))

    def calculate_confidence(self, scores: FloatArray) -> tuple[FloatArray, float]:
        """Return (N,) P(each is the root) and P(none in view is); they sum to 1."""
        return self._calibration.confidence(scores)

    def suggest_remediation(
        self, cause: Cause, *, fixed: Mapping[tuple[FaultKind, str], tuple[int, int]] | None = None
    ) -> tuple[Suggestion, ...]:
        """Name remedies of the catalogue that fit a cause, best first.

        Args:
            cause: From a diagnosis.
            fixed: Knowledge: (times fixed, times tried) by fault and remedy.
        """
        known = fixed or {}
        found = []
        for remedy in CATALOGUE.get(cause.fault, ()):
            won, tried = known.get((cause.fault, str(remedy)), (0, 0))
            # Laplace's rule: untried is one half, so that one lucky try does not outrank nine of ten.
            reason = f"fits {cause.fault}; " + (f"fixed it {won} of {tried} times" if tried else "not tried here yet")
            found.append(((won + 1) / (tried + 2), Suggestion(str(remedy), reason)))
        return tuple(one for _, one in sorted(found, key=lambda pair: -pair[0]))


def causal_scores(snapshot: Snapshot) -> CausalScores:
    """Score every element of a snapshot.

    Raises:
        NotEnoughHistory: the past is too short to say what is normal.
    """
    normal = baseline(snapshot)
    z = distances(snapshot, normal, rows=window(snapshot))
    level = _lasting(z)
    weighted = level * np.array([1.0 if spec.worse else _STRANGE for spec in snapshot.signals])
    shown = np.nan_to_num(weighted, nan=-np.inf)
    worst = np.where(np.isfinite(shown).any(axis=1), shown.argmax(axis=1), -1)
    strays = np.where(worst >= 0, shown.max(axis=1), np.nan)
    own = squash(np.maximum(np.nan_to_num(strays), 0.0))
    parts = {
        "own": own,
        "gap": np.maximum(own - most_of_dependencies(own, snapshot.edges), 0.0),
        "residual": _residual(snapshot, own, worst),
        "blame": _blame(own, snapshot.edges),
        "moves": _moves(snapshot) * np.minimum(own, 1.0),
    }
    total = np.sum([_WEIGHTS[name] * part for name, part in parts.items()], axis=0)
    return CausalScores(parts, total, worst, strays)


def most_of_dependencies(values: FloatArray, edges: IntArray) -> FloatArray:
    """Return (N,) the greatest value among what each element depends on, 0 where it depends on nothing."""
    found = np.zeros(len(values))
    apart = edges[edges[:, 0] != edges[:, 1]]
    np.maximum.at(found, apart[:, 0], values[apart[:, 1]])
    return found


def _lasting(z: FloatArray) -> FloatArray:
    """(N, S): the greater of the median over rows and the last row, so that one spike in the window is not enough."""
    return np.asarray(np.fmax(median_of_measured(z), z[-1]))


def _by_element(z: FloatArray, snapshot: Snapshot) -> FloatArray:
    """(rows, N): the worst directed signal of each element."""
    directed = [k for k, spec in enumerate(snapshot.signals) if spec.worse]
    return np.asarray(np.nan_to_num(z[:, :, directed], nan=0.0).max(axis=2, initial=0.0))


def _past_as_now(snapshot: Snapshot) -> Snapshot:
    return Snapshot(
        elements=snapshot.elements,
        kinds=snapshot.kinds,
        edges=snapshot.edges,
        signals=snapshot.signals,
        times=snapshot.times[: snapshot.split],
        values=snapshot.past,
        split=0,
    )


def _residual(snapshot: Snapshot, own: FloatArray, worst: IntArray) -> FloatArray:
    """(N,) squashed robust z of what a straying signal's dependencies, as they went in the past, do not explain."""
    found = np.zeros(len(own))
    if snapshot.split < _MOVES_ROWS:
        return found
    for i in np.nonzero(own > np.log1p(STRAYS))[0].tolist():
        needs = [j for j in snapshot.edges[snapshot.edges[:, 0] == i][:, 1].tolist() if j != i]
        signal = int(worst[i])
        rows = snapshot.values[: snapshot.split + len(snapshot.now[window(snapshot)])]
        if signal >= 0:
            found[i] = _unexplained(rows[:, i, signal], rows[:, needs, signal], snapshot, signal)
    return found


def _unexplained(own: FloatArray, needs: FloatArray, snapshot: Snapshot, signal: int) -> float:
    split = snapshot.split
    known = np.isfinite(own[:split])
    if known.sum() < _MOVES_ROWS:
        return 0.0
    usable = [k for k in range(needs.shape[1]) if np.isfinite(needs[:split, k]).mean() > 0.5]  # noqa: PLR2004 - most
    left = own
    if usable:  # without inputs a constant would be taken away, and the median takes it anyway
        inputs = np.column_stack([np.ones(len(own)), np.nan_to_num(needs[:, usable])])
        weights, *_ = np.linalg.lstsq(inputs[:split][known], own[:split][known], rcond=1e-6)
        left = own - inputs @ np.where(np.isfinite(weights), weights, 0.0)
    past = left[:split][known]
    middle = np.median(past)
    scale = 1.4826 * np.median(np.abs(past - middle)) + 0.05 * np.abs(own[:split][known]).max(initial=0.0)
    sign = snapshot.signals[signal].worse or 1
    last = left[-1] - middle
    if not np.isfinite(last) or scale == 0:
        return 0.0
    return float(np.log1p(max(sign * last / scale, 0.0)))


def _blame(own: FloatArray, edges: IntArray) -> FloatArray:
    """(N,) how well `it broke` explains who strays: all of its dependants do, and few others.

    F1 of (dependants stray) against (who strays depends on it), times how much they stray in the mean.
    """
    apart = edges[edges[:, 0] != edges[:, 1]]
    count = len(own)
    mass, dependants = np.zeros(count), np.zeros(count)
    clipped = np.minimum(own, np.log1p(STRAYS))
    np.add.at(mass, apart[:, 1], clipped[apart[:, 0]])
    np.add.at(dependants, apart[:, 1], 1.0)
    asking = np.zeros(count, dtype=bool)
    asking[apart[:, 0]] = True
    everything = float(clipped[asking].sum())
    if everything == 0:
        return np.zeros(count)
    precise = mass / np.maximum(dependants, 1.0) / np.log1p(STRAYS)
    whole = mass / everything
    return np.asarray(2 * precise * whole / np.maximum(precise + whole, 1e-12))


def _moves(snapshot: Snapshot) -> FloatArray:
    """(N,) greatest rank correlation of an element's signals with the alarm's, around the incident; 0 if unknown."""
    count = len(snapshot.elements)
    if snapshot.target is None or snapshot.target_signal is None or snapshot.split < _MOVES_ROWS:
        return np.zeros(count)
    end = snapshot.split + len(snapshot.now[window(snapshot)])
    rows = snapshot.values[snapshot.split - _MOVES_ROWS : end]
    alarm = rows[:, snapshot.target, snapshot.target_signal] * snapshot.signals[snapshot.target_signal].worse
    found = np.zeros(count)
    for i in range(count):
        for k, spec in enumerate(snapshot.signals):
            if spec.worse and spec.kind is not SignalKind.RATE:
                found[i] = max(found[i], _rank_correlation(rows[:, i, k] * spec.worse, alarm, signed=True))
    return found


def _rank_correlation(one: FloatArray, other: FloatArray, *, signed: bool = False) -> float:
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < 8 or np.ptp(one[both]) == 0 or np.ptp(other[both]) == 0:  # noqa: PLR2004 - as NEEDED_ROWS
        return 0.0
    ranks = [np.argsort(np.argsort(each[both], kind="stable"), kind="stable").astype(float) for each in (one, other)]
    found = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    return found if signed else abs(found)


def _all_of(dependency: int, dependants: Sequence[int], edges: IntArray) -> bool:
    everyone = {i for i, j in edges.tolist() if j == dependency and i != j}
    return len(dependants) > 1 and everyone <= set(dependants)


def _words(k: int, found: CausalScores, snapshot: Snapshot) -> tuple[tuple[str, ...], tuple[str, ...]]:
    own, gap, blame = (float(found.parts[name][k]) for name in ("own", "gap", "blame"))
    because, against = [], []
    if found.worst[k] < 0:
        against.append("nothing of it was measured")
    elif found.strays[k] >= STRAYS:
        name = snapshot.signals[int(found.worst[k])].name
        because.append(f"{name} strays {found.strays[k]:.1f} robust deviations toward worse")
    else:
        against.append("no signal of it strays")
    if gap > 0 and own >= np.log1p(STRAYS):
        because.append("what it depends on does not explain that")
    elif own >= np.log1p(STRAYS):
        against.append("what it depends on strays as much or more")
    if blame > 0.5:  # noqa: PLR2004 - more than half of the symptoms
        because.append("who depends on it strays, and few others do")
    return tuple(because), tuple(against)
