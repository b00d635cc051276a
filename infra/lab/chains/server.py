"""The stand-in itself: four APIs over two made-up chains, on one loopback port, over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.chains.settings import ChainSettings
from infra.lab.chains.faults import REFUSED, Faults
from infra.lab.chains.ton_apis import TonApi, TonCenterApi
from infra.lab.chains.ton_world import TonWorld
from infra.lab.chains.tron_apis import TronGridApi, TronScanApi
from infra.lab.chains.tron_world import TronWorld
from models.payment import Provider


class _Guarded:
    """One provider's API behind its faults: keys, planned failures, lies, and a log of calls."""

    def __init__(self, provider: Provider, api: ASGIApp, faults: Faults) -> None:
        self.provider = provider
        self.api = api
        self.faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"].decode()
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        self.faults.calls.append(f"{path}?{query}" if query else path)
        sent = " ".join(text.decode() for name, text in scope["headers"] if name in {b"tron-pro-api-key", b"x-api-key"})
        sent += " ".join(text.decode() for name, text in scope["headers"] if name == b"authorization")
        if self.faults.key is not None and sent.removeprefix("Bearer ") != self.faults.key:
            await REFUSED[self.provider]()(scope, receive, send)
        elif (fault := self.faults.take()) is not None:
            await fault(scope, receive, send)
        elif self.faults.lie is not None:
            await self._lied(path, scope, receive, send)
        else:
            await self.api(scope, receive, send)

    async def _lied(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        start: list[Message] = []
        body = bytearray()

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.append(message)
            else:
                body.extend(message.get("body", b""))

        await self.api(scope, receive, keep)
        lie = self.faults.lie
        told = json.loads(body) if lie is None else lie(path, json.loads(body))
        answer = json.dumps(told).encode()
        headers = [(name, text) for name, text in start[0]["headers"] if name != b"content-length"]
        await send({**start[0], "headers": [*headers, (b"content-length", str(len(answer)).encode())]})
        await send({"type": "http.response.body", "body": answer})


@dataclass(slots=True)
class StandIn:
    """Two chains and four APIs. Change the worlds and the faults while it runs.

    Attributes:
        url: Where it listens, once it does; each provider below its own name.
    """

    tron: TronWorld = field(default_factory=TronWorld)
    ton: TonWorld = field(default_factory=TonWorld)
    faults: dict[Provider, Faults] = field(default_factory=lambda: {provider: Faults() for provider in Provider})
    url: str = ""

    def app(self) -> Starlette:
        """Return the ASGI application."""
        routes = {
            Provider.TRONSCAN: TronScanApi(self.tron, self.faults[Provider.TRONSCAN]).routes,
            Provider.TRONGRID: TronGridApi(self.tron, self.faults[Provider.TRONGRID]).routes,
            Provider.TONAPI: TonApi(self.ton, self.faults[Provider.TONAPI]).routes,
            Provider.TONCENTER: TonCenterApi(self.ton, self.faults[Provider.TONCENTER]).routes,
        }
        return Starlette(
            routes=[
                Mount(f"/{provider}", _Guarded(provider, Starlette(routes=routes[provider]), self.faults[provider]))
                for provider in Provider
            ]
        )

    def settings(self, *, deadline_s: float = 2.0, key: str | None = None) -> ChainSettings:
        """Return settings that lead here, with budgets of calls that never slow anything."""
        fast = dict.fromkeys((f"{provider}_calls_per_second" for provider in Provider), 1_000.0)
        urls = {f"{provider}_url": f"{self.url}/{provider}" for provider in Provider}
        keys = {f"{provider}_key": key for provider in Provider}
        return ChainSettings.model_validate({**fast, **urls, **keys, "provider_deadline_seconds": deadline_s})

    @property
    def calls(self) -> int:
        """Return how often any of the four was asked."""
        return sum(len(faults.calls) for faults in self.faults.values())


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.enough = asyncio.Event()

    async def main_loop(self) -> None:
        """Wait to be told, instead of looking ten times a second."""
        await self.enough.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's word
        """End at once, hanging answers included; there is nobody left to be polite to."""
        for listening in self.servers:
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        answering = list(self.server_state.tasks)
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process' signals alone."""
        yield


class Servable(Protocol):
    """Something that stands in for an API and wants to know its own address."""

    url: str

    def app(self) -> Starlette:
        """Return the ASGI application."""


Stood = TypeVar("Stood", bound=Servable)


@asynccontextmanager
async def serving(stand_in: Stood, *, port: int = 0) -> AsyncIterator[Stood]:
    """Serve a stand-in on loopback until the block ends; hanging answers end with it."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        # asyncio turns Nagle off only for sockets made with an explicit protocol, and heads and bodies are sent apart:
        # without this every answer waits 40 ms for a delayed acknowledgement. Accepted sockets inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(
            stand_in.app(), log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=0
        )
        server = _Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn offers a flag and no event
            await asyncio.sleep(0.005)
        stand_in.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            yield stand_in
        finally:
            server.enough.set()
            await running
