"""Validating an incident of a lab's own samples: kept with it, with what could not be told and why."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from flows.validating import ValidateParameters, validate_causes
from infra.settings import Settings
from models.errors import ConfigurationInvalid
from models.incident import Incident, IncidentId, IncidentState, Symptom, SymptomKind
from models.mesh import Element, LinkId
from models.remedy import Limits
from models.validation import Standing, told
from tasks import validating
from tasks.diary import unreported
from tasks.wiring import Adapters, using
from tests.fakes.store import FakeStore
from tests.infra.api.world import MESH
from tests.models.samples import START, Flow, World, lossy

BROKEN = LinkId("n0--n1")
BEGAN = START + timedelta(seconds=30)


class StandingClock:
    at = START + timedelta(seconds=60)

    def now(self):
        return self.at


@pytest.fixture
def store():
    store = FakeStore()
    world = Adapters(
        settings=Settings(), clock=StandingClock(), store=store, database="", signer=None, limits=Limits(), epoch=1
    )
    with using(world), unreported():
        yield store


async def closed(store: FakeStore, name: str, *, minutes_ago: float = 0) -> IncidentId:
    symptom = Symptom(Element.of_link(BROKEN), SymptomKind.LOSS, BEGAN, BEGAN + timedelta(seconds=4), 20.0, {})
    at = StandingClock.at - timedelta(minutes=minutes_ago)
    incident = Incident(IncidentId(name), "lab", IncidentState.CLOSED, BEGAN, (symptom,), at)
    async with store.unit() as unit:
        await unit.incidents.save(incident)
    return incident.id


async def measured(store: FakeStore) -> None:
    """A lossy link after half a minute, as the collectors saw it."""
    world = World(MESH, np.random.default_rng(2), flows=[Flow("n0", "n2", 50)])
    world.harm = lossy("n0--n1", 0.5, start=30)
    async with store.unit() as unit:
        await unit.meshes.save(MESH)
        await unit.samples.add("lab", [one for _, batch in world.run(35) for one in batch])


async def test_an_incident_is_validated_on_its_own_samples_and_the_result_is_kept_with_it(store):
    pytest.importorskip("dowhy", reason="dowhy is not installed: the extra `learning`")
    await measured(store)
    incident = await closed(store, "i1")
    record = await validating.validate_incident(incident)
    async with store.unit() as unit:
        assert await unit.validations.of(incident) == record
    assert record.validation is not None
    assert record.validation.rows > 0
    assert record.validation.versions["dowhy"] == "0.14"
    # Half a minute of past is too little to call any dependency of it doubtful.
    assert {one.standing for one in record.validation.edges} <= {Standing.KEPT, Standing.UNTOLD}
    assert record.validation.attribution.shares[0].element == "link:n0--n1"
    assert told(record)[-1].endswith("dowhy 0.14, numpy " + record.validation.versions["numpy"])


async def test_an_incident_whose_samples_are_gone_is_kept_with_why_it_was_not_validated(store):
    async with store.unit() as unit:
        await unit.meshes.save(MESH)
    incident = await closed(store, "i1")
    record = await validating.validate_incident(incident)
    assert record.validation is None
    assert "12 are needed" in record.why_not
    assert told(record) == [f"  not validated: {record.why_not}"]


async def test_an_incident_nobody_knows_is_refused(store):
    with pytest.raises(ConfigurationInvalid, match="no incident nowhere"):
        await validate_causes.fn(ValidateParameters(incident="nowhere"))


async def test_the_flow_takes_what_waits_the_longest_and_only_while_samples_are_kept(store):
    async with store.unit() as unit:
        await unit.meshes.save(MESH)
    for name, minutes in (("new", 1), ("old", 50), ("older", 55), ("gone", 61)):
        await closed(store, name, minutes_ago=minutes)
    assert list(await validate_causes.fn(ValidateParameters(at_most=2))) == ["older", "old"]
    assert list(await validate_causes.fn(ValidateParameters(at_most=2))) == ["new"]
    assert await validate_causes.fn(ValidateParameters()) == {}
