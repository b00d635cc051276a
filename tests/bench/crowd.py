"""Many trials side by side: who runs next, one process each, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from infra.lab import build
from infra.lab.trial import TrialSpec
from tests.bench.cells import Cell, specification
from tests.bench.records import Record, Records, wanting
from tests.bench.report import ROOT
from tests.bench.workers.trial import Answer, Request

STOP_SECONDS = 30.0  # a controller undoes, an actuator says goodbye, a lab comes down: ten seconds on a busy machine
SLACK_SECONDS = 120.0  # building, starting collectors and actuators, learning, taking down, six at a time
LOG_TAIL = 1500  # characters of a failed worker's log that tell why; a traceback's last frames
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Runner(Protocol):
    """Runs one cell once."""

    async def __call__(self, cell: Cell) -> Record:
        """Return what came of it; a trial that fails is a record, too."""


async def run_all(
    plan: Sequence[Cell],
    records: Records,
    runner: Runner,
    *,
    parallel: int,
    on_record: Callable[[Record], None] = lambda _: None,
) -> None:
    """Have every cell of the plan tried until it counts or its attempts are used up; finished ones are not repeated.

    Args:
        plan: In order.
        records: What was finished before, and where each attempt is written once finished.
        runner: Tries one.
        parallel: How many at a time.
        on_record: Told of each attempt.
    """
    waiting = deque(wanting(plan, records.read()))

    async def slot() -> None:
        while waiting:
            cell = waiting.popleft()
            record = await runner(cell)
            records.add(record)
            on_record(record)
            # Replaced at the end, when whatever disturbed it has more likely passed.
            waiting.extend(wanting([cell], records.read()))

    async with asyncio.TaskGroup() as slots:
        for _ in range(min(parallel, len(waiting))):
            slots.create_task(slot())


class TrialProcesses:
    """Runs each trial in a worker process, in a lab of its own.

    Args:
        state: State folder with the database; labs and trial files live below it.
        seed: The benchmark's.
        commit: What is measured.
    """

    def __init__(self, state: Path, *, seed: int, commit: str) -> None:
        self._state = state
        self._seed = seed
        self._commit = commit
        self._serial = 0

    async def __call__(self, cell: Cell) -> Record:
        """Run one cell once."""
        lab = self._lab()
        folder = self._state / "trials" / lab
        folder.mkdir(parents=True)
        spec = specification(cell, seed=self._seed)
        request = Request(spec=spec, heals=cell.arm.heals, lab=lab, folder=folder)
        (folder / "request.json").write_text(request.model_dump_json(by_alias=True))
        started = time.monotonic()
        try:
            ended = await self._worker(folder, _patience(spec))
        finally:
            await asyncio.shield(build.clean(lab, state=self._state))
        answer = _answer(folder, ended)
        void = answer.result is not None and answer.result.void is not None
        record = Record(
            case=cell.case,
            arm=cell.arm,
            number=cell.number,
            seed=self._seed,
            commit=self._commit,
            end="error" if answer.result is None else "void" if void else "counts",
            error=answer.error,
            result=answer.result,
            wall_s=round(time.monotonic() - started, 2),
            cpu_s=answer.cpu_s or None,
            load=os.getloadavg()[0],
        )
        # A thousand recordings would fill a disk; what they say is in the record.
        await asyncio.to_thread(shutil.rmtree, folder)
        return record

    def _lab(self) -> str:
        """Name the next lab: our pid keeps two benchmarks apart, the number keeps incidents of two trials apart."""
        self._serial += 1
        return f"b{_base36(os.getpid())}{_base36(self._serial).zfill(3)}"

    async def _worker(self, folder: Path, patience_s: float) -> str:
        """Run the worker; return what is wrong with its end, empty when nothing."""
        # Tied to our life: a killed benchmark leaves workers that take their labs down, not ones that go on.
        tie = ("setpriv", "--pdeathsig", "TERM", "--")
        command = [sys.executable, "-m", "tests.bench.workers.trial", str(folder / "request.json")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "X0_STATE": str(self._state)}
        environment.pop("DATABASE_URL", None)
        with (folder / "worker.log").open("wb") as log:
            worker = await asyncio.create_subprocess_exec(
                *tie,
                *command,
                str(folder / "answer.json"),
                stdout=log,
                stderr=log,
                env=environment,
                # Ctrl-C is for us alone; we end the workers in order.
                process_group=0,
            )
        try:
            code = await asyncio.wait_for(worker.wait(), patience_s)
        except TimeoutError:
            return f"it took longer than {patience_s:.0f} s"
        else:
            return "" if code == 0 else f"the worker ended with code {code}"
        finally:
            await asyncio.shield(_ended(worker))


async def _ended(worker: asyncio.subprocess.Process) -> None:
    if worker.returncode is not None:
        return
    worker.terminate()
    try:
        await asyncio.wait_for(worker.wait(), STOP_SECONDS)
    except TimeoutError:
        os.killpg(worker.pid, signal.SIGKILL)  # its group: the prober and the actuators it can no longer end itself
        await worker.wait()


def _patience(spec: TrialSpec) -> float:
    return spec.settle_s + spec.warm_up_s + spec.duration_s + SLACK_SECONDS


def _answer(folder: Path, ended: str) -> Answer:
    try:
        answer = Answer.model_validate_json((folder / "answer.json").read_bytes())
    except (OSError, ValidationError):
        tail = (folder / "worker.log").read_text(errors="replace")[-LOG_TAIL:]
        return Answer(error=f"{ended or 'no answer'}: {tail}".strip(), cpu_s=0)
    if ended and answer.result is None:
        return answer.model_copy(update={"error": f"{answer.error} ({ended})"})
    return answer


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, len(DIGITS))
        text = DIGITS[digit] + text
    return text or "0"
