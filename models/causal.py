"""Causal analysis: which element made the others look bad, from dependencies and deviations alone.

Nothing here is learned, so it also answers for a system that nobody has seen before. Where answers with known truth
exist, `models.ranking` blends this score with what was learned, and `models.calibration` states the confidence.

The score of an element is a weighted sum of parts (`models.causalparts` says how each is computed):

- own: how far its worst signal strays; resource: the same of its processor, memory and the like, which no dependency
  makes stray;
- unexplained: the share of its straying that its own dependencies do not show;
- blame: who depends on it strays, and few others do; outward: who depends on it says so of its dependencies;
- starves: what it calls gets fewer requests than before, for no reason of its own;
- and where it is known where an alarm was raised, and of which signal: reach: straying elements join it to the alarm;
  moves: its signal moves with the alarm's; apart: -1 where the alarm's element does not depend on it at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.calibration import Calibration
from models.causalparts import (
    STRAYS,
    accused,
    agreement,
    blame,
    most_of_dependencies,
    others,
    reach,
    starves,
    strays_share,
    unexplained,
)
from models.incident import Cause, FaultKind
from models.planning import CATALOGUE
from models.signals import (
    NEEDED_ROWS,
    Baseline,
    BoolArray,
    baseline,
    distances,
    median_of_measured,
    squash,
    window,
)
from models.snapshot import FloatArray, IntArray, Kind, SignalKind, Snapshot

# Correlation needs a few rows of the past around the incident, and more of it only waters it down.
_MOVES_ROWS = 24
# Nats of log odds for one unit of each part. Set by hand: first fitted to simulated incidents, then rounded so that
# PetShop's training sides and Nezha (by left-out roots) are ranked no worse; docs/rca.md says what came of it.
WEIGHTS: Mapping[str, float] = {
    "own": 0.6,
    "resource": 0.5,
    "unexplained": 1.0,
    "blame": 1.2,
    "outward": 1.0,
    "starves": 1.3,
    "reach": 1.5,
    "moves": 2.0,
    "apart": 4.0,
}
# Signals without a direction (a rate that rose) are strange rather than bad.
_STRANGE = 0.3
_CARRIED = (SignalKind.LATENCY, SignalKind.ERRORS, SignalKind.EVENT)
_CALLED = (Kind.SERVICE, Kind.INSTANCE)


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
    """Every part of every element's score, (N,) each.

    Attributes:
        parts: By name, as the module's docstring lists them; >= 0 but `apart`, which is -1 or 0.
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
        calibration: Turns scores into confidences; by default the shipped one, fitted over other systems.
    """

    def __init__(self, calibration: Calibration | None = None) -> None:
        self._calibration = calibration or Calibration.shipped()

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
            worst = _by_element(distances(snapshot.before(), baseline(snapshot)), snapshot)
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
        beneath = most_of_dependencies(np.nan_to_num(found.strays), snapshot.edges) >= STRAYS
        order = sorted(range(len(ranked)), key=lambda k: (-ranked[k], snapshot.elements[k]))
        suspects = tuple(
            Suspect(
                snapshot.elements[k],
                float(confidence[k]),
                float(ranked[k]),
                *_words(k, found, snapshot, beneath=bool(beneath[k])),
            )
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


def causal_scores(snapshot: Snapshot, *, normal: Baseline | None = None) -> CausalScores:
    """Score every element of a snapshot.

    Args:
        snapshot: What was seen.
        normal: From `baseline`, where it is at hand.

    Raises:
        NotEnoughHistory: the past is too short to say what is normal.
    """
    normal = normal or baseline(snapshot)
    level = _lasting(distances(snapshot, normal, rows=window(snapshot)))
    directed = np.array([spec.worse != 0 for spec in snapshot.signals])
    weighted = level * np.where(directed, 1.0, _STRANGE)
    shown = np.nan_to_num(weighted, nan=-np.inf)
    worst = np.where(np.isfinite(shown).any(axis=1), shown.argmax(axis=1), -1)
    strays = np.where(worst >= 0, shown.max(axis=1), np.nan)
    parts = _parts(snapshot, normal, level, directed)
    total = np.sum([WEIGHTS[name] * part for name, part in parts.items()], axis=0)
    return CausalScores(parts, total, worst, strays)


def _parts(snapshot: Snapshot, normal: Baseline, level: FloatArray, directed: BoolArray) -> dict[str, FloatArray]:
    edges, target = snapshot.edges, snapshot.target
    away = squash(np.maximum(np.nan_to_num(level), 0.0)) * np.where(directed, 1.0, _STRANGE)
    inward = np.array([not spec.outward for spec in snapshot.signals])
    gauge = np.array([spec.kind is SignalKind.GAUGE for spec in snapshot.signals])
    carried = directed & inward & np.array([spec.kind in _CARRIED for spec in snapshot.signals])
    # Who depends on nobody in view has nobody else to blame for what it waits for.
    last = np.isin(np.arange(len(away)), others(edges)[:, 0], invert=True)
    own = np.where(last, away.max(axis=1, initial=0.0), _most(away, inward))
    alarm = _alarm_signal(snapshot, away, carried)
    view = _most(away, carried) if alarm is None else away[:, alarm]
    called = np.array([kind in _CALLED for kind in snapshot.kinds])
    calls = edges[called[edges].all(axis=1)]
    parts = {
        "own": own,
        "resource": _most(away, directed & gauge),
        "unexplained": unexplained(view, edges),
        "blame": blame(view, edges),
        "outward": accused(_most(away, ~inward), edges),
        "starves": starves(_fewer(snapshot, normal), view, calls),
        "reach": np.zeros(len(own)),
        "moves": np.zeros(len(own)),
        "apart": np.zeros(len(own)),
    }
    if target is not None:
        measured = np.isfinite(level).any(axis=1) if alarm is None else np.isfinite(level[:, alarm])
        parts["reach"], needed = reach(np.where(measured, strays_share(view), np.nan), edges, target)
        parts["apart"] = np.where(needed, 0.0, -1.0)
    if target is not None and alarm is not None and snapshot.split >= NEEDED_ROWS:
        end = snapshot.split + len(snapshot.now[window(snapshot)])
        rows = snapshot.values[max(snapshot.split - _MOVES_ROWS, 0) : end, :, alarm]
        parts["moves"] = agreement(rows, target) * np.minimum(own, 1.0)
    return parts


def _most(away: FloatArray, signals: BoolArray) -> FloatArray:
    """(N,) the greatest over some signals; 0 where there are none."""
    return np.asarray(away[:, signals].max(axis=1, initial=0.0))


def _alarm_signal(snapshot: Snapshot, away: FloatArray, carried: BoolArray) -> int | None:
    """Return the alarm's signal; where only its element is known, the one in which that strays most, if it does."""
    if snapshot.target is None or snapshot.target_signal is not None:
        return None if snapshot.target is None else snapshot.target_signal
    seen = np.where(carried, away[snapshot.target], 0.0)
    return int(seen.argmax()) if seen.max() > np.log1p(STRAYS) else None


