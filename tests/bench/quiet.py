"""Whether the controller keeps its hands off a healthy mesh on a busy machine.

    x0tta6bl4 bench quiet --json FILE [--minutes 10] [--quick]

A mesh of six with the whole controller, no fault, every core busy, traffic in silence, calls, bursts and transfers.
Exit 1 when it did anything.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from infra.clock import SystemClock
from infra.lab import build
from infra.lab.build import Lab
from infra.lab.topology import Shape, mesh
from infra.log import configure
from infra.settings import Settings
from models.errors import MeshError, SourceUnavailable
from models.incident import FaultKind
from models.mesh import NodeId
from models.ports import IncidentStory, Store
from tests.bench import house
from tests.bench.report import ROOT, Row, Run, show
from tests.bench.workers.load import Host, LoadRequest, Sent

SIZE = 6
MINUTES, QUICK_MINUTES = 10.0, 1.0
SETTLE_S = 60.0
SPARE_S = 30.0  # busy processes end by themselves so long after the bench should have ended them
STOP_S = 20.0
ON_THE_WAY_S = 5.0  # a batch a second, and a busy machine
EVERY_INCIDENT = 10_000  # a number that no quiet mesh reaches; one that does has failed anyway
CHUNK = timedelta(minutes=1)  # samples are read a minute at a time: ten minutes of them are 7,200 documents
CASE = "cpu load and bursts"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the controller made of a healthy mesh.

    Attributes:
        stories: Every incident.
        samples: By node, how many arrived.
        expected: How many of each node the clock says there should be.
        seconds: Watched for so long.
    """

    stories: Sequence[IncidentStory]
    samples: dict[NodeId, int]
    expected: int
    seconds: float


def rows(seen: Seen) -> tuple[Row, ...]:
    """Return the figures. There is no fault, so every symptom is false and every action wrong."""
    actions = sum(len(story.operations) for story in seen.stories)
    sure = sum(
        one.best.fault is not FaultKind.UNKNOWN and one.best.confidence > 0.5
        for story in seen.stories
        for one in story.diagnoses
    )
    # An incident had a symptom once, also where the latest look no longer lists any.
    symptoms = sum(max(1, len(story.incident.symptoms)) for story in seen.stories)
    missed = sum(max(0, seen.expected - count) for count in seen.samples.values())
    n = round(seen.seconds)

    def row(metric: str, unit: str, value: float, **more: float) -> Row:
        return Row(case=CASE, metric=metric, unit=unit, value=value, n=n, **more)

    return (
        row("actions", "operations", actions, goal=0.0),
        row("diagnoses_above_half", "diagnoses", sure),
        row("incidents", "incidents", len(seen.stories)),
        row("false_symptoms_per_hour", "1/h", symptoms * 3600 / seen.seconds),
        Row(
            case=CASE,
            metric="samples_missed",
            unit="samples",
            value=missed,
            n=seen.expected * len(seen.samples),
        ),
    )


