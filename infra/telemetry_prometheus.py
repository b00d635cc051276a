"""Reading samples where a Prometheus server scraped them (or what speaks its API), instead of from Postgres."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Literal

import httpx
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from infra.telemetry_rebuilt import METRICS, rebuilt
from models.errors import ConfigurationInvalid, SourceUnavailable
from models.mesh import NodeId
from models.telemetry import Sample

# A look that waits longer is no look any more; the next one asks again.
DEADLINE_S = 4.0
# Of one answer: by calculation the fifteen seconds of 300 nodes with four links each, at two scrapes a second.
MOST_BYTES = 64 * 1024 * 1024
# Asked for at once; a reader that is further behind takes several looks.
PIECE_MS = 15_000
# A scrape is stamped when it begins and stored when it ends, so that one may appear behind another that is newer.
# Everything this close is read again; longer than a scrape may take (`scrape_timeout`).
OVERLAP_MS = 2_000
# Older samples would tell a detector nothing; a reader this far behind goes on from here.
REACH_MS = 60_000
_NAMES = "|".join(METRICS)


class _Series(BaseModel):
    model_config = ConfigDict(frozen=True)

    metric: dict[str, str]
    values: list[tuple[float, str]] = []
    value: tuple[float, str] | None = None


class _Found(BaseModel):
    model_config = ConfigDict(frozen=True)

    result: list[_Series]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)

    status: Literal["success"]
    data: _Found


_ANSWER = TypeAdapter(_Answer)


class PrometheusSamples:
    """`models.ports.SampleReader` on Prometheus' HTTP API.

    A cursor is the timestamp of a scrape in milliseconds. Who comes with another than was given out last reads again
    what was scraped within two seconds before it.

    Args:
        url: Base address, `http://127.0.0.1:9090`.
        transport: Given by tests.

    Raises:
        ConfigurationInvalid: no usable address, or one that carries a password.
    """

    def __init__(self, url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            parsed = httpx.URL("")
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise ConfigurationInvalid(
                "X0_TELEMETRY names no server",
                "write prometheus:http://HOST:PORT, for example prometheus:http://127.0.0.1:9090",
            )
        if parsed.userinfo:
            raise ConfigurationInvalid(
                "X0_TELEMETRY carries a user or a password", "let a proxy on this host log in, and name the proxy"
            )
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/"), timeout=DEADLINE_S, transport=transport, trust_env=False
        )
        # By mesh: the cursor given out last, and which scrapes close to it went with it or before.
        self._given: dict[str, tuple[int, frozenset[tuple[int, str]]]] = {}

    async def between(
        self, mesh: str, start: datetime, end: datetime, *, nodes: Collection[NodeId] | None = None
    ) -> list[Sample]:
        """Return samples with start <= at < end, ordered by (at, node)."""
        found: dict[tuple[NodeId, int, int], Sample] = {}
        # Both clocks, the nodes' and the server's, may differ by as much as a scrape may be late.
        begin, last = _stamp(start) - OVERLAP_MS, _stamp(end) + OVERLAP_MS
        while begin < last:
            until = min(begin + PIECE_MS, last)
            for _, one in await self._scraped(mesh, begin, until, nodes=nodes):
                if start <= one.at < end:
                    found[one.node, one.epoch, one.sequence] = one
            begin = until
        return sorted(found.values(), key=lambda one: (one.at, one.node))

    async def stored_after(self, mesh: str, cursor: int, *, limit: int = 5000) -> tuple[list[Sample], int]:
        """Return samples by the timestamp of their scrape, some of them again, and the new cursor."""
        begin = cursor - OVERLAP_MS
        until = begin + PIECE_MS
        last, given = self._given.get(mesh, (0, frozenset()))
        known = given if last == cursor else frozenset()
        fresh = await self._scraped(mesh, begin, until, known=known)
        if all(stamp <= cursor for stamp, _ in fresh):
            newest = await self.newest_cursor(mesh)
            # The first look, or nothing was scraped for a while: go on where there is something.
            begin = max(until, newest - REACH_MS)
            while begin < newest and not fresh:
                fresh = await self._scraped(mesh, begin, begin + PIECE_MS)
                begin += PIECE_MS
        # Whole timestamps only, or the rest of one would be passed over.
        news = [stamp for stamp, _ in fresh if stamp > cursor]
        end = news[limit - 1] if len(news) > limit else max(news, default=cursor)
        found = [(stamp, one) for stamp, one in fresh if stamp <= end]
        known |= {(stamp, one.node) for stamp, one in found}
        self._given[mesh] = end, frozenset(one for one in known if one[0] > end - OVERLAP_MS)
        return [one for _, one in found], end

    async def newest_cursor(self, mesh: str) -> int:
        """Return the timestamp of the newest scrape of any node, 0 when there is none of the last five minutes."""
        found = await self._ask(f"max(timestamp(mesh_collector_epoch{{mesh={_quoted(mesh)}}}))")
        return max((round(float(one.value[1]) * 1000) for one in found if one.value is not None), default=0)

    async def latest(self, mesh: str) -> dict[NodeId, Sample]:
        """Return each node's newest sample of the last five minutes."""
        found = await self._ask(f"timestamp(mesh_collector_epoch{{mesh={_quoted(mesh)}}})")
        stamps = sorted({round(float(one.value[1]) * 1000) for one in found if one.value is not None})
        newest: dict[NodeId, Sample] = {}
        done = 0
        for stamp in stamps:
            if stamp <= done:
                continue
            done = stamp + PIECE_MS
            for _, one in await self._scraped(mesh, stamp - 1, done):
                newest[one.node] = one
        return dict(sorted(newest.items()))

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()

    async def _scraped(
        self,
        mesh: str,
        after: int,
        until: int,
        *,
        nodes: Collection[NodeId] | None = None,
        known: Collection[tuple[int, str]] = (),
    ) -> list[tuple[int, Sample]]:
        """Return the samples of scrapes with after < timestamp <= until, milliseconds, that are not known."""
        some = "" if nodes is None else f",node=~{_quoted('|'.join(re.escape(one) for one in nodes))}"
        selector = f'mesh={_quoted(mesh)}{some},__name__=~"{_NAMES}"'
        found = await self._ask(f"{{{selector}}}[{until - after}ms]", at=until)
        try:
            samples = rebuilt(((one.metric, one.values) for one in found), known=known)
        except (KeyError, ValueError) as error:
            raise SourceUnavailable(
                "Prometheus", f"what it scraped as nodes of {mesh} are no pages of this version ({error})"
            ) from None
        # Whether a range holds its first instant depends on the server's version.
        return [one for one in samples if one[0] > after]

    async def _ask(self, query: str, *, at: int | None = None) -> list[_Series]:
        asked: Mapping[str, str] = {"query": query} | ({} if at is None else {"time": f"{at / 1000:.3f}"})
        try:
            async with (
                asyncio.timeout(DEADLINE_S),
                self._client.stream("POST", "/api/v1/query", data=asked) as answer,
            ):
                content = bytearray()
                async for piece in answer.aiter_bytes():
                    content += piece
                    if len(content) > MOST_BYTES:
                        raise SourceUnavailable(
                            "Prometheus", f"its answer is above {MOST_BYTES >> 20} MiB; watch the mesh in regions"
                        )
        except (httpx.HTTPError, TimeoutError) as error:
            raise SourceUnavailable("Prometheus", type(error).__name__) from None
        if not answer.is_success:
            raise SourceUnavailable("Prometheus", f"it answers with status {answer.status_code}")
        try:
            return _ANSWER.validate_json(bytes(content)).data.result
        except ValidationError:
            raise SourceUnavailable("Prometheus", "its answer is none of Prometheus' API") from None


def _stamp(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


def _quoted(text: str) -> str:
    """Write a string of PromQL."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'
