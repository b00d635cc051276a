"""Time that leaps: an event loop whose sleeps take no real time, so that a heal is tested in a blink."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, ParamSpec

from tests.models.samples import START

P = ParamSpec("P")

# Nothing is due and nothing came: whoever waits waits for ever.
STUCK_AFTER_SECONDS = 5.0


class _Leaping(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Waits for nobody: where the loop would sleep, its time moves on instead."""

    leapt = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            # Only a thread can still wake the loop; that takes real time.
            events = super().select(STUCK_AFTER_SECONDS)
            assert events, "everything waits and nothing will come"
            return events
        self.leapt += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which time passes only while everybody sleeps."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.leapt


def virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test in a loop whose sleeps take no real time."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


class LoopClock:
    """Wall time that follows the running loop, whether it leaps or not."""

    def __init__(self, *, ahead: timedelta = timedelta()) -> None:
        self._born = asyncio.get_running_loop().time()
        self.ahead = ahead

    def now(self) -> datetime:
        return START + self.ahead + timedelta(seconds=asyncio.get_running_loop().time() - self._born)
