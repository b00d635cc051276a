"""Turn a snapshot into what the graph model reads: how far each element strays, and who depends on whom.

Nothing here knows an element's name, its place in the list, its degree or which signals a system happens to have, so
that a model fitted on one system can be asked about another. What was not measured counts as nothing: silence is no
symptom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.signals import NEEDED_ROWS, baseline, deviation, squash, window
from models.snapshot import FloatArray, IntArray, Kind, SignalKind, Snapshot

# An onset counts from here on (Iglewicz and Hoaglin, 1993).
STRAYS = 3.5
# Within one robust deviation is where normal lives.
RARE_FROM = 1.0
# A logarithm of deviations reaches log(101); a network learns best near 1.
SQUASHED = 3.0

COLUMNS = (
    *(f"{kind.value} worst" for kind in SignalKind),
    "worst",
    "second worst",
    "mean of three worst",
    "mean",
    "strangest",
    "peak",
    "rarest",
    "mean rarity",
    "earliness",
    "share of the worst in view",
    "gap to dependencies",
    "gap to dependents",
    "moves with the target",
    "is the target",
    "the target depends on it",
    "is a link",
)
# Those that tell of the alarm. Where it was raised is not always known, so training hides them now and then.
ABOUT_TARGET = tuple(
    COLUMNS.index(name) for name in ("moves with the target", "is the target", "the target depends on it")
)


# Two robust deviations, squashed: below this an element shows nothing of its own.
SHOWS = float(np.log1p(2.0)) / SQUASHED
# What showing nothing costs an element, nats. Fitted without it, the model took quiet neighbours of what strays for
# hidden roots, and on the training side of a real system that was wrong nearly every time.
QUIET_COST = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class GraphInputs:
    """What the model reads.

    Attributes:
        features: (N, len(COLUMNS)), each about 0..2.5; 0 is normal or not measured.
        edges: (E, 2), `[i, j]`: i depends on j.
    """

    features: FloatArray
    edges: IntArray


def graph_inputs(snapshot: Snapshot) -> GraphInputs:
    """Describe every element of a snapshot by how far it strays, in the rows known when the alarm was raised.

    Raises:
        NotEnoughHistory: a signal other than a count of events was measured, and the past is too short.
    """
    away = deviation(snapshot, baseline(snapshot), rows=window(snapshot))
    undirected = np.array([spec.worse == 0 for spec in snapshot.signals], dtype=bool)
    # Where either way is only strange, strangeness counts by half: it is weaker evidence than being worse.
    z = np.where(undirected, away.z / 2, away.z)
    typical = _middle(z)
    if snapshot.trigger is not None:
        # The alarm's own row, the last of the window, counts as much as all before it: it is the one somebody saw.
        typical = np.where(np.isnan(z[-1]), typical, (typical + _silent_as_zero(z[-1])) / 2)
    # Being rare by a hair is nothing: a constant signal that moves in its last digit.
    rarity = np.where(np.abs(typical) > RARE_FROM, _middle(away.tail), 0.0) / SQUASHED
    bad = _squashed(np.maximum(typical, 0.0))
    ranked = -np.sort(-np.pad(bad, ((0, 0), (0, 3))), axis=1)
    worst = ranked[:, 0]
    measured = np.maximum(np.isfinite(z).any(axis=0).sum(axis=1), 1)
    beyond = _silent_as_zero(z) > STRAYS
    onset = np.where(beyond.any(axis=0), 1.0 - beyond.argmax(axis=0) / len(z), 0.0)
    columns = [_worst_of_kind(bad, snapshot, kind) for kind in SignalKind]
    columns += [worst, ranked[:, 1], ranked[:, :3].mean(axis=1), bad.sum(axis=1) / measured]
    columns += [_squashed(_greatest(np.abs(typical))), _squashed(_greatest(_silent_as_zero(z).max(axis=0)))]
    columns += [_greatest(rarity), rarity.sum(axis=1) / measured, _greatest(np.where(typical > STRAYS, onset, 0.0))]
    columns += [worst / max(float(worst.max()), np.finfo(float).tiny)]
    columns += [worst - _most_of(worst, snapshot.edges), worst - _most_of(worst, snapshot.edges[:, ::-1])]
    columns += [
        *_about_target(snapshot, typical),
        np.array([kind is Kind.LINK for kind in snapshot.kinds], dtype=float),
    ]
    return GraphInputs(np.stack(columns, axis=1), snapshot.edges)


def cost_of_quiet(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (N,) what is taken off each element's logit for showing nothing of its own: QUIET_COST..0."""
    own = np.maximum(features[:, COLUMNS.index("worst")], features[:, COLUMNS.index("strangest")])
    return (QUIET_COST * np.clip(1.0 - own / SHOWS, 0.0, 1.0)).astype(np.float32)


