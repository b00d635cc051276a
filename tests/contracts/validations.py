"""What every `ValidationRepository` promises. Subclass once per implementation and supply `store`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from models.errors import RefusedError
from models.incident import Incident, IncidentId, IncidentState
from models.ports import Store
from models.validation import (
    Attribution,
    EdgeCheck,
    Effect,
    GraphCheck,
    Refutation,
    Share,
    Standing,
    Validation,
    ValidationRecord,
    Violation,
)

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FOUND = Validation(
    standing=Standing.DOUBTFUL,
    graph=GraphCheck(Standing.KEPT, 5, 1, (Violation("a", "c", 0.01),), 0.0, 0.05, 60, "only 0% fit as well"),
    edges=(
        EdgeCheck("a", "b", 0.25, Standing.DOUBTFUL, "they did not move together in 200 rows"),
        EdgeCheck("b", "c", None, Standing.UNTOLD, "the time budget was spent"),
    ),
    attribution=Attribution(
        "a",
        (Share("b", 4.5, 4.0, 5.0), Share("a", -0.5, -1.0, 0.25)),
        20,
        Effect("b", "a", 0.5, (Refutation("placebo_treatment_refuter", 0.0, None, holds=False),)),
        "linear mechanisms fitted to 200 rows",
    ),
    signals={"a": "latency", "b": "latency"},
    left_out={"d": "it never moved"},
    rows=200,
    seed=1,
    versions={"dowhy": "0.14"},
    cut_short="",
)


def record(incident: str = "i1") -> ValidationRecord:
    return ValidationRecord(IncidentId(incident), NOON, 12.5, FOUND)


def closed(name: str, at: datetime | None, mesh: str = "lab") -> Incident:
    state = IncidentState.CLOSED if at is not None else IncidentState.OPEN
    return Incident(IncidentId(name), mesh, state, NOON - timedelta(hours=9), (), at)


class ValidationContract:
    """Validations, one an incident."""

    async def test_what_was_kept_is_read_back_whole_and_a_second_one_takes_its_place(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(closed("i1", NOON))
            assert await unit.validations.of(IncidentId("i1")) is None
            await unit.validations.keep(record())
        async with store.unit() as unit:
            assert await unit.validations.of(IncidentId("i1")) == record()
            none = ValidationRecord(IncidentId("i1"), NOON, 0.5, None, "not enough history")
            await unit.validations.keep(none)
            await unit.validations.keep(none)
        async with store.unit() as unit:
            assert await unit.validations.of(IncidentId("i1")) == none

    async def test_what_belongs_to_no_incident_is_refused(self, store: Store):
        with pytest.raises(RefusedError):
            async with store.unit() as unit:
                await unit.validations.keep(record("nowhere"))

    async def test_closed_incidents_without_one_are_named_the_longest_closed_first(self, store: Store):
        async with store.unit() as unit:
            await unit.incidents.save(closed("late", NOON))
            await unit.incidents.save(closed("early", NOON - timedelta(minutes=5)))
            await unit.incidents.save(closed("too-early", NOON - timedelta(hours=2)))
            await unit.incidents.save(closed("open", None))
            await unit.incidents.save(closed("done", NOON))
            await unit.incidents.save(closed("elsewhere", NOON, mesh="other"))
            await unit.validations.keep(replace(record(), incident=IncidentId("done")))
        async with store.unit() as unit:
            since = NOON - timedelta(hours=1)
            assert await unit.validations.lacking("lab", since=since, limit=9) == ["early", "late"]
            assert await unit.validations.lacking("lab", since=since, limit=1) == ["early"]
