"""What happens to every request before a route sees it: its body is capped and read as JSON, its answer is counted."""

from __future__ import annotations

import asyncio
from time import perf_counter

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.api import problems
from infra.metrics import GatewayMetrics

log = structlog.get_logger()

# The largest body any route takes is a few hundred bytes; a mebibyte leaves room and bounds memory.
BODY_CAP_BYTES = 1024 * 1024
# A body that trickles in slower than this holds a connection for nothing.
BODY_SECONDS = 10.0
# A supervisor, a scraper and each node's worker ask these all day; only an answer that is not a success is news.
POLLED = frozenset({"/health", "/ready", "/metrics", "/api/prefect/health", "/api/prefect/{path:path}"})
OK_BELOW = 400
BODY_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class _Refused(Exception):
    """The body is too large or too slow."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class _Left(Exception):
    """The client went away before its body was complete."""


class JsonBody:
    """Read a body whole, at most `cap` bytes within `seconds`, and call it JSON whatever content type it came with.

    `curl -d` sends a form's content type; a person who types JSON means JSON.
    """

    def __init__(self, app: ASGIApp, *, cap: int = BODY_CAP_BYTES, seconds: float = BODY_SECONDS) -> None:
        self.app = app
        self.cap = cap
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body replayed, or answer 413 or 408."""
        if scope["type"] != "http" or scope["method"] not in BODY_METHODS:
            await self.app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except _Left:
            return  # half a wish is not a wish, and nobody is there to answer
        except _Refused as refusal:
            sort = "too-large" if refusal.status == 413 else "too-slow"  # noqa: PLR2004 - an HTTP status is its own name
            response = problems.answer(refusal.status, sort, refusal.detail, headers={"Connection": "close"})
            await response(scope, receive, send)
            return
        # Changed in place: the router writes the route it matched into this same scope, and the log reads it there.
        kept = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
        scope["headers"] = [*kept, (b"content-type", b"application/json")]
        await self.app(scope, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        too_large = _Refused(413, f"the body is larger than {self.cap} bytes")
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and int(announced) > self.cap:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self.seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Left
                    body += message.get("body", b"")
                    if len(body) > self.cap:
                        raise too_large
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError as error:
            raise _Refused(408, f"the body did not arrive within {self.seconds:g} s") from error


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand out the body once, then whatever the connection says next (a disconnect)."""
    handed_out = False

    async def replayed() -> Message:
        nonlocal handed_out
        if handed_out:
            return await receive()
        handed_out = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


class RequestRecord:
    """Count, time and log requests: the route's template, never the path, query, headers or body."""

    def __init__(self, app: ASGIApp, *, metrics: GatewayMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and watch its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500  # what the server sends when the app dies before answering

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = perf_counter()
        try:
            await self.app(scope, receive, watched)
        finally:
            seconds = perf_counter() - started
            route = getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"]
            self.metrics.request_answered(method=method, route=route, status=status, seconds=seconds)
            if route not in POLLED or status >= OK_BELOW:
                caller = scope.get("state", {}).get("caller")
                log.info("request answered", method=method, route=route, status=status, seconds=seconds, caller=caller)
