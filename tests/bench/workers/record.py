"""One recording in a process of its own: `python -m tests.bench.workers.record REQUEST.json`.

Ends with 0 when the recording was written, with 3 when the trial is void (the reason on standard output).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from infra.clock import SystemClock
from infra.lab import build
from infra.lab.running import run_trial
from infra.lab.trial import TrialSpec
from infra.settings import Settings
from models.errors import MeshError
from tests.bench.recording import Recorder, Recording, harms_of, write

FAILED, VOID = 1, 3


class Request(BaseModel):
    """What to record, and where to put it."""

    model_config = ConfigDict(frozen=True)

    case: str
    number: int
    spec: TrialSpec
    commit: str
    lab: str
    state: Path
    out: Path


async def recorded(request: Request) -> str | None:
    """Record, and write the file; return why the trial is void, and then nothing is written."""
    recorder = Recorder(Settings(state=request.state))
    folder = request.state / "trials" / request.lab
    result = await run_trial(
        request.spec, recorder, lab=request.lab, state=request.state, folder=folder, clock=SystemClock()
    )
    if result.void is not None:
        return result.void
    done = Recording(
        case=request.case,
        number=request.number,
        mesh=request.spec.mesh(request.lab),
        samples=recorder.samples(),
        harms=harms_of(folder / "faults.jsonl"),
        commit=request.commit,
        load=round(os.getloadavg()[0], 2),
    )
    await asyncio.to_thread(write, done, request.out)
    return None


async def _cancellable(request: Request) -> str | None:
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await recorded(request)


def main() -> int:
    """Read, record, answer."""
    request = Request.model_validate_json(Path(sys.argv[1]).read_bytes())
    try:
        void = asyncio.run(_cancellable(request))
    except (MeshError, OSError) as failure:
        sys.stderr.write(f"{type(failure).__name__}: {failure}\n")
        return FAILED
    except asyncio.CancelledError:
        # Stopped while a lab is built, its builder's thread has the last word; it has ended by now.
        asyncio.run(build.clean(request.lab, state=request.state))
        return FAILED
    if void is not None:
        sys.stdout.write(f"{void}\n")
        return VOID
    return 0


if __name__ == "__main__":
    sys.exit(main())
