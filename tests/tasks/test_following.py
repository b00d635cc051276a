"""What incidents that are over leave to do: a fit after so many fixed with proof, once; validating those closed."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest

from flows.housekeeping import keep
from infra.settings import Settings
from models.incident import Incident, IncidentId, IncidentState, Outcome, OutcomeKind, Verdict, Verification
from models.modelstore import ModelRecord
from models.remedy import Limits
from models.validation import ValidationRecord
from tasks import following
from tasks.diary import unreported
from tasks.following import LEARN, VALIDATE, Due
from tasks.wiring import Adapters, using
from tests.fakes.store import FakeStore
from tests.models.samples import START

AFTER = 3
PLAN = "a" * 64


class MovingClock:
    def __init__(self):
        self.at = START

    def now(self):
        return self.at


class Starts:
    """As Prefect does: a key that was started before is the run that was started then."""

    def __init__(self):
        self.keys: dict[str, str] = {}

    async def __call__(self, one: Due) -> None:
        self.keys.setdefault(one.key, one.deployment)

    def of(self, deployment: str) -> int:
        return list(self.keys.values()).count(deployment)


@pytest.fixture
def clock():
    return MovingClock()


@pytest.fixture
def store(clock):
    store = FakeStore()
    settings = Settings(learn_after_incidents=AFTER)
    world = Adapters(settings=settings, clock=clock, store=store, database="", signer=None, limits=Limits(), epoch=1)
    with using(world), unreported():
        yield store


async def ended(store: FakeStore, name: str, kind: OutcomeKind = OutcomeKind.FIXED, *, mesh: str = "lab", at=START):
    incident = IncidentId(name)
    async with store.unit() as unit:
        await unit.incidents.save(Incident(incident, mesh, IncidentState.OPEN, START, ()))
        await unit.incidents.record_verification(
            Verification(incident, PLAN, at, Verdict.HEALED, 0.4, 0.0, 0.0, 0.0, (), "healed")
        )
        await unit.incidents.record_outcome(Outcome(incident, kind, "so", PLAN, at))


async def fitted(store: FakeStore, weights: bytes, at) -> None:
    record = ModelRecord(hashlib.sha256(weights).hexdigest(), weights, {}, {}, "data", at, "not promoted")
    async with store.unit() as unit:
        await unit.models.add(record)


async def asked(starts: Starts, has=lambda _: True) -> int:
    for one in await following.due(has):
        await starts(one)
    return starts.of(LEARN)


async def test_a_fit_starts_after_so_many_incidents_fixed_with_proof_and_not_twice(store):
    starts = Starts()
    for number in range(AFTER - 1):
        await ended(store, f"i{number}")
    await ended(store, "elsewhere", mesh="other")
    await ended(store, "by-itself", OutcomeKind.FIXED_BY_ITSELF)
    await ended(store, "in-vain", OutcomeKind.NO_EFFECT)
    assert await asked(starts) == 0
    await ended(store, "the-last")
    assert await asked(starts) == 1
    assert await asked(starts) == 1
    await ended(store, "one-more")
    assert await asked(starts) == 1


async def test_after_a_fit_the_count_begins_anew(store):
    starts = Starts()
    for number in range(AFTER):
        await ended(store, f"i{number}")
    assert await asked(starts) == 1
    done = START + timedelta(minutes=5)
    await fitted(store, b"first", done)
    assert await asked(starts) == 1
    for number in range(AFTER):
        await ended(store, f"later{number}", at=done + timedelta(minutes=1))
    assert await asked(starts) == 2


async def test_a_fit_that_ended_with_known_weights_leaves_the_next_round_to_as_many_more(store):
    await fitted(store, b"same", START - timedelta(days=1))
    starts = Starts()
    for number in range(AFTER):
        await ended(store, f"i{number}")
    assert await asked(starts) == 1
    await fitted(store, b"same", START + timedelta(minutes=5))
    for number in range(AFTER - 1):
        await ended(store, f"later{number}")
    assert await asked(starts) == 1
    await ended(store, "the-last")
    assert await asked(starts) == 2


async def test_without_what_fits_and_validates_nothing_is_due(store):
    for number in range(AFTER):
        await ended(store, f"i{number}")
    await closed(store, "c1")
    assert await following.due(lambda _: False) == []
    assert [one.deployment for one in await following.due(lambda package: package == "dowhy")] == [VALIDATE]


async def test_zero_leaves_learning_to_the_night(clock):
    store = FakeStore()
    settings = Settings(learn_after_incidents=0)
    world = Adapters(settings=settings, clock=clock, store=store, database="", signer=None, limits=Limits(), epoch=1)
    with using(world), unreported():
        await ended(store, "i1")
        assert await following.due(lambda _: True) == []


async def closed(store: FakeStore, name: str) -> None:
    async with store.unit() as unit:
        await unit.incidents.save(Incident(IncidentId(name), "lab", IncidentState.CLOSED, START, (), START))


async def test_a_validation_starts_when_incidents_closed_and_again_when_it_left_some(store):
    starts = Starts()
    await closed(store, "c1")
    await closed(store, "c2")
    await asked(starts)
    await asked(starts)
    assert starts.of(VALIDATE) == 1
    async with store.unit() as unit:
        await unit.validations.keep(ValidationRecord(IncidentId("c1"), START, 1.0, None, "gone"))
    await asked(starts)
    assert starts.of(VALIDATE) == 2
    async with store.unit() as unit:
        await unit.validations.keep(ValidationRecord(IncidentId("c2"), START, 1.0, None, "gone"))
    await asked(starts)
    assert starts.of(VALIDATE) == 2


async def test_the_housekeeping_starts_what_is_due(store):
    pytest.importorskip("dowhy", reason="dowhy is not installed: the extra `learning`")
    starts = Starts()
    await closed(store, "c1")
    assert await keep(starts) == 0
    assert starts.of(VALIDATE) == 1
