"""How large a mesh one watcher holds: real meshes as far as this machine carries them, made-up reports beyond.

    x0tta6bl4 bench scale --json FILE [--lab 6,20,50] [--reported 6,20,50,200,1000] [--regions 1000,10000]
                                      [--telemetry 6,20] [--times 1] [--quick]

Four kinds of parts. *lab*: a grid in namespaces with the whole controller, and a grey link. *reported*: reports of a
grid as `tests/bench/scale_mesh.py` makes them up, through the same detector, rules and planner; where a lab has the
same size they stand in one row, so that a reader sees how far the second may be believed. *regions*: the same reports,
watched region by region. *telemetry*: the same reports, scraped by a real Prometheus and read from there.

Finished parts are lines of FILE.parts.jsonl; the same command again goes on from there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from infra.lab.topology import LARGEST
from infra.log import configure
from models.errors import ConfigurationInvalid, MeshError
from tests.bench import house
from tests.bench.records import Lines
from tests.bench.report import ROOT, Run, show
from tests.bench.scale_parts import Asked, Kind, Part, notes, plan, rows, wanting
from tests.bench.workers.scale import Answer

LAB_SIZES, QUICK_LAB = "6,20,50", "6"
REPORTED_SIZES, QUICK_REPORTED = "6,20,50,200,1000", "6,50"
REGION_SIZES, TELEMETRY_SIZES = "1000,10000", "6,20"
LEAST, LEAST_IN_REGIONS = 6, 200  # fewer are one region
MOST_SCRAPED = 50  # each has a page that this machine serves twice a second
STOP_S = 90.0  # fifty actuators say goodbye, a lab comes down
LOG_TAIL = 1500  # characters of a failed part's log that tell why
READING = (
    "lab: cores and memory of the watch (and bench) and of a process for every ten nodes' collectors, at rest",
    "lab: actuators and routing daemons are processes of their own and in no figure",
    "look_ms (at rest), look_fault_ms, decide_ms: CPU time; a lab's looks are its stored samples looked at again",
    "look_to_made_up: the same over looks at made-up reports of that mesh, in turn, for the processor's speed changes",
    "in regions: look_fault_ms is the slowest watched region's, cores_together calculated from their mean",
)

Sizes = Annotated[str | None, typer.Option(help="Nodes, comma-separated; an empty text: none.")]


def main(
    *,
    json: Annotated[Path, typer.Option(help="The report; finished parts go to FILE.parts.jsonl beside it.")],
    lab: Sizes = None,
    reported: Sizes = None,
    regions: Sizes = None,
    telemetry: Sizes = None,
    times: Annotated[int, typer.Option(min=1, max=20, help="Each part so often, each with a mesh of its own.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="6 in the lab, 6 and 50 made up: does it all work?")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the meshes' costs.")] = 1,
) -> None:
    """Measure what watching costs by the size of the mesh."""
    configure(least=logging.WARNING)
    wanted = {
        Kind.LAB: sizes(lab, QUICK_LAB if quick else LAB_SIZES, least=LEAST, most=LARGEST),
        Kind.REPORTED: sizes(reported, QUICK_REPORTED if quick else REPORTED_SIZES, least=LEAST, most=None),
        Kind.REGIONS: sizes(regions, "" if quick else REGION_SIZES, least=LEAST_IN_REGIONS, most=None),
        Kind.TELEMETRY: sizes(telemetry, "" if quick else TELEMETRY_SIZES, least=LEAST, most=MOST_SCRAPED),
    }
    raise typer.Exit(house.run(_bench(json, plan(wanted, times=times), seed=seed)))


def sizes(given: str | None, otherwise: str, *, least: int, most: int | None) -> tuple[int, ...]:
    """Return the numbers of a comma-separated list; `otherwise` where none was given.

    Raises:
        ConfigurationInvalid: one of them is no size of such a mesh.
    """
    names = [one.strip() for one in (otherwise if given is None else given).split(",") if one.strip()]
    for name in names:
        if not name.isdigit() or int(name) < least or (most is not None and int(name) > most):
            limit = f"from {least}" + (f" to {most}" if most else "")
            raise ConfigurationInvalid(f"{name} is no size of a mesh here", f"choose numbers {limit}")
    return tuple(int(name) for name in names)


async def _bench(path: Path, asked: list[Asked], *, seed: int) -> int:
    run = Run.begin("scale", seed=seed)
    kept = Lines(path.with_name(f"{path.name}.parts.jsonl"), Part, seed=seed)
    console = Console(soft_wrap=True)
    for one in wanting(asked, kept.read()):
        console.print(f"{one}{': about two minutes' if one.kind is Kind.LAB else ''}")
        part = await _measured(one, run=run)
        kept.add(part)
        console.print(f"  failed: {part.error}" if part.error else f"  {_told(part)}", markup=False)
    parts = kept.read()
    report = run.report(rows(asked, parts), (*READING, *notes(asked, parts)))
    report.write(path)
    show(report, console)
    return 1 if wanting(asked, parts) else 0


def _told(part: Part) -> str:
    figures = ", ".join(f"{name} {'none' if one is None else f'{one:.4g}'}" for name, one in part.figures.items())
    return f"{figures} ({part.wall_s:.0f} s)"


async def _measured(asked: Asked, *, run: Run) -> Part:
    """Have a process of its own measure a part; one that fails is a part, too."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="x0scale-") as folder:
        answer, error = await _worker(asked, Path(folder), seed=run.seed + asked.number)
    return Part(
        kind=asked.kind,
        size=asked.size,
        number=asked.number,
        seed=run.seed,
        commit=run.commit,
        error=error,
        figures=answer.figures,
        notes=answer.notes,
        wall_s=round(time.monotonic() - started, 1),
        load=round(os.getloadavg()[0], 1),
    )


async def _worker(asked: Asked, folder: Path, *, seed: int) -> tuple[Answer, str]:
    # Tied to our life: a killed benchmark leaves a worker that takes its lab down, not one that goes on.
    command = ["setpriv", "--pdeathsig", "TERM", "--", sys.executable, "-m", "tests.bench.workers.scale"]
    arguments = [asked.kind, str(asked.size), str(seed), str(folder / "answer.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "log").open("wb") as log:
        # A group of its own: Ctrl-C is for us alone; we end the worker in order.
        worker = await asyncio.create_subprocess_exec(
            *command, *arguments, stdout=log, stderr=log, env=environment, process_group=0
        )
    try:
        code = await worker.wait()
    finally:
        await asyncio.shield(_ended(worker))
    try:
        return Answer.model_validate_json((folder / "answer.json").read_bytes()), ""
    except (OSError, ValidationError):
        said = (folder / "log").read_text(errors="replace").strip()[-LOG_TAIL:]
        return Answer(figures={}), said or f"the worker ended with code {code}"


async def _ended(worker: asyncio.subprocess.Process) -> None:
    if worker.returncode is not None:
        return
    worker.terminate()
    try:
        await asyncio.wait_for(worker.wait(), STOP_S)
    except TimeoutError:
        worker.kill()
        await worker.wait()


if __name__ == "__main__":
    try:
        typer.run(main)
    except MeshError as error:
        sys.stderr.write(f"x0tta6bl4 bench scale: {error}\n")
        sys.exit(2)
