"""How large a mesh one watcher holds: real meshes as far as this machine carries them, made-up reports beyond.

    x0tta6bl4 bench scale --json FILE [--lab 6,20,50] [--reported 6,20,50,200,1000] [--quick]

Two parts. *lab*: a grid in namespaces with the whole controller in one process, and a grey link. *reported*: reports
of a grid as `tests/bench/scale_mesh.py` makes them up, through the same detector, rules and planner. Where both exist
they stand in one row each, so that a reader sees how far the second may be believed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Annotated

import psutil
import typer
from rich.console import Console

from flows.controller import controlling
from flows.trial import LAB_LEASE_SECONDS, LEARNING_SECONDS, report
from infra.clock import SystemClock
from infra.lab import build
from infra.lab.build import Lab
from infra.lab.running import measure
from infra.lab.topology import LARGEST, Shape, mesh
from infra.lab.trial import FaultSpec, TrialSpec
from infra.lab.verdict import ControllerReport
from infra.log import configure
from infra.settings import Settings
from models.correlation import correlate
from models.detection import Detector
from models.errors import ConfigurationInvalid, MeshError
from models.guardrails import Known
from models.incident import FaultKind, Incident, IncidentId, IncidentState, Symptom
from models.mesh import Mesh
from models.planning import choose
from models.remedy import Limits
from models.rules import RulesDiagnostician
from models.telemetry import Sample
from tests.bench import house
from tests.bench.report import Report, Row, commit, machine, show
from tests.bench.scale_mesh import PERIOD_S, Reports, grid, instant

LAB_SIZES, QUICK_LAB = "6,20,50", "6"
REPORTED_SIZES, QUICK_REPORTED = "6,20,50,200,1000", "6,50"
LEAST = 6
FAULT_S = 24.0  # as long as a detector wants of a link's past
WARM_S = 2.0  # so long before the fault the made-up mesh is looked at, too
LOOKS = 8  # the last ones are timed: all of them see the fault
REST_S = 20.0  # in which the lab's figures are taken
SETTLE_S = 240.0  # fifty daemons on two cores take their time
MEGABYTE = 1e6

Sizes = Annotated[str, typer.Option(help="Nodes, comma-separated; empty: none.")]


@dataclass(frozen=True, slots=True)
class Looks:
    """What watching cost.

    Attributes:
        look_ms: CPU time of each look: samples taken in, symptoms found.
        decide_ms: CPU time from symptoms to a remedy: correlation, rules, planning with its guards.
        named: What the likeliest cause names; None where nothing was found.
        seen_s: From the fault to the first symptom of that element; None: never.
    """

    look_ms: tuple[float, ...]
    decide_ms: float | None
    named: str | None
    seen_s: float | None


class Watched:
    """The whole controller behind the lab's `Controller` protocol, measured while nothing happens."""

    def __init__(self, settings: Settings, database: str) -> None:
        self._settings = settings.model_copy(update={"lease_seconds": LAB_LEASE_SECONDS})
        self._database = database
        self._running = AsyncExitStack()
        self.cores = 0.0
        self.memory_mb = 0.0
        self.samples: list[Sample] = []

    async def start(self, lab: Lab) -> None:
        """Start, learn, and measure the controller at rest."""
        self._mesh = lab.name
        self._store = await self._running.enter_async_context(
            controlling(lab, self._settings, self._database, heal=True)
        )
        await asyncio.sleep(LEARNING_SECONDS)
        began, spent = time.monotonic(), _spent_s()
        await asyncio.sleep(REST_S)
        self.cores = (_spent_s() - spent) / (time.monotonic() - began)
        self.memory_mb = psutil.Process().memory_info().rss / MEGABYTE

    async def stop(self) -> ControllerReport:
        """Keep what the nodes reported at rest and after, say what was seen, stop."""
        try:
            now = SystemClock().now()
            async with self._store.unit() as unit:
                self.samples = await unit.samples.between(self._mesh, now - timedelta(minutes=5), now)
                found = [
                    await unit.incidents.story(one.id) for one in reversed(await unit.incidents.recent(self._mesh))
                ]
            return report([one for one in found if one is not None])
        finally:
            await self._running.aclose()


