"""A lab trial with the real controller in one process: what `x0tta6bl4 lab trial` and the benchmarks run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path

from flows.controller import controlling
from infra.clock import SystemClock
from infra.db.cluster import Cluster, cluster_folder
from infra.db.migrate import migrate
from infra.db.unit import PostgresStore
from infra.lab.build import Lab
from infra.lab.running import OnEvent, run_trial
from infra.lab.trial import TrialSpec
from infra.lab.verdict import ActionTaken, ControllerReport, TimelineEvent, TrialResult
from infra.settings import Settings
from models.incident import Cause, FaultKind
from models.narrative import told
from models.ports import IncidentStory

# The lab's lease (DESIGN): nothing in a lab needs longer to be verified.
LAB_LEASE_SECONDS = 20.0
# A detector judges a link against its own past: ten chunks of two seconds before it may say anything.
LEARNING_SECONDS = 22.0


class LabController:
    """The controller behind the lab's `Controller` protocol."""

    def __init__(self, settings: Settings, database: str) -> None:
        self._settings = settings
        self._database = database
        self._running = AsyncExitStack()
        self._store: PostgresStore | None = None
        self._mesh = ""
        self._since: datetime | None = None

    async def start(self, lab: Lab) -> None:
        """Start collectors, actuators and the watch; return once every node's past is long enough to judge by."""
        self._mesh = lab.name
        self._since = SystemClock().now()
        self._store = await self._running.enter_async_context(
            controlling(lab, self._settings, self._database, heal=True)
        )
        await asyncio.sleep(LEARNING_SECONDS)

    async def stop(self) -> ControllerReport:
        """Tell what was seen and done, then stop everything."""
        try:
            return await self._report()
        finally:
            await self._running.aclose()

    async def _report(self) -> ControllerReport:
        if self._store is None:
            return ControllerReport()
        async with self._store.unit() as uow:
            incidents = await uow.incidents.recent(self._mesh)
            mine = [one for one in reversed(incidents) if self._since is None or one.opened_at >= self._since]
            stories = [await uow.incidents.story(one.id) for one in mine]
        return report([one for one in stories if one is not None])


def report(stories: list[IncidentStory]) -> ControllerReport:
    """Sum up what the controller knew of one trial: the first incident with a known cause is what it diagnosed."""
    events = [TimelineEvent(at=at, text=text) for one in stories for at, text in told(one)]
    actions = [
        ActionTaken(
            at=operation.requested_at,
            element=str(operation.action.element),
            remedy=operation.remedy,
            state=operation.state,
        )
        for one in stories
        for operation in one.operations
    ]
    cause = _first_cause(stories)
    return ControllerReport(
        events=tuple(sorted(events, key=lambda one: one.at)),
        actions=tuple(sorted(actions, key=lambda one: one.at)),
        detected_at=min((one.incident.opened_at for one in stories), default=None),
        element=str(cause.element) if cause else None,
        fault=cause.fault if cause else None,
    )


def _first_cause(stories: list[IncidentStory]) -> Cause | None:
    for story in stories:
        for diagnosis in reversed(story.diagnoses):
            if diagnosis.best.fault is not FaultKind.UNKNOWN:
                return diagnosis.best
    return None


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[str]:
    """Have a migrated database: the installation's if it runs, else the private cluster for the body's time."""
    cluster = Cluster(cluster_folder(settings))
    started = False
    if settings.database_url is None and not await asyncio.to_thread(cluster.ready):
        await asyncio.to_thread(cluster.create)
        await asyncio.to_thread(cluster.start)
        started = True
    try:
        url = settings.database_url.get_secret_value() if settings.database_url else cluster.app_url
        await migrate(url)
        yield url
    finally:
        if started:
            await asyncio.to_thread(cluster.stop)


async def run(
    spec: TrialSpec, *, heal: bool, lab: str, folder: Path, settings: Settings, on_event: OnEvent | None = None
) -> TrialResult:
    """Run one trial with the controller, or with routing alone."""
    clock = SystemClock()
    settings = settings.model_copy(update={"lease_seconds": LAB_LEASE_SECONDS})
    if not heal:
        return await run_trial(spec, None, lab=lab, state=settings.state, folder=folder, clock=clock, on_event=on_event)
    async with database(settings) as url:
        controller = LabController(settings, url)
        return await run_trial(
            spec, controller, lab=lab, state=settings.state, folder=folder, clock=clock, on_event=on_event
        )
