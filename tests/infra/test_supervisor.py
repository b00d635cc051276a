"""The supervisor on real processes: shells and sleeps, nothing of the mesh."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from infra import process
from infra.process import Identity
from infra.runfiles import Phase, RunRecord, end_recorded, lock_holder, only_one, recorded
from infra.supervisor import ProcessSpec, Supervisor
from models.errors import ConfigurationInvalid, RefusedError, SourceUnavailable, ToolMissing

SOON = 20.0  # a busy machine may take long; a passing test never waits for it
SLEEPER = ("sleep", "600")


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    one = Supervisor(tmp_path)
    yield one
    await one.stop()


async def eventually(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not claim():  # noqa: ASYNC110 - another process tells, by a file
            await asyncio.sleep(0.02)


def file_exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return path.exists()  # noqa: ASYNC240 - a stat of a local file

    return check


def record_of(state: Path, name: str) -> RunRecord:
    return next(one for one in recorded(state / "run") if one.name == name)


def script(text: str) -> tuple[str, ...]:
    return ("sh", "-c", text)


async def test_starts_a_process_only_after_what_it_needs_is_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    flag = tmp_path / "flag"
    supervisor.start(
        [
            ProcessSpec(
                "first",
                script(f"sleep 0.3; echo first >> {order}; touch {flag}; exec sleep 600"),
                ready=file_exists(flag),
            ),
            ProcessSpec("second", script(f"echo second >> {order}; exec sleep 600"), after=("first",)),
        ]
    )
    await supervisor.ready("second", at_most=SOON)
    await eventually(lambda: order.read_text() == "first\nsecond\n")


async def test_starts_independent_processes_at_the_same_time(supervisor: Supervisor, tmp_path: Path) -> None:
    # Each waits for the other's file: one after the other they would never be ready.
    a, b = tmp_path / "a", tmp_path / "b"
    supervisor.start(
        [
            ProcessSpec("a", script(f"touch {a}; exec sleep 600"), ready=file_exists(b)),
            ProcessSpec("b", script(f"touch {b}; exec sleep 600"), ready=file_exists(a)),
        ]
    )
    await supervisor.ready("a", "b", at_most=SOON)


async def test_a_killed_process_comes_back_with_a_new_identity(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start([ProcessSpec("sleeper", SLEEPER)])
    await supervisor.ready("sleeper", at_most=SOON)
    before = record_of(tmp_path, "sleeper")
    assert process.send(before.identity, signal.SIGKILL)

    def came_back() -> bool:
        now = record_of(tmp_path, "sleeper")
        return now.identity != before.identity and now.phase is Phase.READY and now.restarts == 1

    await eventually(came_back)
    assert process.is_alive(record_of(tmp_path, "sleeper").identity)


async def test_what_a_killed_process_leaves_in_its_group_is_gone_before_its_successor_starts(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    supervisor.start([ProcessSpec("parent", script(f"sleep 600 & echo $! >> {pids}; exec sleep 600"))])
    await eventually(lambda: pids.exists() and bool(pids.read_text().split()))
    first = process.look(int(pids.read_text().split()[0]))
    assert first is not None
    assert process.send(record_of(tmp_path, "parent").identity, signal.SIGKILL)
    await eventually(lambda: len(pids.read_text().split()) == 2)
    assert not process.is_alive(first.identity)


async def test_pauses_grow_for_a_process_that_cannot_live(supervisor: Supervisor, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    supervisor.start([ProcessSpec("hopeless", script(f"echo x >> {starts}; exit 3"))])
    await eventually(lambda: starts.exists() and len(starts.read_text().split()) >= 3)
    # Pauses of 0.2, 0.4, 0.8 s: without them a second would see dozens of starts.
    await asyncio.sleep(1.0)
    assert len(starts.read_text().split()) <= 6


async def test_says_which_log_to_read_when_a_process_never_gets_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start([ProcessSpec("mute", SLEEPER, ready=file_exists(tmp_path / "never"))])
    with pytest.raises(SourceUnavailable, match=r"mute does not answer: not ready after 0 s; read .*mute\.log"):
        await supervisor.ready("mute", at_most=0.3)


async def test_starts_a_process_again_that_is_not_ready_in_its_time(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start([ProcessSpec("slow", SLEEPER, ready=file_exists(tmp_path / "never"), ready_seconds=0.1)])
    await eventually(lambda: bool(recorded(tmp_path / "run")) and record_of(tmp_path, "slow").restarts >= 2)


async def test_a_step_is_ready_once_it_ended_well_and_is_not_started_again(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    supervisor.start(
        [
            ProcessSpec("step", script(f"echo run >> {runs}"), restart=False),
            ProcessSpec("after", SLEEPER, after=("step",)),
        ]
    )
    await supervisor.ready("step", "after", at_most=SOON)
    assert runs.read_text() == "run\n"
    assert record_of(tmp_path, "step").phase is Phase.DONE


async def test_a_failed_step_is_an_error_that_names_its_log(supervisor: Supervisor) -> None:
    supervisor.start([ProcessSpec("step", script("exit 7"), restart=False)])
    with pytest.raises(ConfigurationInvalid, match=r"step step failed with exit code 7; read .*step\.log"):
        await supervisor.ready("step", at_most=SOON)


async def test_watching_ends_with_the_error_of_whatever_gave_up(supervisor: Supervisor) -> None:
    supervisor.start([ProcessSpec("absent", ("x0-no-such-program",))])
    with pytest.raises(ToolMissing, match="x0-no-such-program is not installed"):
        await supervisor.watch(asyncio.Event())


async def test_a_name_twice_or_an_unknown_need_is_refused(supervisor: Supervisor) -> None:
    supervisor.start([ProcessSpec("one", SLEEPER)])
    with pytest.raises(ConfigurationInvalid, match="one is declared twice"):
        supervisor.start([ProcessSpec("one", SLEEPER)])
    with pytest.raises(ConfigurationInvalid, match="after unknown nobody"):
        supervisor.start([ProcessSpec("two", SLEEPER, after=("nobody",))])


async def test_output_goes_to_a_log_that_moves_aside_when_it_has_grown(supervisor: Supervisor, tmp_path: Path) -> None:
    log = tmp_path / "log" / "talker.log"
    log.write_bytes(b"old" * 2_000_000)
    supervisor.start([ProcessSpec("talker", script("echo out; echo err >&2; exec sleep 600"))])
    await eventually(lambda: log.exists() and log.read_text() == "out\nerr\n")
    assert (tmp_path / "log" / "talker.log.1").stat().st_size == 6_000_000


async def test_stops_in_reverse_order_and_leaves_no_run_file(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    order = tmp_path / "order"

    def tells(name: str) -> tuple[str, ...]:
        return script(
            f"trap 'echo {name} >> {order}; exit 0' TERM; touch {tmp_path / name}; while :; do sleep 0.05; done"
        )

    supervisor.start(
        [
            ProcessSpec("base", tells("base"), ready=file_exists(tmp_path / "base")),
            ProcessSpec("top", tells("top"), ready=file_exists(tmp_path / "top"), after=("base",)),
        ]
    )
    await supervisor.ready("top", at_most=SOON)
    await supervisor.stop()
    assert order.read_text() == "top\nbase\n"
    assert not list((tmp_path / "run").iterdir())


async def test_kills_what_ignores_the_polite_signal(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    flag = tmp_path / "deaf"
    supervisor.start(
        [
            ProcessSpec(
                "deaf",
                script(f"trap '' TERM; touch {flag}; while :; do sleep 0.05; done"),
                ready=file_exists(flag),
                stop_seconds=0.2,
            )
        ]
    )
    await supervisor.ready("deaf", at_most=SOON)
    identity = record_of(tmp_path, "deaf").identity
    await supervisor.stop()
    assert not process.is_alive(identity)


async def stray(supervisor: Supervisor, pids: Path, *, is_marked: bool) -> Identity:
    """Have a process start a grandchild in a session of its own and die: nobody's child but the supervisor's."""
    supervisor.start(
        [ProcessSpec("parent", script(f"setsid sleep 600 & echo $! > {pids}; exec sleep 600"), marked=is_marked)]
    )
    await eventually(lambda: pids.exists() and bool(pids.read_text().strip()))
    await eventually(lambda: Path(f"/proc/{int(pids.read_text())}/comm").read_text().strip() == "sleep")
    state = process.look(int(pids.read_text()))  # noqa: ASYNC240 - a local file
    assert state is not None
    return state.identity


async def test_stopping_also_ends_offspring_that_left_the_group(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    offspring = await stray(supervisor, tmp_path / "pids", is_marked=True)
    await supervisor.stop()
    assert not process.is_alive(offspring)


async def test_offspring_of_an_unmarked_process_is_left_alone(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    offspring = await stray(supervisor, tmp_path / "pids", is_marked=False)
    await supervisor.stop()
    try:
        assert process.is_alive(offspring)
    finally:
        await process.end([offspring], grace_seconds=1)


CRASHING = """
import asyncio, sys
from pathlib import Path
from infra.supervisor import ProcessSpec, Supervisor