def main(
    *,
    json: Annotated[Path, typer.Option(help="The report.")],
    lab: Sizes = LAB_SIZES,
    reported: Sizes = REPORTED_SIZES,
    quick: Annotated[bool, typer.Option("--quick", help="6 in the lab, 6 and 50 made up: does it all work?")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the meshes' costs.")] = 1,
) -> None:
    """Measure what watching costs by the size of the mesh."""
    configure(least=logging.WARNING)
    built, told = (QUICK_LAB, QUICK_REPORTED) if quick else (lab, reported)
    raise typer.Exit(house.run(_bench(json, sizes(built, most=LARGEST), sizes(told, most=None), seed=seed)))


def sizes(given: str, *, most: int | None) -> tuple[int, ...]:
    """Return the numbers of a comma-separated list.

    Raises:
        ConfigurationInvalid: one of them is no size of a mesh.
    """
    names = [one.strip() for one in given.split(",") if one.strip()]
    for name in names:
        if not name.isdigit() or int(name) < LEAST or (most is not None and int(name) > most):
            limit = f"from {LEAST}" + (f" to {most}" if most else "")
            raise ConfigurationInvalid(f"{name} is no size of a mesh", f"choose numbers {limit}")
    return tuple(int(name) for name in names)


async def _bench(path: Path, labs: Sequence[int], told: Sequence[int], *, seed: int) -> int:
    started, measured = SystemClock().now(), commit()
    console = Console(soft_wrap=True)
    rows: list[Row] = []
    reported: dict[int, Looks] = {}
    for size in sorted({*labs, *told}):
        console.print(f"{size} nodes: made-up reports")
        reported[size] = await asyncio.to_thread(watch_reports, size, seed=seed)
    for size in labs:
        console.print(f"{size} nodes: in namespaces, about two minutes")
        rows += await _lab_rows(size, reported[size], seed=seed)
    rows += [row for size in told if size not in labs for row in reported_rows(size, reported[size])]
    notes = (
        f"lab: cores and memory of the one process of all collectors, watch and bench, at rest for {REST_S:.0f} s",
        "lab: actuators, routing daemons and Postgres are processes of their own and not in it",
        "look_ms: CPU time of taking a half second's samples in and testing every element; the lab's samples replayed",
        f"load average at the end {os.getloadavg()[0]:.1f}",
    )
    report_ = Report(
        bench="scale", commit=measured, machine=machine(), seed=seed, started=started, rows=tuple(rows), notes=notes
    )
    report_.write(path)
    show(report_, console)
    return 0


# --- made-up reports


def watch_reports(size: int, *, seed: int) -> Looks:
    """Watch a made-up mesh until its grey link was seen, and time the last looks."""
    # As far as a lab goes, the very mesh it would build.
    declared = mesh(Shape.GRID, size, seed=seed) if size <= LARGEST else grid(size, seed=seed)
    grey = declared.links[len(declared.links) // 2]
    reports = Reports(declared, grey, FAULT_S, seed).until(FAULT_S + LOOKS * PERIOD_S)
    return watch(declared, reports, fault_s=FAULT_S)


def watch(declared: Mesh, reports: Iterable[tuple[float, Sequence[Sample]]], *, fault_s: float) -> Looks:
    """Look at everything the nodes say, every half second; decide once, at the end."""
    detector = Detector(declared)
    looks: list[float] = []
    seen_at: float | None = None
    symptoms: tuple[Symptom, ...] = ()
    now = fault_s
    for now, samples in reports:
        began = time.process_time()
        detector.observe(samples)
        # The past is only taken in: a detector that was not asked has learnt nothing, but costs the same when asked.
        if now > fault_s - WARM_S:
            symptoms = detector.symptoms(instant(now))
        looks.append(1000 * (time.process_time() - began))
        if symptoms and seen_at is None:
            seen_at = now
    began = time.process_time()
    named = _decided(symptoms, declared, now) if symptoms else None
    decide_ms = 1000 * (time.process_time() - began) if symptoms else None
    seen_s = seen_at - fault_s if seen_at is not None else None
    return Looks(tuple(looks[-LOOKS:]), decide_ms, named, seen_s)


def _decided(symptoms: tuple[Symptom, ...], declared: Mesh, now: float) -> str:
    """Go from symptoms to a remedy, as the cycle does, and return the element it is for."""
    group = correlate(symptoms, declared)[0]
    incident = Incident(IncidentId("scale"), declared.name, IncidentState.OPEN, instant(now), group)
    diagnosis = RulesDiagnostician().diagnose(incident, declared, at=instant(now))
    return str(choose(diagnosis, declared, Known(), Limits(), now=instant(now)).cause.element)


def reported_rows(size: int, looks: Looks) -> tuple[Row, ...]:
    """Return the figures of a made-up mesh that no lab stands beside."""
    case = f"{size} nodes, made-up reports"
    return (
        Row(case=case, metric="look_ms", unit="ms", value=median(looks.look_ms), n=len(looks.look_ms)),
        Row(case=case, metric="decide_ms", unit="ms", value=looks.decide_ms, n=1),
        Row(case=case, metric="time_to_detect", unit="s", value=looks.seen_s, n=1),
    )


# --- real meshes


async def _lab_rows(size: int, reported: Looks, *, seed: int) -> tuple[Row, ...]:
    async with house.housed(None) as (settings, url):
        built = mesh(Shape.GRID, size, name=f"s{os.getpid()}", seed=seed)
        lab = await build.up(built, state=settings.state)
        spec = TrialSpec(
            name=f"scale {size}",
            topology=Shape.GRID,
            size=size,
            seed=seed,
            faults=(FaultSpec(kind=FaultKind.GREY),),
            settle_s=SETTLE_S,
            stop_after_clean_s=5,
        )
        watched = Watched(settings, url)
        try:
            result = await measure(spec, watched, lab=lab, folder=settings.state / "trial", clock=SystemClock())
        finally:
            await asyncio.shield(lab.down())
    looks = replayed(built, watched.samples)
    case = f"{size} nodes"
    span = (watched.samples[-1].at - watched.samples[0].at).total_seconds()
    beside = {"made-up reports": median(reported.look_ms)}
    return (
        Row(case=case, metric="cores", unit="cores", value=watched.cores, n=1),
        Row(case=case, metric="memory", unit="MB", value=watched.memory_mb, n=1),
        Row(case=case, metric="samples", unit="rows/s", value=len(watched.samples) / span, n=len(watched.samples)),
        Row(case=case, metric="look_ms", unit="ms", value=median(looks), n=len(looks), peers=beside),
        Row(
            case=case,
            metric="time_to_detect",
            unit="s",
            value=result.detect_s,
            n=1,
            peers={"made-up reports": reported.seen_s},
        ),
        Row(case=case, metric="outage", unit="s", value=result.outage_s, n=1),
    )


def replayed(declared: Mesh, samples: Sequence[Sample]) -> tuple[float, ...]:
    """Return what each of the last looks at stored samples costs again, CPU milliseconds."""
    detector = Detector(declared)
    looks: list[float] = []
    period = timedelta(seconds=PERIOD_S)
    now = samples[0].at
    place = 0
    while place < len(samples):
        now += period
        end = bisect_right(samples, now, key=lambda one: one.at)
        began = time.process_time()
        detector.observe(samples[place:end])
        detector.symptoms(now)
        looks.append(1000 * (time.process_time() - began))
        place = end
    return tuple(looks[-LOOKS:])


def _spent_s() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    try:
        typer.run(main)
    except MeshError as error:
        sys.stderr.write(f"x0tta6bl4 bench scale: {error}\n")
        sys.exit(2)
