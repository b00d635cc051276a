"""Stages and their diary: a stage is a Prefect task while Prefect answers, else the same plain function.

Healing never waits for its diary. `stage` wraps a function once; `unreported()` runs everything inside it plainly;
what ran so is written down afterwards by `Diary.catch_up`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import httpx
import structlog
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.flows import Flow
from prefect.settings import get_current_settings
from prefect.states import Completed

from tasks.retry import RETRY_DELAYS_SECONDS, is_transient

P = ParamSpec("P")
R = TypeVar("R")

log = structlog.get_logger()

# Longer than a healthy answer by two orders of magnitude, short beside a heal.
ANSWERS_WITHIN_SECONDS = 1.0

_closed: ContextVar[bool] = ContextVar("diary_closed", default=False)


@contextmanager
def unreported() -> Iterator[None]:
    """Run every stage inside as the plain function it is."""
    token = _closed.set(True)
    try:
        yield
    finally:
        _closed.reset(token)


def is_reported() -> bool:
    """Tell whether a stage called here would show up in Prefect."""
    return not _closed.get() and FlowRunContext.get() is not None


def stage(name: str) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Make an async function a stage of the cycle, shown in Prefect under `name`.

    Reported, a transient error is tried again by Prefect; unreported it reaches the caller, who tries the whole turn
    again. Results stay in memory, never in Prefect's storage.
    """

    def wrap(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        reported: Any = task(
            name=name,
            retries=len(RETRY_DELAYS_SECONDS),
            retry_delay_seconds=RETRY_DELAYS_SECONDS,
            retry_condition_fn=is_transient,
            cache_policy=NO_CACHE,
            persist_result=False,
        )(function)

        @wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if is_reported():
                result: R = await reported(*args, **kwargs)
                return result
            return await function(*args, **kwargs)

        return call

    return wrap


async def answers() -> bool:
    """Tell whether Prefect's API answers within a second."""
    api = get_current_settings().api
    if _closed.get() or api.url is None:
        return False
    try:
        async with httpx.AsyncClient(timeout=ANSWERS_WITHIN_SECONDS) as client:
            return (await client.get(f"{api.url}/health")).is_success
    except httpx.HTTPError:
        return False


@dataclass(frozen=True, slots=True)
class Entry:
    """A run that went unreported, to be written down when Prefect answers again."""

    flow: Flow[Any, Any]
    parameters: dict[str, Any]
    result: str


class Diary:
    """Runs a flow reported where it can, plainly where it must, and writes down later what it could not at once."""

    def __init__(self) -> None:
        self._missed: list[Entry] = []

    async def run(
        self,
        reported: Flow[P, Coroutine[Any, Any, R]],
        plain: Callable[P, Coroutine[Any, Any, R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run the flow; with Prefect away, before or in the middle, the plain function with the same arguments.

        Both do the same work, and every stage may run twice, so changing horses in the middle loses nothing.
        """
        if await answers():
            try:
                result: R = await reported(*args, **kwargs)
            except httpx.HTTPError as error:
                log.warning("Prefect went away in the middle of a run", flow=reported.name, error=str(error))
            else:
                return result
        with unreported():
            result = await plain(*args, **kwargs)
        if get_current_settings().api.url is not None:
            self._missed.append(Entry(reported, {"asked": str(args)}, str(result)))
        return result

    async def catch_up(self) -> None:
        """Write down what ran unreported as completed runs tagged `unreported`, once Prefect answers."""
        if not self._missed or not await answers():
            return
        async with get_client() as client:
            while self._missed:
                entry = self._missed[0]
                await client.create_flow_run(
                    entry.flow, parameters=entry.parameters, tags=["unreported"], state=Completed(message=entry.result)
                )
                self._missed.pop(0)
