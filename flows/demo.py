"""`make run`: one installation, one mesh, one fault, told as it happens; the outside prober has the last word."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from flows.trial import report
from flows.up import Running
from infra.clock import SystemClock
from infra.db.unit import PostgresStore
from infra.lab.build import Lab
from infra.lab.running import measure
from infra.lab.topology import Shape
from infra.lab.trial import FaultSpec, TrialSpec
from infra.lab.verdict import ControllerReport, TimelineEvent, TrialResult
from models.incident import FaultKind
from models.narrative import told
from models.ports import IncidentStory

Tell = Callable[[str], None]

# Routing alone needs up to 44 s for a lossy link with babeld's default timers; what is ill then stays ill.
WATCH_SECONDS = 45.0
CLEAN_SECONDS = 12.0
# A detector may speak of a link once it has ten chunks of two seconds of its past.
PAST_SECONDS = 22.0
LOOK_SECONDS = 0.25
# Collectors are started by workers, seconds of CPU each; a small machine starts six of them in half a minute.
SAMPLES_WITHIN_SECONDS = 180.0
HEALED_LOSS = 0.02


class Installed:
    """The running installation as the trial's controller: it is there already, and stays."""

    def __init__(self, store: PostgresStore, tell: Tell) -> None:
        self._store = store
        self._tell = tell
        self._mesh = ""
        self._since: datetime | None = None

    async def start(self, lab: Lab) -> None:
        """Wait until every node is sampled and has a past to be judged by."""
        self._mesh = lab.name
        self._since = SystemClock().now()
        await self._sampled({node.id for node in lab.mesh.nodes})
        self._tell(f"every node is sampled; {PAST_SECONDS:.0f} s of past are gathered to judge by")
        await asyncio.sleep(PAST_SECONDS)

    async def _sampled(self, nodes: set[str]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SAMPLES_WITHIN_SECONDS
        while True:
            async with self._store.unit() as uow:
                latest = await uow.samples.latest(self._mesh)
            # A mesh of the same name may have stood here before; its samples say nothing of this one.
            seen = {node for node, one in latest.items() if self._since is None or one.at >= self._since}
            if seen >= nodes or loop.time() > deadline:
                break
            await asyncio.sleep(LOOK_SECONDS)
        if not seen >= nodes:
            self._tell(f"no sample from {', '.join(sorted(nodes - seen))} yet; going on without")

    async def stop(self) -> ControllerReport:
        """Tell what it saw and did since `start`; nothing is stopped."""
        return report(await self.stories())

    async def stories(self) -> list[IncidentStory]:
        """Return the stories of the incidents since `start`, oldest first."""
        async with self._store.unit() as uow:
            incidents = await uow.incidents.recent(self._mesh)
            stories = [
                await uow.incidents.story(one.id)
                for one in reversed(incidents)
                if self._since is None or one.opened_at >= self._since - timedelta(seconds=1)
            ]
        return [one for one in stories if one is not None]


class Teller:
    """Prints each line of the story once, with seconds since the fault."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._fault_at: datetime | None = None
        self._said: set[str] = set()

    def event(self, event: TimelineEvent) -> None:
        """Say an event of the trial; the injection starts the clock."""
        if event.text.startswith("inject") and self._fault_at is None:
            self._fault_at = event.at
        self.line(event.at, event.text)

    def line(self, at: datetime, text: str) -> None:
        """Say one line unless it was said before; a symptom whose share moves is the same symptom."""
        key = re.sub(r" \d+% lost$", "", text)
        if key in self._said:
            return
        self._said.add(key)
        since = f"{(at - self._fault_at).total_seconds():+7.2f} s  " if self._fault_at else " " * 11
        self._tell(since + text)


async def run_demo(running: Running, fault: FaultKind, *, shape: Shape, folder: Path, tell: Tell) -> TrialResult:
    """Harm the installation's lab once and tell what happens; return what the outside prober measured.

    Raises:
        ConfigurationInvalid: the fault fits no place of this lab.
        SourceUnavailable: routing did not settle, or the prober did not start.
    """
    lab = running.lab
    if lab is None:
        message = "a demonstration needs a lab; `installed` was called without one"
        raise ValueError(message)
    spec = TrialSpec(
        name="demonstration",
        topology=shape,
        size=len(lab.mesh.nodes),
        faults=(FaultSpec(kind=fault),),
        warm_up_s=5,
        duration_s=WATCH_SECONDS,
        stop_after_clean_s=CLEAN_SECONDS,
    )
    controller = Installed(running.store, tell)
    teller = Teller(tell)
    following = asyncio.create_task(_follow(controller, teller))
    try:
        result = await measure(spec, controller, lab=lab, folder=folder, clock=SystemClock(), on_event=teller.event)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    for one in await controller.stories():
        for at, text in told(one):
            teller.line(at, text)
    return result


async def _follow(controller: Installed, teller: Teller) -> None:
    while True:
        for story in await controller.stories():
            for at, text in told(story):
                teller.line(at, text)
        await asyncio.sleep(LOOK_SECONDS)


def verdict(result: TrialResult) -> tuple[bool, str]:
    """Return whether the outside prober saw the mesh healed, and the sentence that says so."""
    if result.void is not None:
        return False, f"the trial is void: {result.void}"
    losses = ", ".join(
        f"{value:.1%} {when}" if value is not None else f"nothing measured {when}"
        for when, value in (
            ("before", result.loss_before),
            ("during", result.loss_during),
            ("after", result.loss_after),
        )
    )
    if result.never_recovered or (result.loss_after or 0.0) > HEALED_LOSS:
        by = "the fault" if result.actions else "nothing acted, and routing alone did not repair it: the fault"
        return False, f"not healed: {by} still loses packets after {result.outage_s or 0:.0f} s ({losses})"
    return True, f"healed: {result.outage_s or 0.0:.1f} s from the fault to the first clean second ({losses})"


def where_to_look(running: Running) -> list[str]:
    """Return where a person can look at what just happened."""
    ui = running.installation.prefect_api.removesuffix("/api")
    lines = [
        f"runs and their stages  {ui}/runs",
        f"the API                {running.installation.gateway}/docs",
        f"incidents              {running.installation.gateway}/api/v1/incidents (x0tta6bl4 token create NAME)",
        f"metrics                {running.installation.gateway}/metrics",
    ]
    if running.lab is not None:
        node = next(iter(running.lab.places.values()))
        port = running.settings.node_metrics_port
        lines.append(f"a node's metrics       http://{node.management}:{port}/metrics, on the management network")
    return lines
