"""The deadline of an answer: told in time whatever its route is stuck in, and no sooner begun than it can be ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from infra.api.deadline import AnswerWithin

Route = Callable[[], Awaitable[None]]
SHORT = 0.05


@asynccontextmanager
async def asked(route: Route, **bounds) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that answers once its route is through."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await route()
        await PlainTextResponse("here")(scope, receive, send)

    bounded = AnswerWithin(app, paths=frozenset({"/bounded"}), **{"seconds": 60.0, "turn_seconds": 60.0, **bounds})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(bounded), base_url="http://gateway") as client:
        yield client


async def at_once() -> None:
    """Have nothing to do."""


async def test_who_rolls_back_for_longer_is_answered_in_time():
    """A stopped statement's connection is given back only once the server has let go of it."""
    let_go = asyncio.Event()
    rolled_back = asyncio.Event()

    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await let_go.wait()
            rolled_back.set()

    async with asked(stuck, seconds=SHORT) as client:
        answer = await client.get("/bounded")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert "could not answer within 0.05 s" in answer.json()["detail"]
        assert not rolled_back.is_set()
        let_go.set()
        await rolled_back.wait()


async def test_what_a_given_up_route_says_afterwards_is_not_sent():
    let_go = asyncio.Event()

    async def deaf() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await let_go.wait()

    async with asked(deaf, seconds=SHORT) as client:
        assert (await client.get("/bounded")).status_code == 503
        let_go.set()


async def test_one_more_than_can_be_answered_is_told_to_come_back_and_the_others_are_answered():
    arrived, free = asyncio.Semaphore(0), asyncio.Event()

    async def long() -> None:
        arrived.release()
        await free.wait()

    async with asked(long, most_at_once=3) as client:
        waiting = [asyncio.create_task(client.get("/bounded")) for _ in range(3)]
        for _ in waiting:
            await arrived.acquire()
        refused = await client.get("/bounded")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert "more is asked" in refused.json()["detail"]
        free.set()
        assert [one.status_code for one in await asyncio.gather(*waiting)] == [200] * 3
        assert (await client.get("/bounded")).status_code == 200


async def test_a_starved_event_loop_says_no_early_and_yes_again_afterwards():
    async with asked(at_once, turn_seconds=SHORT) as client:
        asking = asyncio.create_task(client.get("/bounded"))
        while not asking.done():
            time.sleep(2 * SHORT)  # noqa: ASYNC251 - this is what starves it
            await asyncio.sleep(0)
        assert (await asking).status_code == 503
    async with asked(at_once) as client:
        assert (await client.get("/bounded")).status_code == 200


async def test_a_defect_of_a_route_comes_out_as_it_is():
    async def broken() -> None:
        raise RuntimeError("a defect")

    async with asked(broken) as client:
        with pytest.raises(RuntimeError, match="a defect"):
            await client.get("/bounded")


async def test_a_caller_that_leaves_takes_its_route_along():
    begun, ended = asyncio.Event(), asyncio.Event()

    async def long() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asked(long) as client:
        asking = asyncio.create_task(client.get("/bounded"))
        await begun.wait()
        asking.cancel()
        await ended.wait()


async def test_routes_that_promise_nothing_take_their_time():
    async with asked(at_once, seconds=0.0, most_at_once=0) as client:
        assert (await client.get("/free")).status_code == 200
        assert (await client.get("/bounded")).status_code == 503