def _fewer(snapshot: Snapshot, normal: Baseline) -> FloatArray:
    """(N,) squashed deviation of request rates toward less, the most over them."""
    rates = [k for k, spec in enumerate(snapshot.signals) if spec.kind is SignalKind.RATE]
    if not rates:
        return np.zeros(len(snapshot.elements))
    away = snapshot.now[window(snapshot)][:, :, rates] - normal.median[:, rates]
    scale = normal.scale[:, rates]
    less = -median_of_measured(away) / np.where(scale > 0, scale, np.nan)
    return np.asarray(squash(np.maximum(np.nan_to_num(less), 0.0)).max(axis=1))


def _lasting(z: FloatArray) -> FloatArray:
    """(N, S): the greater of the medians over all rows and over the newest half of them.

    What has just begun counts; one spike does not, also where a row is a second and hundreds of them are at hand.
    """
    return np.asarray(np.fmax(median_of_measured(z), median_of_measured(z[-max(len(z) // 2, 1) :])))


def _by_element(z: FloatArray, snapshot: Snapshot) -> FloatArray:
    """(rows, N): the worst directed signal of each element."""
    directed = [k for k, spec in enumerate(snapshot.signals) if spec.worse]
    return np.asarray(np.nan_to_num(z[:, :, directed], nan=0.0).max(axis=2, initial=0.0))


def _rank_correlation(one: FloatArray, other: FloatArray) -> float:
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < 8 or np.ptp(one[both]) == 0 or np.ptp(other[both]) == 0:  # noqa: PLR2004 - as NEEDED_ROWS
        return 0.0
    ranks = [np.argsort(np.argsort(each[both], kind="stable"), kind="stable").astype(float) for each in (one, other)]
    return abs(float(np.corrcoef(ranks[0], ranks[1])[0, 1]))


def _all_of(dependency: int, dependants: Sequence[int], edges: IntArray) -> bool:
    everyone = {i for i, j in edges.tolist() if j == dependency and i != j}
    return len(dependants) > 1 and everyone <= set(dependants)


def _words(
    k: int, found: CausalScores, snapshot: Snapshot, *, beneath: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    alone, blamed, said = (float(found.parts[name][k]) for name in ("unexplained", "blame", "outward"))
    strays = found.strays[k] >= STRAYS
    because, against = [], []
    if found.worst[k] < 0:
        against.append("nothing of it was measured")
    elif strays:
        name = snapshot.signals[int(found.worst[k])].name
        because.append(f"{name} strays {found.strays[k]:.1f} robust deviations toward worse")
    else:
        against.append("no signal of it strays")
    if alone > 0.5:  # noqa: PLR2004 - more than half of what it shows
        because.append("what it depends on does not explain that")
    elif strays and beneath:
        against.append("what it depends on strays as well")
    if blamed > 0.5:  # noqa: PLR2004 - more than half of the symptoms
        because.append("who depends on it strays, and few others do")
    if said > 0:
        because.append("who depends on it waits for its dependencies")
    if found.parts["starves"][k] > 1:
        because.append("what it calls gets fewer requests, and it does not")
    if found.parts["apart"][k]:
        against.append("where the alarm was raised nothing depends on it")
    return tuple(because), tuple(against)
