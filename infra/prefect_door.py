"""The door between nodes and Prefect: what the rules allow passes with the gateway's own password, as it came."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from infra.prefect_rules import Call, Forbidden, Thing, is_own, things_of
from models.errors import ConfigurationInvalid, SourceUnavailable

# A worker gives up after four seconds (PREFECT_API_REQUEST_TIMEOUT in flows/installation.py) and asks again.
SECONDS = 4.0
# The pool with its template is the largest of them, some ten kilobytes.
ANSWER_BYTES = 4 * 1024 * 1024
# A node has one deployment, and a run at a time; what a thing belongs to never changes.
REMEMBERED = 4096
PASSED_ON = ("content-type", "x-prefect-api-version", "prefect-csrf-token", "prefect-csrf-client")


@dataclass(frozen=True, slots=True)
class Answer:
    """What Prefect said."""

    status: int
    body: bytes
    media_type: str | None


class PrefectDoor:
    """Prefect's API as nodes see it."""

    def __init__(self, api: str, *, auth: str | None = None, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Take the API's address, `http://127.0.0.1:4200/api`, and `user:password` if it asks for one.

        A transport is given by tests.
        """
        if not api.startswith(("http://", "https://")):
            raise ConfigurationInvalid(
                "PREFECT_API_URL is no address", "say where Prefect answers, http://host:4200/api"
            )
        user, _, password = (auth or "").partition(":")
        self._client = httpx.AsyncClient(
            base_url=api.rstrip("/"),
            auth=httpx.BasicAuth(user, password) if auth else None,
            timeout=SECONDS,
            transport=transport,
            trust_env=False,
        )
        self._own: OrderedDict[tuple[str, Thing], None] = OrderedDict()

    async def pass_on(self, node: str, call: Call, headers: Mapping[str, str]) -> Answer:
        """Pass a node's call on, if it is the node's own business.

        Args:
            node: Who asks.
            call: What.
            headers: As they came; a handful is passed on, credentials are not.

        Raises:
            Forbidden: it is not.
            SourceUnavailable: Prefect does not answer in time.
        """
        try:
            async with asyncio.timeout(SECONDS):
                for thing in things_of(node, call):
                    await self._require_own(node, thing)
                kept = {name: headers[name] for name in PASSED_ON if name in headers}
                path = f"/{call.path}?{call.query}" if call.query else f"/{call.path}"
                return await self._ask(call.method, path, body=call.body, headers=kept)
        except (httpx.HTTPError, TimeoutError) as error:
            raise SourceUnavailable("Prefect", type(error).__name__) from error

    async def is_well(self) -> bool:
        """Say whether Prefect says that it is."""
        try:
            async with asyncio.timeout(SECONDS):
                return (await self._ask("GET", "/health")).status == httpx.codes.OK
        except (httpx.HTTPError, TimeoutError):
            return False

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()

    async def _require_own(self, node: str, thing: Thing) -> None:
        if (node, thing) in self._own:
            self._own.move_to_end((node, thing))
            return
        found = await self._ask("GET", f"/{thing.kind}/{thing.id}")
        # Something that is not there is told from something of another's by nobody.
        if found.status != httpx.codes.OK or not is_own(node, thing, _object(found.body)):
            raise Forbidden(f"there is no such thing of node {node}'s among Prefect's {thing.kind}")
        self._own[node, thing] = None
        if len(self._own) > REMEMBERED:
            self._own.popitem(last=False)

    async def _ask(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        async with self._client.stream(method, path, content=body or None, headers=headers) as answer:
            whole = bytearray()
            async for part in answer.aiter_bytes():
                whole += part
                if len(whole) > ANSWER_BYTES:
                    raise SourceUnavailable("Prefect", f"it answers with more than {ANSWER_BYTES} bytes")
            return Answer(answer.status_code, bytes(whole), answer.headers.get("content-type"))


def _object(body: bytes) -> dict[str, Any]:
    found = json.loads(body)
    return found if isinstance(found, dict) else {}
