"""One trial in a process of its own: `python -m tests.bench.workers.trial REQUEST.json ANSWER.json`.

Namespaces, event loop and crashes of trials that run side by side so stay apart. TERM and INT end it like any
cancelled trial: the lab is taken down first.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from infra.clock import SystemClock
from infra.lab import build
from infra.lab.running import run_trial
from infra.lab.trial import TrialSpec
from infra.lab.verdict import TrialResult
from infra.settings import Settings
from models.errors import MeshError

FAILED = 1


class Request(BaseModel):
    """What to try, under which name."""

    model_config = ConfigDict(frozen=True)

    spec: TrialSpec
    heals: bool
    lab: str
    folder: Path


class Answer(BaseModel):
    """What came of it.

    Attributes:
        result: None exactly when there is an error.
        error: One sentence.
        cpu_s: Processor time of this process and of the children it waited for (actuators, the prober, not the
            routing daemons).
    """

    model_config = ConfigDict(frozen=True)

    result: TrialResult | None = None
    error: str = ""
    cpu_s: float


async def tried(request: Request, settings: Settings) -> TrialResult:
    """Run the trial."""
    if request.heals:
        from flows.trial import run  # noqa: PLC0415 - Prefect costs seconds of CPU that routing alone must not pay for

        return await run(request.spec, heal=True, lab=request.lab, folder=request.folder, settings=settings)
    return await run_trial(
        request.spec, None, lab=request.lab, state=settings.state, folder=request.folder, clock=SystemClock()
    )


async def _cancellable(request: Request, settings: Settings) -> TrialResult:
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await tried(request, settings)


def main() -> int:
    """Read, try, answer."""
    asked, answered = map(Path, sys.argv[1:])
    request, settings = Request.model_validate_json(asked.read_bytes()), Settings()
    result, error = None, ""
    try:
        result = asyncio.run(_cancellable(request, settings))
    except (MeshError, OSError) as failure:
        error = f"{type(failure).__name__}: {failure}"
    except asyncio.CancelledError:
        error = "it was told to stop"
        # Stopped while a lab is built, its builder's thread has the last word; it has ended by now.
        asyncio.run(build.clean(request.lab, state=settings.state))
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    answer = Answer(result=result, error=error, cpu_s=sum(one.ru_utime + one.ru_stime for one in used))
    answered.write_text(answer.model_dump_json())
    return FAILED if error else 0


if __name__ == "__main__":
    sys.exit(main())
