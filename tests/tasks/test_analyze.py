"""Analyze: the rules diagnose; an engine decides only where it was measured better, and never stops a heal."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import structlog

from models.diagnosing import Engine, Measured, Ranking
from models.errors import ConfigurationInvalid, MeshError, NotEnoughHistory
from models.incident import Diagnosis, FaultKind
from models.mesh import Element
from models.rules import RulesDiagnostician
from models.snapshot import Snapshot
from tasks import analyze
from tasks.wiring import adapters
from tests.tasks.virtual_time import virtual_time
from tests.tasks.world import LINK, ClosedLoop, closed_loop

BETTER = {FaultKind.GREY: Measured(rules=10, engine=20, trials=20, commit="abc")}


@dataclass
class Sure:
    """An engine that is sure of one element, or cannot say."""

    element: str = f"link:{LINK}"
    confidence: float = 0.97
    refusal: MeshError | None = None
    asked: list[Snapshot] = field(default_factory=list)

    def rank(self, snapshot: Snapshot) -> Ranking:
        self.asked.append(snapshot)
        if self.refusal is not None:
            raise self.refusal
        return Ranking("digest", {self.element: self.confidence}, 1 - self.confidence)


async def diagnosed(loop: ClosedLoop, engine: Engine | None, measured: dict[FaultKind, Measured]) -> Diagnosis:
    world = adapters()
    world.engine, world.measured = engine, measured
    await loop.looking(14)
    loop.break_link()
    (incident,) = await loop.seen()
    diagnosis = await analyze.diagnose(incident)
    assert (await loop.story(incident.id)).diagnoses[-1] == diagnosis
    by_rules = RulesDiagnostician().diagnose(incident, loop.mesh, at=diagnosis.at)
    if diagnosis.method == "rules":
        assert diagnosis == by_rules
    return diagnosis


@virtual_time
async def test_without_an_engine_the_rules_diagnose():
    async with closed_loop() as loop:
        assert (await diagnosed(loop, None, BETTER)).method == "rules"


@virtual_time
async def test_an_engine_that_was_not_measured_better_is_asked_and_does_not_decide():
    async with closed_loop() as loop:
        engine = Sure(element="node:n0")
        with structlog.testing.capture_logs() as logged:
            diagnosis = await diagnosed(loop, engine, {})
        assert diagnosis.method == "rules"
        (snapshot,) = engine.asked
        assert f"link:{LINK}" in snapshot.elements
        (line,) = [one for one in logged if one["event"] == "engine ranked beside the rules"]
        assert (line["agrees"], line["engine_element"], line["rules_element"]) == (False, "node:n0", f"link:{LINK}")


@virtual_time
async def test_an_engine_that_was_measured_better_says_where():
    async with closed_loop() as loop:
        diagnosis = await diagnosed(loop, Sure(), BETTER)
        assert diagnosis.method == "digest"
        assert (diagnosis.best.element, diagnosis.best.fault) == (Element.of_link(LINK), FaultKind.GREY)
        assert diagnosis.best.confidence == pytest.approx(0.97, abs=0.3)


@virtual_time
@pytest.mark.parametrize("refusal", [NotEnoughHistory(3, 12), ConfigurationInvalid("no weights", "load some")])
async def test_an_engine_that_cannot_say_leaves_it_to_the_rules(refusal):
    async with closed_loop() as loop:
        assert (await diagnosed(loop, Sure(refusal=refusal), BETTER)).method == "rules"


@virtual_time
async def test_with_too_short_a_past_the_rules_diagnose():
    async with closed_loop() as loop:
        world = adapters()
        engine = Sure()
        world.engine = engine
        loop.break_link()
        (incident,) = await loop.seen()
        assert (await analyze.diagnose(incident)).method == "rules"
        assert engine.asked == []
