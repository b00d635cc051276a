"""The causal score, as healing's engine port sees it, finds a grey link in a mesh's samples under any name."""

from __future__ import annotations

import pytest

from models.causalengine import METHOD, CausalEngine
from models.errors import NotEnoughHistory
from models.meshsnapshot import MeshWindow
from tests.models.samples import moment
from tests.models.test_meshsnapshot import END, FAULT, ILL, MESH, asked, grey, healthy


def test_a_grey_link_is_ranked_first_with_the_reason_and_the_shares_sum_to_one():
    ranking = CausalEngine().rank(asked(grey()))
    best = max(ranking.confidence, key=lambda one: ranking.confidence[one])
    assert (best, ranking.method) == (f"link:{ILL}", METHOD)
    assert ranking.because[best]
    assert sum(ranking.confidence.values()) + ranking.no_visible_root == pytest.approx(1.0)


def test_a_healthy_mesh_has_no_visible_root():
    ranking = CausalEngine().rank(asked(healthy()))
    assert ranking.no_visible_root > max(ranking.confidence.values())


def test_a_node_that_only_fell_silent_is_never_the_likeliest():
    silent = [one for one in healthy() if one.node != "n4" or one.at < moment(FAULT)]
    confidence = CausalEngine().rank(asked(silent, at_most=None)).confidence
    ranking = CausalEngine().rank(asked(silent, at_most=None))
    assert confidence["node:n4"] < ranking.no_visible_root
    assert max(confidence, key=lambda one: confidence[one]) != "node:n4"


def test_too_short_a_past_is_no_answer():
    window = MeshWindow(MESH)
    with pytest.raises(NotEnoughHistory):
        CausalEngine().rank(window.snapshot(moment(END).timestamp(), since=moment(FAULT).timestamp()))
