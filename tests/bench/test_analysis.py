"""The figures of the analysis benchmark mean what they are called."""

from __future__ import annotations

import numpy as np
import pytest

from models.causal import causal_scores
from models.causalengine import CausalEngine
from models.diagnosing import Ranking
from tests.bench.analysis_detectors import BUFFERS, THRESHOLDS, _softened, vus_pr
from tests.bench.analysis_mesh import BusyMesh, cost_of_taking, mesh_of_size

LABELS = np.zeros(2000, dtype=np.int8)
LABELS[500:540] = LABELS[1200:1260] = 1


def first_of(ranking: Ranking) -> str:
    return max(ranking.confidence, key=lambda one: ranking.confidence[one])


def test_a_perfect_score_is_near_one_and_chance_near_the_share_of_anomalies():
    assert vus_pr(LABELS.astype(float), LABELS) > 0.75
    assert vus_pr(np.random.default_rng(1).random(2000), LABELS) < 0.15


@pytest.mark.parametrize("digits", [1, 9])  # with ties and without
def test_the_measure_is_what_counting_threshold_by_threshold_gives(digits):
    rng = np.random.default_rng(digits)
    labels = np.zeros(300, dtype=np.int8)
    labels[:3] = labels[50:58] = labels[61:63] = labels[290:] = 1
    scores = np.round(rng.random(300) + labels * rng.random(300), digits)
    cuts = np.sort(scores)[::-1][np.linspace(0, 299, THRESHOLDS).astype(int)]
    areas = []
    for buffer in BUFFERS:
        soft, ranges = _softened(labels.astype(bool), buffer)
        area, before = 0.0, 0.0
        for cut in cuts:
            said = scores >= cut
            found = sum(bool(said[start:end].any()) for start, end in ranges) / len(ranges)
            positives = (labels.sum() + np.where(labels, 1.0, soft * said).sum()) / 2
            recall = min(float(soft[said].sum() / positives), 1.0) * found
            area += (recall - before) * float(soft[said].sum() / said.sum())
            before = recall
        areas.append(area)
    assert vus_pr(scores, labels) == pytest.approx(np.mean(areas), rel=1e-9)


def test_buffers_that_touch_are_one_range_and_never_weigh_more_than_a_point():
    labels = np.zeros(60, dtype=bool)
    labels[[20, 25]] = True
    soft, ranges = _softened(labels, 20)
    assert ranges == [(10, 36)]
    assert soft.max() == 1.0
    assert soft[10] == pytest.approx(np.sqrt(0.5))
    assert _softened(labels, 4)[1] == [(18, 23), (23, 28)]


def test_finding_one_anomaly_of_two_is_worth_less_than_both():
    half = LABELS.astype(float)
    half[1200:1260] = 0.0
    assert vus_pr(half, LABELS) < vus_pr(LABELS.astype(float), LABELS) - 0.2


def test_missing_by_a_few_rows_costs_less_than_missing_by_many():
    near, far = np.roll(LABELS, 4).astype(float), np.roll(LABELS, 100).astype(float)
    assert vus_pr(near, LABELS) > vus_pr(far, LABELS) + 0.3


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_what_is_disturbed_in_a_busy_window_is_what_strays(share):
    mesh = mesh_of_size(60, np.random.default_rng(1))
    assert len(mesh.links) == 120
    busy = BusyMesh(mesh, share, np.random.default_rng(2))
    snapshot = busy.snapshot()
    assert busy.ill <= set(snapshot.elements)
    assert cost_of_taking(mesh) > 0
    assert first_of(CausalEngine().rank(snapshot)) in busy.ill


@pytest.mark.parametrize(("nodes", "seed"), [(100, 3), (100, 4), (1_000, 5)])
def test_asking_each_second_says_what_asking_once_says(nodes, seed):
    mesh = mesh_of_size(nodes, np.random.default_rng(seed))
    asked, unasked = (BusyMesh(mesh, 0.1, np.random.default_rng(seed)) for _ in range(2))
    for _ in range(6):
        for one in (asked, unasked):
            one.begin_second()
            one.receive()
        asked.snapshot()
    fast = CausalEngine().rank(asked.snapshot())
    # Nothing of what was kept is believed: every row is worked out anew, and what is normal learned at once.
    unasked.window._stale_from = 0
    unasked.window._link_norm._is_whole = unasked.window._node_norm._is_whole = False
    unasked.window._learn()
    slow = CausalEngine().rank(unasked.snapshot())
    assert dict(fast.confidence) == pytest.approx(dict(slow.confidence), abs=1e-9)
    assert list(fast.confidence) == list(slow.confidence)


def test_of_what_strays_a_look_at_everything_says_no_other_distance():
    busy = BusyMesh(mesh_of_size(100, np.random.default_rng(5)), 0.05, np.random.default_rng(6))
    few, everything = busy.snapshot(), busy.window.snapshot(busy.now, since=busy.since, at_most=None)
    kept = [everything.elements.index(one) for one in few.elements]
    assert busy.ill <= set(few.elements)
    assert len(kept) < len(everything.elements) / 2
    found = causal_scores(everything).strays[kept]
    np.testing.assert_allclose(causal_scores(few).strays, found, rtol=1e-9)
