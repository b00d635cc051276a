"""Bodies: JSON whatever they call themselves, capped, and not waited for without end."""

from __future__ import annotations

import asyncio

import pytest

from infra.api.middleware import BODY_CAP_BYTES, JsonBody

TYPES = ["application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data", "nonsense", ""]


@pytest.mark.parametrize("content_type", TYPES)
async def test_json_is_read_whatever_the_content_type(operator, store, content_type):
    answer = await operator.post(
        "/api/v1/heal", content=b'{"id": "typed", "dry_run": false}', headers={"Content-Type": content_type}
    )
    assert answer.status_code == 202
    async with store.unit() as unit:
        assert (await unit.requests.get("typed")).dry_run is False


async def test_json_is_read_without_any_content_type(operator):
    answer = await operator.post("/api/v1/heal", content=b'{"id": "untyped"}')
    assert answer.json()["id"] == "untyped"


@pytest.mark.parametrize(
    "body", [b"{", b"dry_run=false", b"\xff\xfe", b'{"id": "\xff"}', b"[" * 100_000, b'{"id": "\\ud800"}', b"NaN"]
)
async def test_a_body_that_is_no_usable_json_is_422(operator, body):
    assert (await operator.post("/api/v1/heal", content=body)).status_code == 422


async def test_a_body_announced_too_large_is_413_before_it_is_read(operator):
    answer = await operator.post("/api/v1/heal", content=b"x", headers={"Content-Length": str(BODY_CAP_BYTES + 1)})
    assert answer.status_code == 413


async def test_a_body_that_grows_too_large_is_413_without_being_read_to_its_end(operator):
    sent = 0

    async def eight_mebibytes():
        nonlocal sent
        for _ in range(128):
            sent += 65536
            yield b"x" * 65536

    answer = await operator.post("/api/v1/heal", content=eight_mebibytes())
    assert answer.status_code == 413
    assert sent <= BODY_CAP_BYTES + 2 * 65536


async def test_a_body_of_exactly_the_cap_is_read(operator):
    body = b'{"id": "full"}'
    answer = await operator.post("/api/v1/heal", content=body + b" " * (BODY_CAP_BYTES - len(body)))
    assert answer.status_code == 202


async def test_a_refused_body_is_recorded(operator):
    await operator.post("/api/v1/heal", content=b"x" * (BODY_CAP_BYTES + 1))
    assert 'route="unmatched",status="413"' in (await operator.get("/metrics")).text


async def test_a_body_that_does_not_arrive_is_408():
    sent = []

    async def never():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    async def unreachable(scope, receive, send):
        raise AssertionError

    scope = {"type": "http", "method": "POST", "headers": []}
    await JsonBody(unreachable, seconds=0.01)(scope, never, send)
    assert sent[0]["status"] == 408


async def test_half_a_body_reaches_no_route_and_is_not_answered():
    arriving = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def leaving():
        return next(arriving)

    async def unreachable(scope, receive, send):
        raise AssertionError

    await JsonBody(unreachable)({"type": "http", "method": "POST", "headers": []}, leaving, unreachable)