async def main():
    supervisor = Supervisor(Path(sys.argv[1]))
    deaf = "trap '' TERM; touch {0}/deaf; while :; do sleep 0.05; done".format(sys.argv[1])
    supervisor.start([ProcessSpec("polite", ("sleep", "600"))])
    supervisor.start([ProcessSpec("deaf", ("sh", "-c", deaf), stop_seconds=0.2)])
    await supervisor.ready("polite", "deaf", at_most=60)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def crashed(tmp_path: Path) -> dict[str, Identity]:
    """The state folder of a supervisor that was killed with -9 while it kept two processes."""
    with subprocess.Popen(
        [sys.executable, "-c", CRASHING, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    ) as one:
        assert one.stdout is not None
        lines = iter(one.stdout)
        while (line := next(lines)) and line.strip() != "ready":
            pass
        while not (tmp_path / "deaf").exists():
            pass
        one.kill()
    return {record.name: record.identity for record in recorded(tmp_path / "run")}


async def test_when_the_supervisor_is_killed_its_processes_get_the_polite_signal(
    crashed: dict[str, Identity], tmp_path: Path
) -> None:
    await eventually(lambda: not process.is_alive(crashed["polite"]))
    assert process.is_alive(crashed["deaf"])
    await end_recorded(tmp_path / "run", mark=str(tmp_path / "run"))


async def test_a_crash_is_cleaned_up_from_the_run_files(crashed: dict[str, Identity], tmp_path: Path) -> None:
    await end_recorded(tmp_path / "run", mark=str(tmp_path / "run"))
    assert not process.is_alive(crashed["deaf"])
    assert not list((tmp_path / "run").iterdir())


async def test_cleaning_up_spares_a_stranger_with_a_reused_pid(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.start([ProcessSpec("gone", SLEEPER)])
    await supervisor.ready("gone", at_most=SOON)
    path = tmp_path / "run" / "gone.json"
    text = path.read_text()
    await supervisor.stop()
    with subprocess.Popen(SLEEPER, start_new_session=True) as stranger:  # noqa: ASYNC220 - a stranger to the loop
        old = recorded_text_with_pid(text, stranger.pid)
        path.write_text(old)
        await end_recorded(tmp_path / "run", mark="nobody")
        assert stranger.poll() is None
        stranger.kill()


def recorded_text_with_pid(text: str, pid: int) -> str:
    facts = json.loads(text)
    facts["identity"]["pid"] = pid
    return json.dumps(facts)


async def test_adopted_zombies_are_reaped(supervisor: Supervisor, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    supervisor.start([ProcessSpec("parent", script(f"(setsid sleep 0.3 & echo $! > {pids}); exec sleep 600"))])
    await eventually(lambda: pids.exists() and bool(pids.read_text().strip()))
    await eventually(lambda: process.look(int(pids.read_text())) is None)


def test_only_one_supervisor_uses_a_state_folder(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(RefusedError, match="runs already"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        holder = lock_holder(tmp_path)
        assert holder is not None
        assert holder.pid == os.getpid()


def test_nobody_holds_a_folder_whose_supervisor_died(tmp_path: Path) -> None:
    (tmp_path / "up.json").write_text(json.dumps({"pid": os.getpid(), "started": 1, "boot": "another"}))
    assert lock_holder(tmp_path) is None


def test_a_damaged_run_file_is_named_with_its_mend(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ConfigurationInvalid, match=r"bad\.json is no run file"):
        recorded(tmp_path)


def test_without_logs_of_their_own_processes_write_where_the_supervisor_does(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from infra.supervisor import ProcessSpec, Supervisor\n"
        "async def main():\n"
        "    one = Supervisor(Path(sys.argv[1]), with_logs=False)\n"
        "    one.start([ProcessSpec('step', ('echo', 'heard'), restart=False)])\n"
        "    await one.ready('step', at_most=30)\n"
        "    await one.stop()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "heard" in done.stdout
    assert list((tmp_path / "log").iterdir()) == []
