"""One step after another, each with what was found, how long it took, and the mend where it failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from time import perf_counter

from models.errors import MeshError


class State(StrEnum):
    """What became of a step."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class StepError(Exception):
    """A step found something wrong."""

    def __init__(self, found: str, mend: str) -> None:
        super().__init__(found)
        self.found = found
        self.mend = mend


@dataclass(frozen=True, slots=True)
class Skipped:
    """A step that could not be tried here; why, and how it could."""

    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to try.

    Attributes:
        name: Short and stable.
        run: Returns what was found, or that it cannot be tried here; raises StepError or a MeshError.
        needs: Steps without whose success this one would only repeat their failure.
    """

    name: str
    run: Callable[[], Awaitable[str | Skipped]]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What a step came to.

    Attributes:
        name: The step's.
        state: Whether it succeeded.
        seconds: How long it took.
        found: One sentence.
        mend: What to do about it; empty unless it failed.
    """

    name: str
    state: State
    seconds: float
    found: str
    mend: str = ""


async def walk(
    steps: Sequence[Step], *, begun: Callable[[Step], None], ended: Callable[[Result], None]
) -> tuple[Result, ...]:
    """Try the steps in order; whatever one of them finds, the next is tried too unless it needs that one.

    Args:
        steps: In order; a step stands behind those it needs.
        begun: Hears of each step before it is tried.
        ended: Hears of each result at once.
    """
    results: dict[str, Result] = {}
    for step in steps:
        lacking = [name for name in step.needs if results[name].state is not State.OK]
        if lacking:
            result = Result(step.name, State.SKIPPED, 0.0, f"needs {' and '.join(lacking)}")
        else:
            begun(step)
            result = await _tried(step)
        results[step.name] = result
        ended(result)
    return tuple(results.values())


async def _tried(step: Step) -> Result:
    started = perf_counter()
    try:
        found = await step.run()
    except StepError as error:
        return Result(step.name, State.FAILED, perf_counter() - started, error.found, error.mend)
    except MeshError as error:
        # Our own sentences say what to do.
        return Result(step.name, State.FAILED, perf_counter() - started, str(error), "see docs/smoke.md")
    seconds = perf_counter() - started
    if isinstance(found, Skipped):
        return Result(step.name, State.SKIPPED, seconds, found.reason)
    return Result(step.name, State.OK, seconds, found)
