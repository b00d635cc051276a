"""Recordings side by side: a process and a lab each, finished ones are not repeated, nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

from infra.lab import build
from models.errors import ConfigurationInvalid
from tests.bench.diagnosis_cells import Cell, specification
from tests.bench.recording import path_of
from tests.bench.report import ROOT
from tests.bench.workers.record import VOID, Request

ATTEMPTS = 3  # a place that voids its trial so often will again
PATIENCE_S = 300.0  # the longest takes two minutes on a machine of its own
STOP_SECONDS = 30.0
LOG_TAIL = 600
VOIDS = "voids.jsonl"


def wanting(plan: Sequence[Cell], folder: Path) -> list[Cell]:
    """Return the cells without a recording, in the plan's order, that were not tried too often."""
    tried = Counter((one["case"], one["number"]) for one in voids(folder))
    return [
        one
        for one in plan
        if not path_of(folder, one.case, one.number).exists() and tried[one.case, one.number] < ATTEMPTS
    ]


def voids(folder: Path) -> list[dict[str, object]]:
    """Return the attempts that gave no recording, each with its reason."""
    path = folder / VOIDS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def record_all(
    plan: Sequence[Cell], folder: Path, *, seed: int, parallel: int, commit: str, tell: Callable[[str], None]
) -> None:
    """Record what is wanting.

    Raises:
        ConfigurationInvalid: not root.
    """
    if os.geteuid() != 0:
        raise ConfigurationInvalid("a lab needs root", "record with sudo; --from DIR judges recordings without")
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    state = Path(tempfile.mkdtemp(prefix=f"x0record-{os.getpid()}-"))
    waiting = deque(wanting(plan, folder))
    serial = iter(range(len(plan) * ATTEMPTS))

    async def slot() -> None:
        while waiting:
            cell = waiting.popleft()
            request = Request(
                case=cell.case,
                number=cell.number,
                spec=specification(cell, seed=seed),
                commit=commit,
                lab=f"r{os.getpid():x}{next(serial):03x}",
                state=state,
                out=folder,
            )
            reason = await _recorded(request)
            if reason is None:
                tell(f"{cell}: recorded, {len(waiting)} to go")
                continue
            with (folder / VOIDS).open("a") as file:
                file.write(json.dumps({"case": cell.case, "number": cell.number, "reason": reason}) + "\n")
            tell(f"{cell}: {reason}")
            waiting.extend(wanting([cell], folder))

    try:
        async with asyncio.TaskGroup() as slots:
            for _ in range(min(parallel, len(waiting))):
                slots.create_task(slot())
    finally:
        await asyncio.shield(build.clean(None, state=state))
        shutil.rmtree(state)


async def _recorded(request: Request) -> str | None:
    """Run one worker; return why there is no recording."""
    folder = request.state / "trials" / request.lab
    folder.mkdir(parents=True)
    asked = folder / "request.json"
    asked.write_text(request.model_dump_json(by_alias=True))
    # Tied to our life: a killed benchmark leaves workers that take their labs down, not ones that go on.
    command = ("setpriv", "--pdeathsig", "TERM", "--", sys.executable, "-m", "tests.bench.workers.record", str(asked))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "worker.log").open("wb") as log:
        worker = await asyncio.create_subprocess_exec(
            *command, stdout=log, stderr=log, env=environment, process_group=0
        )
    try:
        code = await asyncio.wait_for(worker.wait(), PATIENCE_S)
    except TimeoutError:
        code = None
    finally:
        await asyncio.shield(_ended(worker))
        await asyncio.shield(build.clean(request.lab, state=request.state))
        said = (folder / "worker.log").read_text(errors="replace")[-LOG_TAIL:].strip()
        shutil.rmtree(folder)
    if code == 0:
        return None
    return f"void: {said}" if code == VOID else f"failed ({code}): {said}"


async def _ended(worker: asyncio.subprocess.Process) -> None:
    if worker.returncode is not None:
        return
    worker.terminate()
    try:
        await asyncio.wait_for(worker.wait(), STOP_SECONDS)
    except TimeoutError:
        os.killpg(worker.pid, signal.SIGKILL)  # its group: the prober it can no longer end itself
        await worker.wait()
