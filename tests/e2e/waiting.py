"""Bounded waits that say what was waited for and what was seen last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from models.errors import SourceUnavailable

LOOK_SECONDS = 0.1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NotYet:
    """What is seen instead of what is waited for."""

    seen: str


async def until(what: str, look: Callable[[], Awaitable[T | NotYet]], *, within: float) -> T:
    """Look again and again until there is a value, and return it; a database that is away is only a state.

    Raises:
        AssertionError: it did not come within so many seconds; tells what was seen last.
    """
    deadline = time.monotonic() + within
    seen = "nothing"
    while True:
        try:
            found = await look()
            if not isinstance(found, NotYet):
                return found
            seen = found.seen
        except SourceUnavailable as error:
            seen = str(error)
        if time.monotonic() > deadline:
            message = f"waited {within:.0f} s for {what}; last seen: {seen}"
            raise AssertionError(message)
        await asyncio.sleep(LOOK_SECONDS)
