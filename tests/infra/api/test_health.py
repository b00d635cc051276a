"""Alive, ready, counted."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import pytest
import structlog

from infra.api import health
from models.errors import SourceUnavailable, ToolMissing
from tests.fakes.store import FakeStore
from tests.infra.api.world import NOW, BrokenStore


async def test_alive_needs_no_store(connect):
    answer = await connect(BrokenStore(SourceUnavailable("Postgres"))).get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "alive")


async def test_ready_while_the_watch_run_beats(anyone, clock):
    clock.at = NOW + timedelta(seconds=5)
    answer = await anyone.get("/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "beat_age_seconds": 5.0})


async def test_not_ready_when_the_beat_is_old_and_says_whose(anyone, clock):
    clock.at = NOW + timedelta(seconds=5.5)
    answer = await anyone.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["watch-mesh:lab: its last beat is 5.5 s old, more than 5 s"]
    assert int(answer.headers["retry-after"]) > 0


async def test_not_ready_before_any_watch_run(connect):
    answer = await connect(FakeStore()).get("/ready")
    assert answer.status_code == 503
    assert "no run ever took this role" in answer.json()["missing"][0]


@pytest.mark.parametrize("error", [SourceUnavailable("Postgres", "refused"), ToolMissing("pg_ctl", "install it")])
async def test_not_ready_without_a_database(connect, error):
    answer = await connect(BrokenStore(error)).get("/ready")
    assert answer.status_code == 503
    assert answer.json()["missing"] == [f"database: {error}"]


class HangingStore(BrokenStore):
    async def __aenter__(self):
        await asyncio.Event().wait()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(health, "STORE_PATIENCE_SECONDS", 0.01)


async def test_not_ready_while_the_database_hangs(connect, impatient):
    answer = await connect(HangingStore(RuntimeError())).get("/ready")
    assert answer.json()["missing"] == ["database: no answer within 0.01 s"]


async def test_metrics_come_without_a_hanging_database_too(connect, impatient):
    answer = await connect(HangingStore(RuntimeError())).get("/metrics")
    assert answer.status_code == 200
    assert "x0tta6bl4_store_up 0.0" in answer.text


async def test_metrics_speak_of_the_store_and_of_requests(anyone):
    await anyone.get("/api/v1/incidents/some-id")
    text = (await anyone.get("/metrics")).text
    assert 'x0tta6bl4_node_sample_age_seconds{node="n0"} 2.0' in text
    assert 'http_requests_total{method="GET",route="/api/v1/incidents/{incident}",status="401"} 1.0' in text
    assert "some-id" not in text


async def test_the_root_leads_to_the_documentation(anyone):
    answer = await anyone.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")


async def test_polling_is_logged_only_when_it_fails(anyone, clock):
    with structlog.testing.capture_logs() as lines:
        for path in ("/health", "/ready", "/metrics"):
            await anyone.get(path)
        clock.at = NOW + timedelta(minutes=1)
        await anyone.get("/ready")
    assert [(one["route"], one["status"]) for one in lines] == [("/ready", 503)]


async def test_the_documentation_needs_no_other_host(anyone):
    page = (await anyone.get("/docs")).text
    assert "://" not in page
    (script,) = re.findall(r'<script src="([^"]+)"', page)
    assert (await anyone.get(script)).status_code == 200
