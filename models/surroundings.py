"""The part of a snapshot that offline validation looks at, and how it is handed to dowhy.

At most 12 elements around the suspects, each by the signal of its own that strayed most among those that moved in the
past: a signal that never moved tells nothing about who moves with whom.
"""

from __future__ import annotations

import random
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.causal import causal_scores
from models.errors import ToolMissing
from models.fitting import INSTALL
from models.signals import BoolArray, baseline, distances, median_of_measured, window
from models.snapshot import FloatArray, Snapshot

# Shuffled graphs cost by the square of the elements, Shapley values by 25 permutations of them.
MOST_ELEMENTS = 12
# The newest rows; more past costs more and says what was long ago.
MOST_ROWS = 500
_SUSPECTS = 3
# An element that was not measured in a fifth of the rows would cost all the others those rows.
_MEASURED = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The part looked at: `columns` are deviations toward worse, (rows, n); edges are (cause, effect) places in it."""

    names: tuple[str, ...]
    past: FloatArray
    now: FloatArray
    edges: tuple[tuple[int, int], ...]
    target: int | None
    signals: dict[str, str]
    left_out: dict[str, str]


def part_of(snapshot: Snapshot, around: Sequence[str]) -> Part:
    """Return the surroundings of the target, of the elements `around`, and of the likeliest roots.

    Raises:
        NotEnoughHistory: the past is too short to say what is normal.
    """
    found = causal_scores(snapshot)
    first = sorted(range(len(snapshot.elements)), key=lambda k: (-found.total[k], snapshot.elements[k]))[:_SUSPECTS]
    wished = [snapshot.elements.index(name) for name in around if name in snapshot.elements]
    seen = snapshot.target if snapshot.target is not None else _farthest(found.strays)
    chosen = _near([*([] if seen is None else [seen]), *wished, *first], snapshot)
    normal = baseline(snapshot)
    past = distances(snapshot.before(), normal)[-MOST_ROWS:]
    now = median_of_measured(distances(snapshot, normal, rows=window(snapshot)))
    names: list[str] = []
    columns, shown, signals, left_out = [], [], {}, {}
    kept: dict[int, int] = {}
    directed = np.array([spec.worse != 0 for spec in snapshot.signals])
    for k in chosen:
        name = snapshot.elements[k]
        column = _telling(past[:, k], now[k], directed)
        if column is None:
            left_out[name] = "no signal of it was measured throughout and moved in the past"
            continue
        kept[k] = len(names)
        names.append(name)
        columns.append(past[:, k, column])
        shown.append(now[k, column])
        signals[name] = snapshot.signals[column].name
    together = np.stack(columns, axis=1) if columns else np.empty((len(past), 0))
    together = together[np.isfinite(together).all(axis=1)]
    pairs = sorted((kept[j], kept[i]) for i, j in snapshot.edges.tolist() if i in kept and j in kept and i != j)
    return Part(
        tuple(names), together, np.array(shown), tuple(pairs), kept.get(-1 if seen is None else seen), signals, left_out
    )


def _farthest(strays: FloatArray) -> int | None:
    return int(np.nanargmax(strays)) if np.isfinite(strays).any() else None


def _near(start: Sequence[int], snapshot: Snapshot) -> list[int]:
    """Return the elements nearest to those of the start, in order: what they depend on, and who depends on them."""
    beside: dict[int, list[int]] = {}
    for i, j in snapshot.edges.tolist():
        beside.setdefault(i, []).append(j)
        beside.setdefault(j, []).append(i)
    queue, found = deque(dict.fromkeys(start)), list(dict.fromkeys(start))
    while queue and len(found) < MOST_ELEMENTS:
        for one in sorted(beside.get(queue.popleft(), []), key=lambda k: snapshot.elements[k]):
            if one not in found:
                found.append(one)
                queue.append(one)
    return found[:MOST_ELEMENTS]


def _telling(past: FloatArray, now: FloatArray, directed: BoolArray) -> int | None:
    """Return the signal that strays most now, of those that were measured and moved in the past; past is (rows, S).

    One that knows which way is worse goes before any that can only be strange.
    """
    measured = np.isfinite(past)
    tells = (measured.mean(axis=0) >= _MEASURED) & np.isfinite(now)
    moved = [k for k in np.nonzero(tells)[0].tolist() if np.ptp(past[measured[:, k], k]) > 0]
    return max(moved, key=lambda k: (directed[k], now[k], -k)) if moved else None


# --- dowhy's own terms


def digraph(part: Part) -> Any:
    """Return cause -> effect over places: numbers, for dowhy keeps names in sets, and texts are hashed by chance."""
    import networkx as nx  # noqa: PLC0415 - offline only

    graph: Any = nx.DiGraph()
    graph.add_nodes_from(range(len(part.names)))
    graph.add_edges_from(part.edges)
    return graph


def frame_of(part: Part) -> Any:
    """Return the past as a table of pandas, its columns called as `digraph` calls the elements."""
    import pandas as pd  # noqa: PLC0415 - comes with the extra `learning`

    return pd.DataFrame(part.past, columns=range(len(part.names)))


def in_text(part: Part) -> tuple[Any, Any]:
    """Return graph and past with texts for names, which half of dowhy insists on; `place_of` reads them."""
    import networkx as nx  # noqa: PLC0415 - offline only

    called = {k: f"e{k}" for k in range(len(part.names))}
    return nx.relabel_nodes(digraph(part), called), frame_of(part).rename(columns=called)


def place_of(called: str) -> int:
    """Return the place that `in_text` gave this name."""
    return int(called.removeprefix("e"))


@contextmanager
def quiet_and_seeded(seed: int) -> Iterator[None]:
    """Seed what dowhy draws from, which is the process's own generators, and give them back as they were."""
    try:
        from dowhy import gcm  # noqa: PLC0415 - the extra `learning`
    except ImportError as error:
        raise ToolMissing("dowhy", INSTALL) from error
    gcm.config.disable_progress_bars()
    gcm.config.set_default_n_jobs(1)  # a pool of processes costs more than it saves here, and is nobody's to start
    before = random.getstate(), np.random.get_state()  # noqa: NPY002 - as the docstring says
    gcm.util.general.set_random_seed(seed)
    try:
        with warnings.catch_warnings():
            # dowhy 0.14 uses what pandas 3 will drop.
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002 - as above
