"""The figures of the analysis benchmark mean what they are called."""

from __future__ import annotations

import numpy as np
import pytest

from models.causalengine import CausalEngine
from tests.bench.analysis_detectors import vus_pr
from tests.bench.analysis_mesh import busy_window, mesh_of_size

LABELS = np.zeros(2000, dtype=np.int8)
LABELS[500:540] = LABELS[1200:1260] = 1


def test_a_perfect_score_is_near_one_and_chance_near_the_share_of_anomalies():
    assert vus_pr(LABELS.astype(float), LABELS) > 0.75
    assert vus_pr(np.random.default_rng(1).random(2000), LABELS) < 0.15


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
    window, now, ill, per_sample_us = busy_window(mesh, share, np.random.default_rng(2))
    snapshot = window.snapshot(now, since=now - 4)
    assert ill <= set(snapshot.elements)
    assert per_sample_us > 0
    ranking = CausalEngine().rank(snapshot)
    assert max(ranking.confidence, key=lambda one: ranking.confidence[one]) in ill
