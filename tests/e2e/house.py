"""One installation in a folder of its own, started and stopped as its operator does: by the command line."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import httpx

from flows.status import look as status_of
from infra.db.cluster import database_url
from infra.lab import build, kernel, names
from infra.process import Identity, environment, everyone, is_alive, look
from infra.runfiles import Phase, RunRecord, recorded
from infra.settings import Settings
from models.mesh import NodeId
from tests.e2e.waiting import NotYet, until
from tests.scratch import MEMORY, scratch

PREFIX = "x0-e2e-"
COMMAND = Path(sys.executable).with_name("x0tta6bl4")
# The first start migrates two databases and starts eight long runs on two cores that others may use as well.
START_SECONDS = 300.0
STOP_SECONDS = 90.0
COMMAND_SECONDS = 130.0
# Longer than the 10 s of ten chunks that a detector wants of a link's past before it says anything.
PAST_SAMPLES = 46
# Names of another installation's world that do not begin with ours: its database, and its bot.
FOREIGN = {"DATABASE_URL", "TELEGRAM_BOT_TOKEN"}
# Waits for the end of a process, then cleans up after it, unless it did so itself.
HEIR = """
tail --pid="$OWNER" -f /dev/null
test -d "$LEFT" || exit 0
exec flock "$LEFT" sh -c 'X0_STATE="$LEFT" "$COMMAND" down; rm -rf "$LEFT"'
"""
# What the restoring test waits for; ten minutes would prove no more.
CLEAN_SECONDS = 12


def free_port() -> int:
    """Return a port of the loopback that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def make_state(parent: Path | None = None) -> Path:
    """Make a state folder that Postgres' user may pass through, short enough for the address of a unix socket.

    It lies in the parent; None: where tests put databases.
    Whatever still lives in it when this process is gone is taken down, and the folder removed: on Ctrl-C a worker of a
    session has ten seconds until it is killed, and an installation needs longer.
    """
    state = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent or scratch()))
    state.chmod(0o755)
    subprocess.run(
        ["setsid", "--fork", "sh", "-c", HEIR],
        # Under another name than the installation's own, which this is no part of.
        env={**os.environ, "LEFT": str(state), "OWNER": str(os.getpid()), "COMMAND": str(COMMAND)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return state


@dataclass(frozen=True, slots=True)
class Traces:
    """What an installation leaves in the machine while it lives.

    Attributes:
        namespaces: Of its lab.
        processes: That carry its state folder in their environment or on their command line.
        programs: Ids of the eBPF programs its processes hold.
        mounts: That it made.
        files: Run files and labs in its state folder.
    """

    namespaces: frozenset[str]
    processes: frozenset[str]
    programs: frozenset[int]
    mounts: frozenset[str]
    files: frozenset[str]


class House:
    """An installation that this test session owns; `also` is environment of its own."""

    def __init__(self, state: Path, *, mesh: str, also: Mapping[str, str] | None = None) -> None:
        self.state = state
        self._also = also or {}
        self.settings = Settings(
            state=state,
            mesh=mesh,
            prefect_port=free_port(),
            api_port=free_port(),
            tron_metrics_port=free_port(),
            ton_metrics_port=free_port(),
            clean_seconds_before_restore=CLEAN_SECONDS,
        ).model_copy(update={"database_url": None})
        self.log = state / "up.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def mesh(self) -> str:
        """Name of the mesh and of the lab."""
        return self.settings.mesh

    @property
    def database(self) -> str:
        """Address of its own database."""
        return database_url(self.settings)

    @property
    def gateway(self) -> str:
        """Where its API answers."""
        return f"http://127.0.0.1:{self.settings.api_port}"

    @property
    def prefect(self) -> str:
        """Where its Prefect server answers."""
        return f"http://127.0.0.1:{self.settings.prefect_port}"

    @property
    def lab(self) -> build.Lab:
        """Its lab."""
        return build.load(self.mesh, state=self.state)

    def environment(self) -> dict[str, str]:
        """Return this session's environment with the settings of this installation and nothing of another."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("X0_", "PREFECT_")) and name not in FOREIGN
        }
        return {
            **kept,
            **self._also,
            "X0_STATE": str(self.state),
            "X0_MESH": self.mesh,
            "X0_PREFECT_PORT": str(self.settings.prefect_port),
            "X0_API_PORT": str(self.settings.api_port),
            "X0_TRON_METRICS_PORT": str(self.settings.tron_metrics_port),
            "X0_TON_METRICS_PORT": str(self.settings.ton_metrics_port),
            "X0_CLEAN_SECONDS_BEFORE_RESTORE": str(self.settings.clean_seconds_before_restore),
            "PREFECT_HOME": str(self.state / "prefect"),
            "COLUMNS": "200",
        }

    def run(self, *arguments: str, within: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run one command of ours to its end."""
        return subprocess.run(
            [str(COMMAND), *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )

    def start(self, *arguments: str) -> None:
        """Start `x0tta6bl4 up ...`; does not wait."""
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(COMMAND), "up", *arguments],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def up(self) -> None:
        """Wait until it says that it is up, its gateway is ready, and every node has a past to be judged by.

        Raises:
            AssertionError: it ended, or did not get so far in time; shows the log's last lines.
        """
        await until("`up` to say that it is up", self._says_up, within=START_SECONDS)
        await until("/ready to answer 200", self._is_ready, within=START_SECONDS)
        await until("every node's past", self._has_past, within=START_SECONDS)

    async def _says_up(self) -> bool | NotYet:
        if self._process is not None and self._process.poll() is not None:
            message = f"`up` ended with code {self._process.returncode}; its last words:\n{self.last_words()}"
            raise AssertionError(message)
        return True if "up; Ctrl-C takes" in self.log.read_text() else NotYet(self.last_words())

    async def _is_ready(self) -> bool | NotYet:
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.get(f"{self.gateway}/ready")
        except httpx.HTTPError as error:
            return NotYet(repr(error))
        return True if answer.status_code == httpx.codes.OK else NotYet(answer.text)

    async def _has_past(self) -> bool | NotYet:
        seen = await self.sequences()
        lacking = {node.id for node in self.lab.mesh.nodes} - {node for node, n in seen.items() if n >= PAST_SAMPLES}
        return NotYet(f"samples of each node's run so far: {seen}") if lacking else True

    async def sequences(self) -> dict[NodeId, int]:
        """Return how many samples each node's present collector took."""
        from infra.db.unit import PostgresStore  # noqa: PLC0415 - the driver is for those tests that run

        store = PostgresStore(self.database)
        try:
            async with store.unit() as uow:
                return {node: one.sequence for node, one in (await uow.samples.latest(self.mesh)).items()}
        finally:
            await store.close()

    async def ills(self) -> list[str]:
        """Return what `status` complains of; empty when every process is ready and every run beats."""
        seen = await status_of(self.settings)
        down = [f"{one.name} is {one.phase}" for one in seen.processes if one.phase not in {Phase.READY, Phase.DONE}]
        return [*seen.problems, *down]

    def processes(self) -> dict[str, RunRecord]:
        """Return what its run files say, by name."""
        return {one.name: one for one in recorded(self.state / "run")}

    def last_words(self, lines: int = 30) -> str:
        """Return the end of the log of `up`."""
        return "\n".join(self.log.read_text().splitlines()[-lines:]) if self.log.exists() else "(no log)"

    async def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code."""
        if self._process is None:
            message = "it was not started"
            raise AssertionError(message)
        self._process.send_signal(signal.SIGINT)
        return await asyncio.to_thread(self._process.wait, STOP_SECONDS)

    def clean(self) -> None:
        """Take everything down, whatever state it is in, and remove the folder."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.run("down", within=STOP_SECONDS)
        shutil.rmtree(self.state)

    def traces(self) -> Traces:
        """Look for what it leaves in the machine."""
        namespaces = frozenset(kernel.namespaces(names.prefix(self.mesh)))
        mounts_file = self.state / "mounts"
        living = self._living()
        files = [*(self.state / "run").glob("*"), *names.labs_folder(self.state).glob("*")]
        return Traces(
            namespaces=namespaces,
            processes=frozenset(f"{one.pid} {_command_line(one.pid)}" for one in living),
            programs=frozenset(number for one in living for number in programs_of(one.pid)),
            mounts=frozenset(mounts_file.read_text().split()) if mounts_file.exists() else frozenset(),
            files=frozenset(str(one) for one in files),
        )

    def _living(self) -> list[Identity]:
        state = str(self.state)
        return [
            one.identity
            for one in everyone()
            if not one.is_zombie
            and one.identity.pid != os.getpid()
            and (environment(one.identity.pid).get("X0_STATE") == state or state in _command_line(one.identity.pid))
        ]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def programs_of(pid: int) -> set[int]:
    """Return the ids of the eBPF programs a process holds, loaded or attached."""
    found: set[int] = set()
    # A descriptor, and the process itself, may go while we look.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError):
                words = [line.split() for line in entry.read_text().splitlines()]
                found |= {int(one[1]) for one in words if one[:1] == ["prog_id:"]}
    return found


def loaded_programs() -> set[int]:
    """Return the ids of every eBPF program in the kernel."""
    said = subprocess.run(["bpftool", "-j", "prog", "show"], capture_output=True, text=True, check=True)
    return {int(one["id"]) for one in json.loads(said.stdout)}


def sweep() -> None:
    """Take down what killed sessions left: folders named after a process that is gone."""
    # Both, for a session that was killed had perhaps more room in memory than we have, or less.
    for folder in chain(MEMORY.glob(f"{PREFIX}*"), Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        number = folder.name.removeprefix(PREFIX).partition("-")[0]
        if number.isdigit() and look(int(number)) is None:
            with contextlib.suppress(FileNotFoundError), _locked(folder):
                House(folder, mesh="left").clean()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Be the only one who cleans a folder; raises FileNotFoundError where another did."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        folder.stat()
        yield
    finally:
        os.close(handle)


def wait_gone(identity: Identity, *, within: float) -> bool:
    """Wait for the end of that very process; tell whether it came."""
    deadline = time.monotonic() + within
    while is_alive(identity) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(identity)
