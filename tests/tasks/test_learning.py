"""Learning on a fake store: killed and gone on with, judged, promoted or not; and asking what serves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows.learning import AnalyzeParameters, TrainParameters, analyze_incident, train_graphsage
from infra.settings import Settings
from infra.shipped import shipped_weights
from models.casefile import snapshot_document
from models.errors import ConfigurationInvalid, WeightsCorrupt
from models.fitting import FitConfig
from models.promotion import Score, Verdict
from models.remedy import Limits
from models.simulation import simulated
from tasks import learning
from tasks.diary import unreported
from tasks.wiring import Adapters, using
from tests.fakes.store import FakeStore
from tests.models.samples import START

CONFIG = FitConfig(seed=2, epochs=2, hidden=8, batch=16)
CASE = next(iter(simulated(1, seed=5)))


class FakeClock:
    def now(self):
        return START


def world_of(store):
    return Adapters(
        settings=Settings(), clock=FakeClock(), store=store, database="", signer=None, limits=Limits(), epoch=1
    )


@pytest.fixture
def store():
    store = FakeStore()
    with using(world_of(store)), unreported():
        yield store


@pytest.fixture
async def assembled(store):
    return await learning.assemble("lab", incidents=40, seed=2, judged=30, sets={})


def needs_torch():
    pytest.importorskip("torch", reason="PyTorch is not installed: the extra `learning`")
    pytest.importorskip("torch_geometric", reason="PyG is not installed: the extra `learning`")


async def test_incidents_to_judge_by_are_not_those_of_the_fit(assembled):
    fitted, judged = ({one.group for one in side} for side in (assembled.fitted, assembled.judged))
    assert fitted.isdisjoint(judged)
    assert (assembled.counts["simulated"], assembled.counts["healed here"]) == (40, 0)


async def test_a_format_nobody_publishes_is_refused(store, tmp_path):
    with pytest.raises(ConfigurationInvalid, match="petshop"):
        await learning.assemble("lab", incidents=1, seed=2, judged=1, sets={"unheard": tmp_path})


async def test_a_killed_fit_goes_on_and_ends_with_the_same_weights(store, assembled, logs):
    needs_torch()
    whole = await learning.fit(assembled, CONFIG)
    run = learning.run_key(whole.data_digest, CONFIG)
    first = next(learning.epochs(assembled.fitted, CONFIG))
    store.memory.fits[run] = (first, START)
    resumed = await learning.fit(assembled, CONFIG)
    assert any(one["event"] == "fit goes on where it was stopped" and one["epoch"] == 1 for one in logs)
    assert (resumed.digest, resumed.losses) == (whole.digest, whole.losses)


async def test_a_model_worse_than_the_serving_one_is_kept_with_the_reason_but_does_not_serve(store, assembled):
    needs_torch()
    fitted = await learning.fit(assembled, CONFIG)
    judged = await learning.promote(await learning.evaluate(fitted, assembled))
    assert not judged.verdict.is_promoted
    async with store.unit() as unit:
        assert await unit.models.promoted() is None
        (kept,) = await unit.models.recent()
        assert kept.verdict == judged.verdict.reason
        assert kept.metrics["serving"]["digest"] == shipped_weights()[1]
        assert set(kept.metrics["rules"]) == {"nsigma", "random", "traversal"}
        assert await unit.models.checkpoint(learning.run_key(fitted.data_digest, CONFIG)) is None


async def test_a_promoted_model_serves_and_a_corrupt_one_is_refused(store, assembled):
    needs_torch()
    fitted = await learning.fit(assembled, CONFIG)
    await learning.evaluate(fitted, assembled)
    passed = learning.Judged(fitted.digest, Score(1.0, 1.0, 0.1, 10), Verdict(is_promoted=True, reason="fine"))
    shipped = (await learning.serving_detector()).model
    await learning.promote(passed)
    assert (await learning.serving_detector()).model.shape.hidden == 8 != shipped.shape.hidden
    known = store.memory.models[fitted.digest]
    store.memory.models[fitted.digest] = replace(known, weights=known.weights[:-1] + b"!")
    with pytest.raises(WeightsCorrupt):
        await learning.serving_detector()


async def test_the_flow_learns_and_lets_nothing_serve_in_a_dry_run(store):
    needs_torch()
    judged = await train_graphsage.fn(TrainParameters(incidents=30, judged=30, epochs=1))
    async with store.unit() as unit:
        assert await unit.models.promoted() is None
        assert [one.digest for one in await unit.models.recent()] == [judged.digest]


async def test_an_incident_given_as_a_document_is_analyzed(store):
    answer = await analyze_incident.fn(AnalyzeParameters(snapshot=snapshot_document(CASE.snapshot), first=3))
    assert len(answer) == 4
    assert sum(answer.values()) <= 1.0 + 1e-9


async def test_an_incident_nobody_knows_is_refused(store):
    with pytest.raises(ConfigurationInvalid, match="no incident nowhere"):
        await analyze_incident.fn(AnalyzeParameters(incident="nowhere"))
    with pytest.raises(ConfigurationInvalid, match="name one of them"):
        await analyze_incident.fn(AnalyzeParameters())
