"""Succession: a long run that stopped beating is ended, declared crashed, and followed by a new one.

Prefect's own limits and heartbeats were seen to hold dead runs for minutes; this looks at the rows the runs write
themselves (`models.ports.LongRun`), once a second.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from flows.orchestrator import Orchestrator
from infra.process import Identity, end, environment, look, marked
from models.errors import ConfigurationInvalid, SourceUnavailable
from models.ports import Clock, LongRun, Store

log = structlog.get_logger()

BEAT_MAX_AGE = timedelta(seconds=5)
LOOK_EVERY_SECONDS = 1.0
# A worker-started run was measured to need 5 to 14 s until it runs, twice that on a busy machine.
FIRST_PATIENCE = timedelta(seconds=30)
LONGEST_PATIENCE = timedelta(minutes=4)
# Who has not looked for this long missed beats himself: a database that was away, a machine that slept.
SIGHT_MAX_GAP = timedelta(seconds=3)
# A run that lost its post with the database takes it again within a second; killing it then would cost ten.
GRACE_AFTER_BLINDNESS = timedelta(seconds=10)
POSTS_FILE = "posts.json"  # in the state folder: role -> deployment id
RUN_ID = "PREFECT__FLOW_RUN_ID"

Ender = Callable[[str], Awaitable[int]]
Finder = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Coming:
    """A successor that was asked for and has not beaten yet."""

    flow_run: str
    asked_at: datetime
    patience: timedelta


def read_posts(path: Path) -> dict[str, str]:
    """Read which deployment stands behind each role.

    Raises:
        ConfigurationInvalid: the file is missing or damaged.
    """
    try:
        return {str(role): str(deployment) for role, deployment in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigurationInvalid(f"{path} names no posts ({error})", "start `x0tta6bl4 up` again") from error


def vacant(
    posts: Mapping[str, str], runs: Sequence[LongRun], coming: Collection[str], *, now: datetime
) -> tuple[str, ...]:
    """Name the roles that need a successor now: nobody beats, and nobody is `coming`."""
    beating = {one.role for one in runs if now - one.beat_at <= BEAT_MAX_AGE}
    return tuple(role for role in posts if role not in beating and role not in coming)


class Watchdog:
    """Looks at the beats once a second and sees to the succession."""

    def __init__(
        self,
        posts: Mapping[str, str],
        store: Store,
        *,
        orchestrator: Orchestrator,
        clock: Clock,
        is_started: Finder,
        end_run: Ender,
    ) -> None:
        """Take the posts (role to deployment), and what finds and ends a run's processes on this machine."""
        self._posts = posts
        self._store = store
        self._orchestrator = orchestrator
        self._clock = clock
        self._is_started = is_started
        self._end_run = end_run
        self._coming: dict[str, Coming] = {}
        self._blind: str | None = None
        self._looked_at: datetime | None = None
        self._grace_until: datetime | None = None

    async def watch(self) -> None:
        """Look for ever. A database or orchestrator that does not answer is told once and asked again."""
        while True:
            try:
                await self.look()
                if self._blind is not None:
                    log.info("watchdog sees again")
                self._blind = None
            except SourceUnavailable as error:
                if self._blind != error.source:
                    log.warning("watchdog cannot see to the succession", reason=str(error))
                self._blind = error.source
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def look(self) -> None:
        """Look once."""
        async with self._store.unit() as unit:
            runs = await unit.long_runs.all()
        now = self._clock.now()
        if self._looked_at is not None and now - self._looked_at > SIGHT_MAX_GAP:
            self._grace_until = now + GRACE_AFTER_BLINDNESS
            log.info("watchdog was blind, holders get time", seconds=(now - self._looked_at).total_seconds())
        self._looked_at = now
        holders = {one.role: one for one in runs}
        for role, holder in holders.items():
            if role in self._coming and holder.beat_at > self._coming[role].asked_at:
                del self._coming[role]
        if self._grace_until is not None and now < self._grace_until:
            return
        expected = {role for role, one in self._coming.items() if self._is_expected(one, now=now)}
        for role in vacant(self._posts, runs, expected, now=now):
            await self._succeed(role, holders.get(role), now=now)
        # What was done above took time in which nobody looked; that is no blindness.
        self._looked_at = self._clock.now()

    def _is_expected(self, one: Coming, *, now: datetime) -> bool:
        """Say whether a successor may still come: it has time left, or it was started and is only slow."""
        age = now - one.asked_at
        return age < one.patience or (age < LONGEST_PATIENCE and self._is_started(one.flow_run))

    async def _succeed(self, role: str, last: LongRun | None, *, now: datetime) -> None:
        if last is not None and last.host == socket.gethostname():
            # First end it: healing must not wait for the orchestrator to hear of it.
            await self._end_run(last.flow_run_id)
        deployment = self._posts[role]
        abandoned = await self._orchestrator.abandon(deployment, why=f"{role} stopped beating")
        for run in abandoned:
            await self._end_run(run)
        started = await self._orchestrator.start(deployment)
        before = self._coming.get(role)
        patience = FIRST_PATIENCE if before is None else min(before.patience * 2, LONGEST_PATIENCE)
        self._coming[role] = Coming(started, now, patience)
        say = log.warning if abandoned else log.info
        say("long run started", role=role, flow_run=started, abandoned=len(abandoned), patience=str(patience))


def run_processes(mark: str, flow_run: str) -> list[Identity]:
    """Return the processes of this installation that were started for a flow run, by their environment."""
    return [one for one in marked(mark) if environment(one.pid).get(RUN_ID) == flow_run]


async def end_run(mark: str, flow_run: str) -> int:
    """Kill what runs for a flow run, at once: it does not beat, so it would not listen either. Returns how many."""
    found = run_processes(mark, flow_run)
    leaders = [one for one in found if (state := look(one.pid)) is not None and state.group == one.pid]
    await end([*leaders, *found], first=signal.SIGKILL, grace_seconds=1.0)
    return len(found)
