"""Who may do what."""

from __future__ import annotations

import io

import pytest
import structlog

from infra.api.gateway import digest_of
from infra.log import configure
from models.errors import ToolMissing
from tests.infra.api.world import AS_OPERATOR, OPERATE, READ, BrokenStore, tell_a_story

READS = ["/api/v1/mesh", "/api/v1/incidents", "/api/v1/incidents/i-1", "/api/v1/heal/r-1"]
WRITES = ["/api/v1/heal", "/api/v1/decisions", "/api/v1/pause", "/api/v1/resume"]
DECISION = {"plan_hash": "a" * 64, "decision": "deny"}


@pytest.mark.parametrize("path", READS)
async def test_reading_without_a_token_is_401_with_a_challenge(anyone, path):
    answer = await anyone.get(path)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("path", WRITES)
async def test_writing_without_a_token_is_401_with_a_challenge(anyone, path):
    answer = await anyone.post(path, json=DECISION if path.endswith("decisions") else None)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer ", "Basic YTpi", "bearer", READ, f"Bearer {digest_of(READ)}"]
)
async def test_a_header_that_is_no_valid_token_is_401(anyone, header):
    answer = await anyone.get("/api/v1/mesh", headers={"Authorization": header})
    assert answer.status_code == 401


@pytest.mark.parametrize("path", WRITES)
async def test_a_read_token_cannot_operate_and_is_told_the_scope_it_needs(reader, path):
    answer = await reader.post(path, json=DECISION if path.endswith("decisions") else None)
    assert answer.status_code == 403
    assert "operate" in answer.json()["detail"]
    assert 'scope="operate"' in answer.headers["www-authenticate"]


async def test_operate_includes_read(operator):
    assert (await operator.get("/api/v1/mesh")).status_code == 200


async def test_a_revoked_token_opens_nothing(reader, store):
    async with store.unit() as unit:
        await unit.tokens.revoke("alice")
    assert (await reader.get("/api/v1/mesh")).status_code == 401


async def test_a_token_found_under_another_digest_is_not_believed(connect, store):
    class LaxTokens:
        async def find(self, digest):
            return next(iter(store.memory.tokens.values()))

    class LaxStore:
        def unit(self):
            unit = store.unit()
            unit.tokens = LaxTokens()
            return unit

    answer = await connect(LaxStore(), Authorization="Bearer anything").get("/api/v1/mesh")
    assert answer.status_code == 401


async def test_no_log_line_holds_a_token(operator, reader, anyone, store):
    plan = await tell_a_story(store)
    with structlog.testing.capture_logs() as lines:
        await operator.post("/api/v1/heal", json={"dry_run": False})
        await operator.post("/api/v1/decisions", json={"plan_hash": plan.plan_hash, "decision": "approve"})
        await operator.post("/api/v1/pause")
        await reader.get(f"/api/v1/incidents?limit={READ}")
        await reader.post("/api/v1/heal", content=f'{{"dry_run": "{READ}"}}')
        await anyone.get("/api/v1/mesh", headers={"Authorization": "Bearer guessed-secret"})
    assert len(lines) >= 6
    for secret in (READ, OPERATE, "guessed-secret", digest_of(READ), digest_of(OPERATE)):
        assert secret not in str(lines)
    assert {one["caller"] for one in lines if one["event"] == "request answered"} == {"alice", "bob", None}


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.mark.parametrize("for_people", [True, False])
@pytest.mark.parametrize("error", [ToolMissing("pg_ctl", "install it"), ZeroDivisionError("a defect")])
async def test_a_traceback_does_not_print_the_token_either(connect, stream, error, for_people):
    """Pretty tracebacks print local variables, and among those are the request's headers."""
    configure(stream, for_people=for_people)
    assert (await connect(BrokenStore(error), **AS_OPERATOR).get("/api/v1/mesh")).status_code == 500
    assert "Traceback" in stream.getvalue()
    assert OPERATE not in stream.getvalue()