def _silent_as_zero(scores: FloatArray) -> FloatArray:
    return np.where(np.isfinite(scores), scores, 0.0)


def _middle(scores: FloatArray) -> FloatArray:
    """Return (N, S) the median over rows of what was measured, 0 where nothing was."""
    held = np.isfinite(scores)
    ordered = np.sort(np.where(held, scores, np.inf), axis=0)
    count = held.sum(axis=0)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0)[None] // 2, axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(scores) - 1)[None], axis=0)[0]
    return np.where(count > 0, (_silent_as_zero(low) + _silent_as_zero(high)) / 2, 0.0)


def _squashed(z: FloatArray) -> FloatArray:
    return squash(z) / SQUASHED


def _greatest(scores: FloatArray) -> FloatArray:
    greatest: FloatArray = scores.max(axis=1, initial=0.0)
    return greatest


def _worst_of_kind(bad: FloatArray, snapshot: Snapshot, kind: SignalKind) -> FloatArray:
    chosen = [place for place, spec in enumerate(snapshot.signals) if spec.kind is kind]
    return _greatest(bad[:, chosen])


def _most_of(score: FloatArray, edges: IntArray) -> FloatArray:
    """Return (N,) the largest score among those each element points to along the edges; 0 without any."""
    most = np.zeros_like(score)
    others = edges[edges[:, 0] != edges[:, 1]]
    np.maximum.at(most, others[:, 0], score[others[:, 1]])
    return most


def _about_target(snapshot: Snapshot, typical: FloatArray) -> list[FloatArray]:
    count = len(snapshot.elements)
    together, is_target, below = np.zeros(count), np.zeros(count), np.zeros(count)
    if snapshot.target is None:
        return [together, is_target, below]
    is_target[snapshot.target] = 1.0
    below = _reached_from(snapshot.target, snapshot.edges, count)
    signal = snapshot.target_signal
    if signal is None:
        signal = int(np.argmax(np.abs(typical[snapshot.target])))
    return [_moves_with(snapshot, snapshot.target, signal), is_target, below]


def _reached_from(start: int, edges: IntArray, count: int) -> FloatArray:
    reached = np.zeros(count)
    reached[start] = 1.0
    while True:
        more = edges[(reached[edges[:, 0]] > 0) & (reached[edges[:, 1]] == 0), 1]
        if not more.size:
            return reached
        reached[more] = 1.0


def _moves_with(snapshot: Snapshot, target: int, signal: int) -> FloatArray:
    """Return (N,) the largest |rank correlation| of an element's signals with the alarm's signal, 0..1."""
    # No later row than the alarm's: what came after was not known.
    last = snapshot.split + (window(snapshot).stop or len(snapshot.now))
    values = snapshot.values[:last]
    alarm = values[:, target, signal]
    rows = np.isfinite(alarm)
    if rows.sum() < NEEDED_ROWS:
        return np.zeros(values.shape[1])
    flat = values[rows].reshape(int(rows.sum()), -1)
    held = np.isfinite(flat)
    # A gap is put at the signal's own median rank: it speaks neither for nor against.
    ranks = np.argsort(np.argsort(np.where(held, flat, np.inf), axis=0), axis=0).astype(float)
    ranks = np.where(held, ranks - (held.sum(axis=0) - 1) / 2, 0.0)
    # Ties would get the order of rows for a rank: a signal that hardly ever changes has none.
    ordered = np.sort(np.where(held, flat, np.inf), axis=0)
    with np.errstate(invalid="ignore"):
        steady = (np.diff(ordered, axis=0) > 0).sum(axis=0) + 1 < NEEDED_ROWS
    own = np.argsort(np.argsort(alarm[rows])).astype(float)
    own -= own.mean()
    norm = np.sqrt((ranks**2).sum(axis=0) * (own**2).sum())
    together = np.abs(own @ ranks) / np.where(norm > 0, norm, 1.0)
    together[steady] = 0.0
    greatest: FloatArray = together.reshape(values.shape[1:]).max(axis=1)
    return greatest