def main(
    *,
    json: Annotated[Path, typer.Option(help="The report.")],
    minutes: Annotated[float | None, typer.Option(min=0.1, max=600, help="10, or 1 with --quick.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One minute: does it all work?")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the mesh's costs and of who talks to whom.")] = 1,
    state: Annotated[Path | None, typer.Option(help="State folder to use and keep; none: a temporary one.")] = None,
) -> None:
    """Count what the controller does where there is nothing to do."""
    configure(least=logging.WARNING)
    seconds = 60 * (minutes or (QUICK_MINUTES if quick else MINUTES))
    raise typer.Exit(house.run(_bench(json, seconds, seed=seed, state=state)))


async def _bench(path: Path, seconds: float, *, seed: int, state: Path | None) -> int:
    run = Run.begin("quiet", seed=seed)
    console = Console(soft_wrap=True)
    async with house.housed(state) as (settings, url):
        lab = await build.up(mesh(Shape.RING_CHORD, SIZE, name=f"q{os.getpid()}", seed=seed), state=settings.state)
        try:
            await lab.settled(timeout_s=SETTLE_S)
            seen, sent = await _watched(lab, settings, url, seconds, seed=seed, console=console)
        finally:
            await asyncio.shield(lab.down())
    report = run.report(rows(seen), (*_told(sent), *_reasons(seen.stories)))
    report.write(path)
    show(report, console)
    return 0 if report.is_met else 1


async def _watched(
    lab: Lab, settings: Settings, url: str, seconds: float, *, seed: int, console: Console
) -> tuple[Seen, Sent]:
    from flows.controller import controlling  # noqa: PLC0415 - Prefect takes seconds; `--help` need not wait for it
    from flows.trial import LAB_LEASE_SECONDS, LEARNING_SECONDS  # noqa: PLC0415 - as above

    clock = SystemClock()
    settings = settings.model_copy(update={"lease_seconds": LAB_LEASE_SECONDS})
    async with controlling(lab, settings, url, heal=True) as store:
        # It learns in peace, so that the load is new to it: the harder case.
        await asyncio.sleep(LEARNING_SECONDS)
        async with _busy(seconds), _traffic(lab, seconds, seed=seed) as answer:
            began = clock.now()
            await _pass(seconds, console)
            ended = clock.now()
        # What was sampled just now is still on its way.
        await asyncio.sleep(ON_THE_WAY_S)
        seen = await _seen(store, lab, began, ended, period_s=settings.sample_seconds)
    return seen, Sent.model_validate_json(await asyncio.to_thread(answer.read_bytes))


async def _pass(seconds: float, console: Console) -> None:
    columns = (TextColumn("quiet"), BarColumn(), TextColumn("left:"), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("quiet", total=seconds)
        end = asyncio.get_running_loop().time() + seconds
        while (left := end - asyncio.get_running_loop().time()) > 0:
            progress.update(bar, completed=seconds - left)
            await asyncio.sleep(min(1.0, left))


@asynccontextmanager
async def _busy(seconds: float) -> AsyncIterator[None]:
    """Keep every core busy for the body's time."""
    async with AsyncExitStack() as spinning:
        for core in sorted(os.sched_getaffinity(0)):
            arguments = (str(core), str(seconds + SPARE_S))
            await spinning.enter_async_context(_beside("a busy process", "tests.bench.workers.spin", arguments))
        yield


@asynccontextmanager
async def _traffic(lab: Lab, seconds: float, *, seed: int) -> AsyncIterator[Path]:
    """Have the nodes talk for the body's time; the path holds what was sent once the body has ended."""
    hosts = tuple(Host(namespace=place.netns or "", address=place.address) for place in lab.places.values())
    request = LoadRequest(hosts=hosts, seconds=seconds + SPARE_S, seed=seed)
    asked, answer = lab.folder / "load.json", lab.folder / "sent.json"
    await asyncio.to_thread(asked.write_text, request.model_dump_json())
    async with _beside("the traffic", "tests.bench.workers.load", (str(asked), str(answer))):
        yield answer


@asynccontextmanager
async def _beside(what: str, module: str, arguments: Sequence[str]) -> AsyncIterator[None]:
    """Run a process for the body's time.

    Raises:
        SourceUnavailable: it ended before the body did, so that the body was not what it says.
    """
    # Tied to our life: a killed benchmark must not leave busy processes.
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", module, *arguments),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        process_group=0,
    )
    try:
        yield
        if process.returncode is not None:
            raise SourceUnavailable(what, f"it ended early with code {process.returncode}")
    finally:
        await asyncio.shield(_ended(process))


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _seen(store: Store, lab: Lab, began: datetime, ended: datetime, *, period_s: float) -> Seen:
    async with store.unit() as unit:
        # Incidents of the learning time count as well: nothing was wrong then either.
        incidents = await unit.incidents.recent(lab.name, EVERY_INCIDENT)
        stories = [await unit.incidents.story(one.id) for one in incidents]
    counts = dict.fromkeys(lab.places, 0)
    start = began
    while start < ended:
        end = min(start + CHUNK, ended)
        async with store.unit() as unit:
            for sample in await unit.samples.between(lab.name, start, end):
                counts[sample.node] += 1
        start = end
    seconds = (ended - began).total_seconds()
    return Seen([one for one in stories if one], counts, expected=int(seconds / period_s), seconds=seconds)


def _told(sent: Sent) -> tuple[str, ...]:
    return (
        f"load average at the end {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores",
        f"{sent.rounds} rounds of traffic: {sent.packets} datagrams, fastest burst {sent.fastest_pps:.0f} a second",
        f"{sent.transferred / 1e6:.0f} MB arrived over TCP",
    )


def _reasons(stories: Sequence[IncidentStory]) -> tuple[str, ...]:
    """Say what each incident was taken for: a miss that is only counted teaches nobody."""
    said = []
    for story in stories:
        symptoms = ", ".join(f"{one.kind} at {one.element}" for one in story.incident.symptoms) or "no symptom now"
        causes = ", ".join(f"{one.best.fault} {one.best.confidence:.2f}" for one in story.diagnoses[:3]) or "none"
        said.append(f"{story.incident.opened_at:%H:%M:%S} {symptoms}; diagnoses: {causes}")
    return tuple(said)


if __name__ == "__main__":
    try:
        typer.run(main)
    except MeshError as error:
        sys.stderr.write(f"x0tta6bl4 bench quiet: {error}\n")
        sys.exit(2)
