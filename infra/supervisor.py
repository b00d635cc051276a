"""Keeping processes alive: started in order of readiness, started again when they die, stopped in reverse.

The supervisor knows nothing of what it runs. It is a child-subreaper: whatever its children leave behind becomes its
own child, is reaped here, and is found again at the end by the mark in its environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import structlog

from infra.process import MARK, Identity, end, everyone, group_of, look
from infra.runfiles import Phase, RunRecord, end_recorded, write
from models.errors import ConfigurationInvalid, SourceUnavailable, ToolMissing

log = structlog.get_logger()

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
FIRST_PAUSE_SECONDS = 0.2  # one kill -9 is mended before a lease or a beat runs out
LONGEST_PAUSE_SECONDS = 15.0  # a process that cannot start must not eat a core, nor stay away for long once it can
STEADY_SECONDS = 30.0  # who lived this long starts with the first pause again
READY_POLL_SECONDS = 0.1
ORPHAN_ROUND_SECONDS = 2.0
LOG_BYTES = 5_000_000  # a log larger than this at a start moves aside once, so that a folder holds at most two a name


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process to keep.

    Attributes:
        name: Unique; names its log and its run file.
        command: Program and arguments; never a secret, since every user of the machine can read them.
        env: Added to this process's own environment.
        cwd: Where it starts; None: here.
        ready: Says whether it serves; None: ready once started.
        ready_seconds: Not ready by then counts as died.
        restart: False makes it a step: it runs to its end once, and is ready when it ended well.
        stop_signal: The polite signal; also what it gets when the supervisor itself is killed.
        stop_seconds: From that signal to KILL.
        after: Names that must be ready before this one starts.
        marked: What it leaves behind is ours to end. False for one whose offspring belong to the machine.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    ready: Callable[[], Awaitable[bool]] | None = None
    ready_seconds: float = 60.0
    restart: bool = True
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 5.0
    after: tuple[str, ...] = ()
    marked: bool = True


class _Kept:
    """A spec and its present incarnation."""

    def __init__(self, spec: ProcessSpec, *, order: int) -> None:
        self.spec = spec
        self.order = order
        self.phase = Phase.WAITING
        self.restarts = 0
        self.ready = asyncio.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self.identity: Identity | None = None


class Supervisor:
    """Keeps a set of processes alive for as long as it lives itself."""

    def __init__(self, state: Path, *, with_logs: bool = True) -> None:
        """Prepare `<state>/run` and `<state>/log`; nothing is started.

        Args:
            state: The installation's state folder.
            with_logs: A log a process in `<state>/log`; False: all of them write where we do, as a container's should.
        """
        self._with_logs = with_logs
        self._run = state / "run"
        self._log = state / "log"
        for folder in (self._run, self._log):
            folder.mkdir(parents=True, exist_ok=True)
        self.mark = str(self._run.resolve())
        self._kept: dict[str, _Kept] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._orphans: asyncio.Task[None] | None = None
        become_subreaper()

    def start(self, specs: Iterable[ProcessSpec]) -> None:
        """Begin to keep these; each waits by itself for what it comes after.

        Raises:
            ConfigurationInvalid: a name twice, or `after` an unknown one. Specs come after what they need, so that
                there can be no circle.
        """
        if self._orphans is None:
            self._orphans = asyncio.create_task(self._reap_orphans(), name="orphans")
        for spec in specs:
            if spec.name in self._kept:
                raise ConfigurationInvalid(f"process {spec.name} is declared twice", "give each its own name")
            if missing := set(spec.after) - set(self._kept):
                raise ConfigurationInvalid(
                    f"process {spec.name} comes after unknown {', '.join(sorted(missing))}", "declare those first"
                )
            order = 1 + max((self._kept[name].order for name in spec.after), default=-1)
            self._kept[spec.name] = _Kept(spec, order=order)
            self._keepers[spec.name] = asyncio.create_task(self._keep(self._kept[spec.name]), name=spec.name)

    async def ready(self, *names: str, at_most: float) -> None:
        """Wait until all of these are ready.

        Raises:
            SourceUnavailable: one is not ready after `at_most` seconds; says which log to read.
            MeshError: a keeper gave up (program missing, step failed).
        """
        waits = {asyncio.create_task(self._kept[name].ready.wait(), name=name) for name in names}
        try:
            async with asyncio.timeout(at_most):
                while any(not one.done() for one in waits):
                    # One that gave up before we came is among no tasks to wait for.
                    self._raise_failure()
                    pending = {one for one in waits if not one.done()}
                    living = {one for one in self._keepers.values() if not one.done()}
                    await asyncio.wait(pending | living, return_when=asyncio.FIRST_COMPLETED)
            self._raise_failure()
        except TimeoutError as error:
            late = next(one.get_name() for one in waits if not one.done())
            raise SourceUnavailable(late, f"not ready after {at_most:.0f} s; read {self._log_of(late)}") from error
        finally:
            for one in waits:
                one.cancel()

    async def watch(self, until: asyncio.Event) -> None:
        """Return once `until` is set.

        Raises:
            MeshError: a keeper gave up.
        """
        stopped = asyncio.create_task(until.wait(), name="until")
        try:
            while not stopped.done():
                living = {one for one in self._keepers.values() if not one.done()}
                await asyncio.wait({stopped, *living}, return_when=asyncio.FIRST_COMPLETED)
                self._raise_failure()
        finally:
            stopped.cancel()

    async def stop(self) -> None:
        """End everything, last started first, then whatever carries our mark; remove the run files."""
        keepers = [*self._keepers.values(), *([self._orphans] if self._orphans else [])]
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        await end_recorded(self._run, mark=self.mark)
        for kept in self._kept.values():
            if kept.process is not None:
                kept.process.wait()
        for zombie in list(_zombies()):
            _reap(zombie)
        self._kept.clear()
        self._keepers.clear()
        self._orphans = None

    def _raise_failure(self) -> None:
        for keeper in self._keepers.values():
            if keeper.done() and not keeper.cancelled() and (failure := keeper.exception()) is not None:
                raise failure

    async def _keep(self, kept: _Kept) -> None:
        spec = kept.spec
        for name in spec.after:
            await self._kept[name].ready.wait()
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = loop.time()
            code = await self._live_once(kept)
            if not spec.restart:
                self._finish_step(kept, code)
                return
            lived = loop.time() - began
            pause = FIRST_PAUSE_SECONDS if lived >= STEADY_SECONDS else pause
            kept.restarts += 1
            self._note(kept, Phase.DOWN)
            log.warning(
                "process ended, starting again", process=spec.name, code=code, lived=round(lived, 1), pause=pause
            )
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _live_once(self, kept: _Kept) -> int:
        """Start it, see it ready, wait for its end, and end what is left of its group. Returns its exit code."""
        process = self._spawn(kept)
        ended = asyncio.create_task(_wait(process))
        try:
            if await self._becomes_ready(kept.spec, ended):
                if kept.spec.restart:
                    kept.ready.set()
                    self._note(kept, Phase.READY)
                    log.info("process ready", process=kept.spec.name, pid=process.pid)
            elif not ended.done():
                log.warning("process not ready in time", process=kept.spec.name, seconds=kept.spec.ready_seconds)
                await end(_own(kept), first=kept.spec.stop_signal, grace_seconds=kept.spec.stop_seconds)
            code = await ended
        finally:
            ended.cancel()
            kept.ready.clear()
        await end(_own(kept), first=signal.SIGKILL, grace_seconds=0)
        return code

    async def _becomes_ready(self, spec: ProcessSpec, ended: asyncio.Task[int]) -> bool:
        """Say whether it serves; False as soon as it ended or its time is over."""
        if spec.ready is None:
            return True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + spec.ready_seconds
        while not ended.done() and loop.time() < deadline:
            if await spec.ready():
                return True
            await asyncio.wait({ended}, timeout=READY_POLL_SECONDS)
        return False

    def _finish_step(self, kept: _Kept, code: int) -> None:
        name = kept.spec.name
        if code != 0:
            raise ConfigurationInvalid(f"step {name} failed with exit code {code}", f"read {self._log_of(name)}")
        kept.ready.set()
        self._note(kept, Phase.DONE)
        log.info("step done", step=name)

    def _spawn(self, kept: _Kept) -> subprocess.Popen[bytes]:
        spec = kept.spec
        environment = {**os.environ, **spec.env}
        environment.pop(MARK, None)
        if spec.marked:
            environment[MARK] = self.mark
        program = shutil.which(spec.command[0], path=environment.get("PATH"))
        if program is None:
            raise ToolMissing(spec.command[0], f"process {spec.name} needs it: install it, then `x0tta6bl4 doctor`")
        # setpriv ties the child to us without code of ours between fork and exec.
        tie = ("setpriv", "--pdeathsig", spec.stop_signal.name.removeprefix("SIG"), "--")
        with self._open_log(spec.name) as output:
            process = subprocess.Popen(
                (*tie, program, *spec.command[1:]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=spec.cwd,
                start_new_session=True,
            )
        kept.process = process
        state = look(process.pid)
        kept.identity = state.identity if state else None
        self._note(kept, Phase.STARTING)
        return process

    def _open_log(self, name: str) -> BinaryIO:
        if not self._with_logs:
            return os.fdopen(os.dup(1), "wb")
        path = self._log_of(name)
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")

    def _log_of(self, name: str) -> Path:
        return self._log / f"{name}.log"

    def _note(self, kept: _Kept, phase: Phase) -> None:
        kept.phase = phase
        if kept.identity is None:
            return
        spec = kept.spec
        record = RunRecord(
            name=spec.name,
            identity=kept.identity,
            phase=phase,
            restarts=kept.restarts,
            order=kept.order,
            log=str(self._log_of(spec.name)),
            stop_signal=spec.stop_signal.value,
            stop_seconds=spec.stop_seconds,
        )
        write(self._run, record)

    async def _reap_orphans(self) -> None:
        """Reap adopted processes; one round's grace leaves a zombie to whoever started and awaits it."""
        seen: set[Identity] = set()
        while True:
            await asyncio.sleep(ORPHAN_ROUND_SECONDS)
            ours = {kept.identity for kept in self._kept.values()}
            zombies = {one for one in _zombies() if one not in ours}
            for one in zombies & seen:
                _reap(one)
            seen = zombies


def _own(kept: _Kept) -> list[Identity]:
    return [] if kept.identity is None else group_of(kept.identity)


def _zombies() -> Iterator[Identity]:
    return (one.identity for one in everyone() if one.is_zombie and one.parent == os.getpid())


def _reap(zombie: Identity) -> None:
    # Between the look and the wait its own starter may have taken it: then there is nothing left to do.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(zombie.pid, os.WNOHANG)


async def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for a child without a thread: its pidfd becomes readable at its end."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    handle = os.pidfd_open(process.pid)
    loop.add_reader(handle, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)
    return process.wait()


def become_subreaper() -> None:
    """Make this process the parent of its descendants' orphans.

    Raises:
        OSError: the kernel refused, which it does for no reason known.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
