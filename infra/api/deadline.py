"""An answer in time, come what may: the deadline of routes that promise one, and an early no under too much load."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.api import problems

# Each holds memory and waits for one of the pool's connections; past so many, whoever comes last would wait in vain.
MOST_AT_ONCE = 500
# One turn of the event loop takes milliseconds. When it takes this long, everything that is ready waits so long in each
# of the some ten turns that an answer needs, and the deadline's own timer fires as late.
TURN_SECONDS = 0.4


class AnswerWithin:
    """Answer some routes in time: past it the caller gets 503 instead of a longer wait.

    What a route itself waits for is bounded there; this bounds the sum, the queue for a database connection, and the
    tidying up after a call that was given up: rolling back waits for the database too, a stopped statement until the
    server's own limit of 15 s. So the route runs in a task of its own, which tidies up after its caller has been told.

    Args:
        app: What answers.
        paths: Which routes promise it.
        seconds: From the request's arrival here to its answer.
        most_at_once: Requests under way, those that are tidied up included; one more is told to come back.
        turn_seconds: A turn of the event loop that takes longer is told to come back, too.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        paths: frozenset[str],
        seconds: float,
        most_at_once: int = MOST_AT_ONCE,
        turn_seconds: float = TURN_SECONDS,
    ) -> None:
        self.app = app
        self.paths = paths
        self.seconds = seconds
        self.most_at_once = most_at_once
        self.turn_seconds = turn_seconds
        self._under_way: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and give it up when its time is over."""
        if scope["type"] != "http" or scope["path"] not in self.paths:
            await self.app(scope, receive, send)
            return
        if len(self._under_way) >= self.most_at_once or await self._is_slow():
            await _refused(f"more is asked of the gateway than it can answer within {self.seconds:g} s", scope, send)
            return
        has_begun = is_over = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            if not is_over:
                has_begun = True
                await send(message)

        answering = asyncio.create_task(_run(self.app, scope, receive, watched), name="answer")
        self._under_way.add(answering)
        answering.add_done_callback(self._ended)
        try:
            await asyncio.wait({answering}, timeout=self.seconds)
        except asyncio.CancelledError:
            answering.cancel()
            raise
        if answering.done() or has_begun:
            await answering
            return
        is_over = True
        answering.cancel()
        await _refused(f"the gateway could not answer within {self.seconds:g} s", scope, send)

    async def _is_slow(self) -> bool:
        """Let everything that is ready have its turn, and tell whether that took too long."""
        now = asyncio.get_running_loop().time
        began = now()
        await asyncio.sleep(0)
        return now() - began > self.turn_seconds

    def _ended(self, answering: asyncio.Task[None]) -> None:
        self._under_way.discard(answering)
        if not answering.cancelled():
            answering.exception()  # whoever waited has it; of one that was given up nobody asks


async def _run(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Make a coroutine of what an app may return as any awaitable."""
    await app(scope, receive, send)


async def _refused(detail: str, scope: Scope, send: Send) -> None:
    headers = {"Retry-After": str(problems.RETRY_AFTER_SECONDS)}
    response = problems.answer(503, "transient", f"{detail}; ask again", headers=headers)
    await response(scope, _silent, send)


async def _silent() -> Message:
    return {"type": "http.disconnect"}
