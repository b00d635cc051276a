"""How long the traffic is broken: faults x arms x trials, with the controller and with routing alone.

    x0tta6bl4 bench healing --json FILE [--quick] [--trials 20] [--parallel 6] [--faults grey,loss] [--arms controller]

Finished trials are lines of FILE.trials.jsonl; the same command again goes on from there.
"""

from __future__ import annotations

import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from infra.clock import SystemClock
from infra.db.unit import PostgresStore
from infra.log import configure
from models.errors import ConfigurationInvalid, MeshError
from tests.bench import house, summary
from tests.bench.cells import CASES, QUICK_ARMS, QUICK_CASES, QUICK_TRIALS, Arm, Cell, plan
from tests.bench.crowd import Runner, TrialProcesses, run_all
from tests.bench.records import Record, Records, wanting
from tests.bench.report import Report, Run, show

TRIALS = 20
PARALLEL = 6  # with controllers, past six the machine's own contention moves routes (two cores); fewer on a busy one
MOST = 18  # a mesh that routing alone looks after takes 0.04 cores; past this, building labs one beside another stalls
# A trial lives three minutes at most; samples older than this are nobody's, and a thousand trials would fill a disk.
KEPT = timedelta(minutes=10)

Chosen = Annotated[str, typer.Option(help="Comma-separated; empty: all.")]


def main(
    *,
    json: Annotated[Path, typer.Option(help="The report; finished trials go to FILE.trials.jsonl beside it.")],
    quick: Annotated[bool, typer.Option("--quick", help="Few faults, two arms, two trials: does it all work?")] = False,
    trials: Annotated[int | None, typer.Option(min=1, help="Of each fault and arm; 20, or 2 with --quick.")] = None,
    parallel: Annotated[int, typer.Option(min=1, max=MOST, help="Meshes side by side.")] = PARALLEL,
    faults: Chosen = "",
    arms: Chosen = "",
    seed: Annotated[int, typer.Option(min=0, help="Of meshes, places, moments and order.")] = 1,
    state: Annotated[Path | None, typer.Option(help="State folder to use and keep; none: a temporary one.")] = None,
) -> None:
    """Measure outages with the controller and without."""
    configure(least=logging.WARNING)
    cases = chosen(faults, known=tuple(CASES), otherwise=QUICK_CASES if quick else tuple(CASES))
    who = chosen(arms, known=tuple(Arm), otherwise=QUICK_ARMS if quick else tuple(Arm))
    cells = plan(cases, [Arm(one) for one in who], trials or (QUICK_TRIALS if quick else TRIALS), seed=seed)
    raise typer.Exit(house.run(_bench(cells, json, parallel=parallel, seed=seed, state=state)))


def chosen(given: str, *, known: tuple[str, ...], otherwise: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names in a comma-separated list.

    Raises:
        ConfigurationInvalid: one of them is not known.
    """
    names = tuple(dict.fromkeys(filter(None, (name.strip() for name in given.split(",")))))
    for name in names:
        if name not in known:
            raise ConfigurationInvalid(f"there is no {name}", f"choose from {', '.join(known)}")
    return names or otherwise


async def _bench(cells: list[Cell], path: Path, *, parallel: int, seed: int, state: Path | None) -> int:
    run = Run.begin("healing", seed=seed)
    records = Records(path.with_name(f"{path.name}.trials.jsonl"), seed=seed)
    console = Console(soft_wrap=True)
    if wanting(cells, records.read()):
        async with house.housed(state) as (settings, url):
            runner = TrialProcesses(settings.state, seed=seed, commit=run.commit)
            store = PostgresStore(url)
            try:
                await _with_progress(cells, records, _Tidy(runner, store), parallel=parallel, console=console)
            finally:
                await store.close()
    report = concluded(cells, records.read(), run)
    report.write(path)
    show(report, console)
    return 0 if report.is_met and not wanting(cells, records.read()) else 1


def concluded(cells: list[Cell], records: list[Record], run: Run) -> Report:
    """Return the report of what was asked for; trials of other faults and arms in the same file stay out of it."""
    asked = set(cells)
    relevant = [record for record in records if record.cell in asked]
    return run.report(summary.rows(relevant, seed=run.seed), summary.notes(cells, relevant))


class _Tidy:
    """Runs a cell, after forgetting samples that no trial needs any more."""

    def __init__(self, runner: Runner, store: PostgresStore) -> None:
        self._runner = runner
        self._store = store

    async def __call__(self, cell: Cell) -> Record:
        if cell.arm.heals:
            async with self._store.unit() as unit:
                await unit.samples.delete_before(SystemClock().now() - KEPT)
        return await self._runner(cell)


async def _with_progress(
    cells: list[Cell], records: Records, runner: Runner, *, parallel: int, console: Console
) -> None:
    done = len(cells) - len(wanting(cells, records.read()))
    columns = (TextColumn("trials"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left:"), TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("trials", total=len(cells), completed=done)

        def tell(record: Record) -> None:
            progress.console.print(line(record), markup=False, highlight=False)
            progress.update(bar, completed=len(cells) - len(wanting(cells, records.read())))

        await run_all(cells, records, runner, parallel=parallel, on_record=tell)


def line(record: Record) -> str:
    """Say in one line what came of an attempt."""
    one = record.result
    if one is None:
        return f"{record.cell}: error: {record.error.splitlines()[-1] if record.error else 'no reason'}"
    if one.void is not None:
        return f"{record.cell}: void: {one.void}"
    outage = "never recovered" if one.never_recovered else f"outage {one.outage_s:.2f} s"
    seen = (
        ""
        if not record.cell.arm.heals
        else ", not detected"
        if one.detect_s is None
        else f", detected {one.detect_s:.2f} s"
    )
    wrong = ", wrong element" if one.right_element is False else ""
    return f"{record.cell}: {outage}{seen}{wrong} ({one.element}, {record.wall_s:.0f} s)"


if __name__ == "__main__":
    try:
        typer.run(main)
    except MeshError as error:
        sys.stderr.write(f"x0tta6bl4 bench healing: {error}\n")
        sys.exit(2)
