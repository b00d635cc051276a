"""A gateway over a store in memory, and clients with and without tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta

import httpx
import pytest

from infra.api.app import create_app
from infra.api.gateway import Trade, digest_of
from infra.settings import Settings
from models.mesh import NodeId
from models.ports import Scope, Store, Token
from models.shop import Catalogue
from models.telemetry import Sample
from tests.fakes.store import FakeStore
from tests.infra.api.world import (
    AS_BUYER,
    AS_OPERATOR,
    AS_READER,
    MESH,
    NOW,
    OPERATE,
    PAY,
    READ,
    TRADE,
    StandingClock,
    access,
)
from tests.infra.shop.counter import CATALOGUE


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
async def store() -> Store:
    """A declared mesh, three tokens, a living watch run, and one node that reported two seconds ago."""
    made = FakeStore()
    async with made.unit() as unit:
        await unit.meshes.save(MESH)
        await unit.tokens.add(Token("alice", digest_of(READ), Scope.READ, NOW))
        await unit.tokens.add(Token("bob", digest_of(OPERATE), Scope.OPERATE, NOW))
        await unit.tokens.add(Token("carol", digest_of(PAY), Scope.PAY, NOW))
        await unit.long_runs.claim("watch-mesh:lab", flow_run_id="f-1", pid=7, host="h", now=NOW)
        await unit.samples.add(
            "lab", [Sample(NodeId("n0"), 1, 0, NOW - timedelta(seconds=2), missing=frozenset({"probes"}))]
        )
    return made


@pytest.fixture
async def connect(clock: StandingClock) -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
    """Make a client of a gateway over any store; defects come back as responses, as a real client would see them."""
    async with AsyncExitStack() as opened:

        def make(over, trade: Trade = TRADE, **headers: str) -> httpx.AsyncClient:
            app = create_app(over, Settings(mesh="lab"), clock, trade=trade, access=access(over, clock))
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            client = httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)
            opened.push_async_callback(client.aclose)
            return client

        yield make


@pytest.fixture
def anyone(connect, store) -> httpx.AsyncClient:
    """A client without a token."""
    return connect(store)


@pytest.fixture
def reader(connect, store) -> httpx.AsyncClient:
    """A client with a token of scope read."""
    return connect(store, **AS_READER)


@pytest.fixture
def operator(connect, store) -> httpx.AsyncClient:
    """A client with a token of scope operate."""
    return connect(store, **AS_OPERATOR)


@pytest.fixture
def buyer(connect, store) -> httpx.AsyncClient:
    """A client with a token of scope pay."""
    return connect(store, **AS_BUYER)


@pytest.fixture
def connect_paced(clock) -> Callable[..., tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Make a buyer's and an operator's client of one gateway that answers a token so many times a minute."""

    def make(over, calls_per_minute: int, *, catalogue: Catalogue = CATALOGUE):
        trade = Trade(catalogue, calls_per_minute=calls_per_minute)
        app = create_app(over, Settings(mesh="lab"), clock, trade=trade)
        return tuple(
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway", headers=headers)
            for headers in (AS_BUYER, AS_OPERATOR)
        )

    return make
