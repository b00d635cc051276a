"""The causal score as an engine of diagnosis: nothing in it is learned, so it answers from the first minute on."""

from __future__ import annotations

from models.causal import CausalAnalysisEngine
from models.diagnosing import Ranking
from models.snapshot import Snapshot

METHOD = "causal score"


class CausalEngine:
    """Ranks by dependencies and deviations alone.

    Args:
        analysis: With a calibration, if one was fitted; by default it was set by hand and claims little.
    """

    def __init__(self, analysis: CausalAnalysisEngine | None = None) -> None:
        self._analysis = analysis or CausalAnalysisEngine()

    def rank(self, snapshot: Snapshot) -> Ranking:
        """Weigh the elements against each other; raises as the port says."""
        found = self._analysis.identify_root_causes(snapshot)
        return Ranking(
            METHOD,
            {one.element: one.confidence for one in found.suspects},
            found.no_visible_root,
            None,
            found.candidates,
            {one.element: one.because for one in found.suspects},
            {one.element: one.against for one in found.suspects},
        )
