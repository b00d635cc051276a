"""Succession of long runs, with a fake orchestrator and the in-memory store."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.watchdog import (
    BEAT_MAX_AGE,
    FIRST_PATIENCE,
    GRACE_AFTER_BLINDNESS,
    LONGEST_PATIENCE,
    RUN_ID,
    Watchdog,
    end_run,
    read_posts,
    vacant,
)
from infra import process
from infra.process import MARK
from models.errors import ConfigurationInvalid, SourceUnavailable
from models.ports import LongRun
from tests.fakes.store import FakeStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROLE = "watch-mesh:lab"
POSTS = {ROLE: "deployment-1"}
HERE = socket.gethostname()


class FakeClock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def pass_by(self, by: timedelta) -> None:
        self.time += by


class FakeOrchestrator:
    """Keeps runs per deployment, as Prefect would."""

    def __init__(self) -> None:
        self.unfinished: dict[str, list[str]] = {}
        self.crashed: list[str] = []
        self.is_down = False

    async def abandon(self, deployment: str, *, why: str) -> tuple[str, ...]:
        self._answer()
        runs = tuple(self.unfinished.pop(deployment, []))
        self.crashed += runs
        return runs

    async def start(self, deployment: str) -> str:
        self._answer()
        run = f"run-{len(self.crashed) + len(self.unfinished.get(deployment, [])) + 1}"
        self.unfinished.setdefault(deployment, []).append(run)
        return run

    def _answer(self) -> None:
        if self.is_down:
            raise SourceUnavailable("Prefect", "refused")


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = FakeStore()
        self.orchestrator = FakeOrchestrator()
        self.ended: list[str] = []
        self.started: set[str] = set()
        self.watchdog = Watchdog(
            POSTS,
            self.store,
            orchestrator=self.orchestrator,
            clock=self.clock,
            is_started=lambda run: run in self.started,
            end_run=self.end_run,
        )

    async def end_run(self, flow_run: str) -> int:
        self.ended.append(flow_run)
        return 1

    async def beat(self, flow_run: str, *, host: str = HERE) -> None:
        async with self.store.unit() as unit:
            await unit.long_runs.claim(ROLE, flow_run_id=flow_run, pid=1, host=host, now=self.clock.now())

    async def look_for(self, time: timedelta) -> None:
        """Let time pass, with a look every second as in life."""
        end = self.clock.time + time
        while self.clock.time < end:
            self.clock.pass_by(timedelta(seconds=1))
            await self.watchdog.look()

    @property
    def runs(self) -> list[str]:
        return self.orchestrator.unfinished.get("deployment-1", [])


@pytest.fixture
def world() -> World:
    return World()


def held(beat_at: datetime) -> LongRun:
    return LongRun(role=ROLE, epoch=1, flow_run_id="run-0", pid=1, host=HERE, beat_at=beat_at)


def test_a_post_is_vacant_once_its_beat_is_older_than_the_limit() -> None:
    assert vacant(POSTS, [held(NOW - BEAT_MAX_AGE)], {}, now=NOW) == ()
    late = NOW - BEAT_MAX_AGE - timedelta(milliseconds=1)
    assert vacant(POSTS, [held(late)], {}, now=NOW) == (ROLE,)


def test_a_post_is_not_vacant_while_its_successor_is_expected() -> None:
    assert vacant(POSTS, [], {ROLE}, now=NOW) == ()
    assert vacant(POSTS, [], (), now=NOW) == (ROLE,)


async def test_starts_the_first_run_of_a_post_that_nobody_ever_held(world: World) -> None:
    await world.watchdog.look()
    assert world.runs == ["run-1"]
    assert world.ended == []


async def test_leaves_a_run_that_beats_alone(world: World) -> None:
    await world.beat("run-0")
    await world.watchdog.look()
    assert world.runs == []


async def test_a_silent_run_is_ended_declared_crashed_and_followed(world: World) -> None:
    world.orchestrator.unfinished["deployment-1"] = ["run-0"]
    await world.beat("run-0")
    world.clock.pass_by(timedelta(seconds=6))
    await world.watchdog.look()
    assert set(world.ended) == {"run-0"}
    assert world.orchestrator.crashed == ["run-0"]
    assert len(world.runs) == 1


async def test_a_run_of_another_host_is_declared_crashed_but_nothing_is_ended_by_its_row(world: World) -> None:
    await world.beat("run-0", host="elsewhere")
    world.clock.pass_by(timedelta(seconds=6))
    await world.watchdog.look()
    assert world.ended == []
    assert len(world.runs) == 1


async def test_no_second_successor_while_the_first_is_on_its_way(world: World) -> None:
    for _ in range(10):
        await world.watchdog.look()
        world.clock.pass_by(timedelta(seconds=1))
    assert world.runs == ["run-1"]


async def test_a_successor_that_never_came_is_abandoned_and_the_next_gets_twice_the_time(world: World) -> None:
    await world.watchdog.look()
    await world.look_for(FIRST_PATIENCE)
    assert world.orchestrator.crashed == ["run-1"]
    assert world.ended == ["run-1"]
    await world.look_for(FIRST_PATIENCE * 1.5)
    assert world.orchestrator.crashed == ["run-1"]
    await world.look_for(FIRST_PATIENCE * 0.5)
    assert len(world.orchestrator.crashed) == 2


async def test_a_successor_that_was_started_and_is_only_slow_gets_its_time(world: World) -> None:
    await world.watchdog.look()
    world.started.add("run-1")
    await world.look_for(FIRST_PATIENCE * 3)
    assert world.orchestrator.crashed == []
    await world.look_for(LONGEST_PATIENCE - FIRST_PATIENCE * 3)
    assert world.orchestrator.crashed == ["run-1"]


async def test_a_successor_killed_soon_after_it_came_is_followed_at_once(world: World) -> None:
    await world.watchdog.look()
    await world.look_for(timedelta(seconds=8))
    await world.beat("run-1")
    await world.look_for(timedelta(seconds=1))
    await world.look_for(timedelta(seconds=5))
    assert world.orchestrator.crashed == ["run-1"]
    assert len(world.runs) == 1


async def test_after_a_time_without_sight_holders_get_time_to_beat_again(world: World) -> None:
    await world.beat("run-0")
    await world.watchdog.look()
    world.clock.pass_by(timedelta(seconds=20))
    await world.watchdog.look()
    assert world.ended == []
    await world.beat("run-0")
    await world.look_for(GRACE_AFTER_BLINDNESS - timedelta(seconds=6))
    assert world.ended == []


async def test_who_does_not_beat_again_after_the_grace_is_followed(world: World) -> None:
    await world.beat("run-0")
    await world.watchdog.look()
    world.clock.pass_by(timedelta(seconds=20))
    await world.watchdog.look()
    await world.look_for(GRACE_AFTER_BLINDNESS)
    assert world.ended == ["run-0"]


async def test_ends_a_silent_run_even_while_the_orchestrator_is_down(world: World) -> None:
    await world.beat("run-0")
    world.clock.pass_by(timedelta(seconds=6))
    world.orchestrator.is_down = True
    with pytest.raises(SourceUnavailable):
        await world.watchdog.look()
    assert world.ended == ["run-0"]
    world.orchestrator.is_down = False
    await world.watchdog.look()
    assert len(world.runs) == 1


async def test_watching_goes_on_through_an_orchestrator_that_does_not_answer(world: World) -> None:
    world.orchestrator.is_down = True
    watching = asyncio.create_task(world.watchdog.watch())
    await asyncio.sleep(0.05)
    assert not watching.done()
    watching.cancel()


async def test_only_the_processes_of_that_run_and_that_installation_are_killed(tmp_path: Path) -> None:
    ours = str(tmp_path)

    def start(mark: str, flow_run: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, MARK: mark, RUN_ID: flow_run}
        return subprocess.Popen(["sleep", "600"], env=environment, start_new_session=True)

    with start(ours, "run-1") as wanted, start(ours, "run-2") as other, start("foreign", "run-1") as foreign:
        pids = {one.pid for one in (wanted, other, foreign)}
        async with asyncio.timeout(20):
            while not all(process.environment(pid).get(RUN_ID) for pid in pids):  # noqa: ASYNC110 - they exec
                await asyncio.sleep(0.02)
        assert await end_run(ours, "run-1") == 1
        assert wanted.wait() == -signal.SIGKILL
        assert other.poll() is None
        assert foreign.poll() is None
        other.kill()
        foreign.kill()


def test_missing_posts_are_named_with_their_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"posts\.json names no posts"):
        read_posts(tmp_path / "posts.json")
