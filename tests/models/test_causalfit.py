from __future__ import annotations

import numpy as np
import pytest

from models.calibration import SHIPPED_SHARPNESS, Calibration
from models.causal import WEIGHTS, causal_scores
from models.causalfit import causal_parts, fit_causal
from tests.models.incidents import chain


def test_parts_weighed_as_shipped_are_the_causal_score():
    snapshot = chain(1, root=1).snapshot
    assert np.allclose(causal_parts(snapshot) @ np.array(list(WEIGHTS.values())), causal_scores(snapshot).total)


def test_many_tries_of_one_root_change_the_shipped_weights_less_than_as_many_roots():
    one_root = [chain(k, root=1) for k in range(8)]
    many = [chain(k, root=k % 6, others=3) for k in range(24)]
    shipped = np.log(SHIPPED_SHARPNESS * np.array(list(WEIGHTS.values())))
    moved = [np.abs(np.log(fit_causal(cases).weights) - shipped).max() for cases in (one_root, many)]
    assert moved[0] < moved[1]
    assert moved[0] < 0.35


def test_a_candidate_set_is_promised_only_after_five_roots():
    assert fit_causal([chain(k, root=k % 4) for k in range(12)]).threshold == 0
    assert fit_causal([chain(k, root=k % 6) for k in range(18)]).threshold > 0


def test_one_root_leaves_about_the_confidence_that_other_systems_taught():
    snapshot = chain(30, root=2).snapshot
    parts, total = causal_parts(snapshot), causal_scores(snapshot).total
    fitted = fit_causal([chain(k, root=1) for k in range(8)]).confidence(parts)[0].max()
    assert fitted == pytest.approx(Calibration.shipped().in_view().confidence(total)[0].max(), abs=0.1)


def test_no_incident_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        fit_causal([])
