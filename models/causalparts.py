"""Parts of the causal score: what each says of every element, from deviations and dependencies alone.

Arrays only, vectorised over elements and edges. Deviations here are squashed, `log(1 + z)` toward worse, 0 where an
element shows nothing or was not measured. `view` is the deviation that dependencies carry on: in the signal that raised
the alarm where that is known, else the worst latency or error. Load of a processor is not carried on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.snapshot import FloatArray, IntArray

# Below this many robust deviations an element is one that shows nothing (Iglewicz and Hoaglin: 3.5 is an outlier).
STRAYS = 3.5
_FULL = float(np.log1p(STRAYS))
# Fewer rows in common agree by chance.
_FEWEST_COMMON = 4
# What was not measured may have carried a fault on; half as likely as what strays.
_UNMEASURED = 0.5
_TINY = float(np.finfo(float).tiny)
_ROUNDING = 1e-9


def strays_share(view: FloatArray) -> FloatArray:
    """Return (N,) how surely each strays: 0 not at all, 1 from 3.5 robust deviations on."""
    return np.minimum(view, _FULL) / _FULL


def most_of_dependencies(values: FloatArray, edges: IntArray) -> FloatArray:
    """Return (N,) the greatest value among what each element depends on, 0 where it depends on nothing."""
    found = np.zeros(len(values))
    apart = others(edges)
    np.maximum.at(found, apart[:, 0], values[apart[:, 1]])
    return found


def others(edges: IntArray) -> IntArray:
    """Return the edges without those from an element to itself."""
    return np.asarray(edges[edges[:, 0] != edges[:, 1]])


def unexplained(view: FloatArray, edges: IntArray) -> FloatArray:
    """Return (N,) 0..1: the share of each element's straying that no dependency of it shows as well.

    A caller that strays because its callee does has none; one that strays ten times as far keeps nine tenths.
    """
    z = np.expm1(view)
    explained = np.minimum(most_of_dependencies(z, edges) / np.maximum(z, _ROUNDING), 1.0)
    return np.asarray(strays_share(view) * (1.0 - explained))


def blame(view: FloatArray, edges: IntArray) -> FloatArray:
    """Return (N,) 0..1: how well `it broke` explains who strays: all of its dependants do, and few others.

    F1 of (its dependants stray) against (who strays depends on it). The only part that a silent element can have, and
    never enough alone.
    """
    apart, count = others(edges), len(view)
    share = strays_share(view)
    held, dependants, asking = np.zeros(count), np.zeros(count), np.zeros(count, dtype=bool)
    np.add.at(held, apart[:, 1], share[apart[:, 0]])
    np.add.at(dependants, apart[:, 1], 1.0)
    asking[apart[:, 0]] = True
    everything = float(share[asking].sum())
    if everything == 0:
        return np.zeros(count)
    precise, whole = held / np.maximum(dependants, 1.0), held / everything
    return np.asarray(2 * precise * whole / np.maximum(precise + whole, _TINY))


def accused(outward: FloatArray, edges: IntArray) -> FloatArray:
    """Return (N,) how far those who depend on an element stray in what they measure of their dependencies.

    A delay between caller and callee shows in nothing that the callee measures of itself: only here.

    Args:
        outward: (N,) deviation in outward signals.
        edges: (E, 2).
    """
    apart, count = others(edges), len(outward)
    clear = np.where(outward > _FULL, outward, 0.0)
    held, dependants = np.zeros(count), np.zeros(count)
    np.add.at(held, apart[:, 1], clear[apart[:, 0]])
    np.add.at(dependants, apart[:, 1], 1.0)
    everything = max(float(clear[np.unique(apart[:, 0])].sum()), _TINY)
    return np.asarray(held / np.maximum(dependants, 1.0) * (held / everything))


def starves(fewer: FloatArray, view: FloatArray, edges: IntArray) -> FloatArray:
    """Return (N,) how far the requests to what an element calls fell, beyond its own and beyond what callees broke.

    Whoever throws before calling leaves a hole below, and little else.

    Args:
        fewer: (N,) deviation of request rates toward less.
        view: (N,).
        edges: (E, 2) calls only.
    """
    return np.maximum(most_of_dependencies(fewer * (1.0 - strays_share(view)), edges) - fewer, 0.0)


def reach(share: FloatArray, edges: IntArray, target: int) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return (N,) how surely straying elements join each to the alarm, 0..1, and (N,) whether the alarm depends on it.

    The first is the least share along the best path from the alarm's element, which joins itself always: 0 for it.

    Args:
        share: (N,) of `strays_share`; NaN: not measured.
        edges: (E, 2).
        target: Where the alarm was raised; it lets pass whatever it shows itself.
    """
    apart = others(edges)
    passes = np.where(np.isnan(share), _UNMEASURED, share)
    passes[target] = 1.0
    joined, needed = np.zeros(len(share)), np.zeros(len(share), dtype=bool)
    joined[target], needed[target] = 1.0, True
    while True:
        farther, more = joined.copy(), needed.copy()
        np.maximum.at(farther, apart[:, 1], np.minimum(joined[apart[:, 0]], passes[apart[:, 1]]))
        np.logical_or.at(more, apart[:, 1], needed[apart[:, 0]])
        if np.array_equal(farther, joined) and np.array_equal(more, needed):
            found = np.minimum(joined, np.nan_to_num(share))
            found[target] = 0.0
            return found, needed
        joined, needed = farther, more


def agreement(rows: FloatArray, target: int) -> FloatArray:
    """Return (N,) correlation with the alarm's element over rows, no less than 0; 0 for that element itself.

    Pearson's, because a fault's size matters: among ranks a ripple counts as much as the fall.

    Args:
        rows: (rows, N) of the alarm's signal.
        target: Its element. With itself it always agrees, which tells nothing.
    """
    alarm = rows[:, [target]]
    known = np.isfinite(rows) & np.isfinite(alarm)
    count = np.maximum(known.sum(axis=0), 1)
    one, other = np.where(known, rows, 0.0), np.where(known, alarm, 0.0)
    one = np.where(known, one - one.sum(axis=0) / count, 0.0)
    other = np.where(known, other - other.sum(axis=0) / count, 0.0)
    one_size, other_size = np.sqrt((one**2).sum(axis=0)), np.sqrt((other**2).sum(axis=0))
    largest = np.abs(np.where(known, rows, 0.0)).max(axis=0, initial=0.0)
    # What did not move but for its last digits moves with nobody.
    moved = np.minimum(one_size / np.maximum(largest, _TINY), other_size / max(largest[target], _TINY)) > _ROUNDING
    tells = (count >= _FEWEST_COMMON) & moved
    size = one_size * other_size
    found = np.where(tells, (one * other).sum(axis=0) / np.where(tells, size, 1.0), 0.0)
    found[target] = 0.0
    return np.asarray(np.maximum(found, 0.0))
