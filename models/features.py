"""Features: what a learned ranking is told of each element, and nothing that says which element it is.

No identities, no degree, no distance from the alarm: a set with few roots teaches those by heart (facts: perfect in
training, none right in test). Every column is relative, so that units, order and names do not matter.
"""

from __future__ import annotations

import numpy as np

from models.causal import causal_scores
from models.signals import baseline, deviation, squash, window
from models.snapshot import FloatArray, IntArray, SignalKind, Snapshot


def node_features(snapshot: Snapshot) -> FloatArray:
    """Return (N, F); F depends on the signals alone. 0 stands for what is not known.

    For each signal and five sums over signals: the element's own, the most among what it depends on, the most, least
    and mean among its dependants, own minus dependencies, own minus the most anywhere, and the share of all
    dependants' straying that its own dependants account for; then the parts of the causal score.

    Of alerts (events alone), for each signal: the element's own, own minus the most anywhere, and its share of all
    there are; then the parts of the causal score. Of two replicas the one that holds nearly all of a kind is told from
    the other so. Columns of neighbours are left out: kinds are many, cases few, and a tree that may choose among
    columns that say little takes the wrong one.

    Raises:
        NotEnoughHistory: the past is too short to say what is normal.
    """
    found = deviation(snapshot, baseline(snapshot), rows=window(snapshot))
    z = np.nan_to_num(squash(found.z))
    parts = causal_scores(snapshot).parts.values()
    if all(spec.kind is SignalKind.EVENT for spec in snapshot.signals):
        most = z.max(axis=0)
        return np.column_stack([most, most - most.max(axis=0), _part_of_all(most), *parts])
    lasting = np.median(z, axis=0)
    own = [lasting, z[-1], z.max(axis=0), np.nan_to_num(found.tail).mean(axis=0)]
    worst = np.sort(lasting, axis=1)[:, ::-1][:, :3]
    base = np.column_stack([lasting, worst, lasting.mean(axis=1), np.maximum(lasting, 0.0).sum(axis=1)])
    edges = snapshot.edges[snapshot.edges[:, 0] != snapshot.edges[:, 1]]
    needs, _, _ = _over(base, edges)
    most, least, mean = _over(base, edges[:, ::-1])
    columns = [*own, base, needs, most, least, mean, base - needs, base - base.max(axis=0), _share(base, edges), *parts]
    return np.column_stack(columns)


def _part_of_all(own: FloatArray) -> FloatArray:
    """(N, F) each element's share of a column that is >= 0; 0 where nobody has any."""
    total = own.sum(axis=0)
    return np.asarray(own / np.where(total > 0, total, 1.0))


def _over(base: FloatArray, edges: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Most, least and mean over the far ends of each element's edges; 0 where it has none."""
    most, least = np.full(base.shape, -np.inf), np.full(base.shape, np.inf)
    total, count = np.zeros(base.shape), np.zeros((len(base), 1))
    np.maximum.at(most, edges[:, 0], base[edges[:, 1]])
    np.minimum.at(least, edges[:, 0], base[edges[:, 1]])
    np.add.at(total, edges[:, 0], base[edges[:, 1]])
    np.add.at(count, edges[:, 0], 1.0)
    alone = count == 0
    return np.where(alone, 0.0, most), np.where(alone, 0.0, least), total / np.maximum(count, 1.0)


def _share(base: FloatArray, edges: IntArray) -> FloatArray:
    """(N, F) the share of all straying among elements with dependencies that an element's dependants hold."""
    bad = np.maximum(base, 0.0)
    held = np.zeros(base.shape)
    np.add.at(held, edges[:, 1], bad[edges[:, 0]])
    everything = bad[np.unique(edges[:, 0])].sum(axis=0)
    return np.asarray(held / np.maximum(everything, 1e-12))
