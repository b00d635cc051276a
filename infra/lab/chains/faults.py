"""What can go wrong with an API, on command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from models.payment import Provider

Answer = Callable[[], Response]
Lie = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Gets the path and the honest answer, returns what is told instead."""


@dataclass(slots=True)
class Planned:
    """A fault for the next requests: `after` pass unharmed, then `times` fail (None: all)."""

    answer: Answer
    after: int
    times: int | None


@dataclass(slots=True)
class Faults:
    """The faults of one provider.

    Attributes:
        lag: Blocks (TRON) or seconds (TON) its index is behind.
        lie: What it tells instead of the truth.
        key: The only key it takes; None takes any and none.
        page_rows: A smaller page than its own.
        unfiltered: It tells every token's rows, whichever contract was asked for.
        hidden: Transactions that it does not know although they happened (or that only the other one made up).
        calls: Paths that were asked, in order, with their queries.
    """

    lag: int = 0
    lie: Lie | None = None
    key: str | None = None
    page_rows: int | None = None
    unfiltered: bool = False
    hidden: set[bytes] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    planned: list[Planned] = field(default_factory=list)

    def plan(self, answer: Answer, *, after: int = 0, times: int | None = None) -> None:
        """Let requests fail from now on."""
        self.planned.append(Planned(answer, after, times))

    def mend(self) -> None:
        """Let everything be well again."""
        self.planned.clear()
        self.hidden.clear()
        self.lag, self.lie, self.key, self.page_rows, self.unfiltered = 0, None, None, None, False

    def asked_token(self, contract: str | None) -> str | None:
        """Return the contract that rows are filtered by, None for all."""
        return None if self.unfiltered else contract

    def take(self) -> Response | None:
        """Return the fault that strikes this request, None when it passes."""
        for plan in self.planned:
            if plan.after > 0:
                plan.after -= 1
                return None
            if plan.times is None or plan.times > 0:
                plan.times = None if plan.times is None else plan.times - 1
                return plan.answer()
        return None


def says(status: int, body: Any, **headers: str) -> Answer:
    """Answer with a status and a JSON body."""
    return lambda: JSONResponse(body, status, headers={name.replace("_", "-"): text for name, text in headers.items()})


def page(status: int, title: str) -> Answer:
    """Answer with a web page where JSON is expected."""
    return lambda: Response(f"<html><head><title>{title}</title></head></html>", status, media_type="text/html")


def text(body: bytes, **headers: str) -> Answer:
    """Answer 200 with these bytes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: Response(body, media_type="application/json", headers=named)


def redirect(url: str) -> Answer:
    """Send elsewhere."""
    return lambda: RedirectResponse(url)


def drip(seconds: float = 0.05) -> Answer:
    """Send a byte now and then, for ever."""

    async def drops() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(seconds)

    return lambda: StreamingResponse(drops(), media_type="application/json")


def hang(seconds: float = 30.0) -> Answer:
    """Send headers and then nothing."""

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.sleep(seconds)
        yield b"{}"

    return lambda: StreamingResponse(nothing(), media_type="application/json")


def flood(chunks: int = 64) -> Answer:
    """Send that many times 64 KiB."""

    async def much() -> AsyncIterator[bytes]:
        for _ in range(chunks):
            yield b" " * 65_536

    return lambda: StreamingResponse(much(), media_type="application/json")


def cut_off() -> Answer:
    """Promise more bytes than come."""

    async def half() -> AsyncIterator[bytes]:
        yield b'{"data": ['
        raise ConnectionError("the line goes dead")

    return lambda: StreamingResponse(half(), media_type="application/json", headers={"content-length": "500"})


LIMITED: dict[Provider, Answer] = {
    Provider.TRONSCAN: says(
        429,
        {"Error": "request rate exceeded the allowed_rps(3), and the query server is suspended for 68 s. Slow down"},
    ),
    Provider.TRONGRID: says(
        403,
        {
            "success": False,
            "error": "The key exceeds the frequency limit(15), and the query server is suspended for 30s",
            "statusCode": 403,
        },
    ),
    Provider.TONAPI: says(429, {"error": "rate limit: 1 rps"}),
    Provider.TONCENTER: says(429, {"ok": False, "result": "Ratelimit exceed", "code": 429}),
}
"""How each provider says that it is enough."""

REFUSED: dict[Provider, Answer] = {
    Provider.TRONSCAN: says(401, {"Error": "ApiKey not exists"}),
    Provider.TRONGRID: page(401, "401 Authorization Required"),
    Provider.TONAPI: says(401, {"error": "illegal base32 data"}),
    Provider.TONCENTER: says(401, {"ok": False, "result": "API key does not exist", "code": 401}),
}
"""How each provider refuses a key."""
