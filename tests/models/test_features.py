from __future__ import annotations

import numpy as np
import pytest

from models.features import node_features
from models.snapshot import Case, FloatArray, Kind, SignalKind, SignalSpec, Snapshot

KINDS = ("metric memory up", "log 17")


def alerts(counts: FloatArray, names: tuple[str, ...] = ("web1", "web2", "db")) -> Snapshot:
    return Snapshot(
        elements=names,
        kinds=(Kind.INSTANCE,) * len(names),
        edges=np.array([[names.index("web1"), names.index("db")]]),
        signals=tuple(SignalSpec(name, "1", 0, SignalKind.EVENT) for name in KINDS),
        times=np.zeros(1),
        values=counts[None],
        split=0,
    )


def told(counts: FloatArray) -> FloatArray:
    """(elements, own | own less the most anywhere | share of all, kinds)."""
    return node_features(alerts(counts))[:, : 3 * len(KINDS)].reshape(len(counts), 3, len(KINDS))


def test_of_two_replicas_the_one_with_nearly_all_alerts_of_a_kind_is_told_from_the_other():
    web1, web2, _ = told(np.array([[9.0, 0], [1.0, 0], [0, 0]]))[:, :, 0]
    assert web1 == pytest.approx([np.log(10), 0.0, np.log(10) / np.log(20)])
    assert web2 == pytest.approx([np.log(2), -np.log(5), np.log(2) / np.log(20)])


def test_a_kind_that_nobody_shows_says_nothing():
    assert not told(np.array([[9.0, 0], [1.0, 0], [0, 0]]))[:, :, 1].any()


def test_order_and_names_of_what_raised_alerts_change_nothing():
    counts = np.array([[9.0, 0], [1.0, 2], [0, 1]])
    order = [2, 0, 1]
    moved = alerts(counts[order], ("db", "web1", "web2"))
    assert np.allclose(node_features(moved), node_features(alerts(counts))[order])


def replicas(seed: int) -> Case:
    """Either replica raises three times as many alerts as its twin, at a level that differs between incidents."""
    rng = np.random.default_rng(seed)
    level, root = float(rng.integers(1, 40)), int(rng.integers(2))
    counts = np.array([[level, 1.0], [level, 1.0], [0, 1.0]])
    counts[root, 0] *= 3
    names = ("web1", "web2", "db")
    return Case(f"{seed}", alerts(counts), (names[root],), "memory", "train", group=names[root])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_replica_is_found_whatever_the_level_of_both():
    pytest.importorskip("sklearn", reason="needs the extra `learning`")
    from models.ranking import fit_ranker  # noqa: PLC0415 - of the extra `learning`

    ranker = fit_ranker([replicas(k) for k in range(24)], seed=1, fold_by="case", trees=20)
    for case in (replicas(k) for k in range(100, 110)):
        scores = ranker.calibration.blended(ranker.scores(case.snapshot))
        assert case.snapshot.elements[int(scores.argmax())] == case.roots[0]
