"""What running leaves in the databases: rows of every table, and whether what should be forgotten is.

    x0tta6bl4 bench growth --json FILE [--minutes 125] [--fault-every 10]

A whole installation with a lab of six, and a grey link every ten minutes, which it heals. Samples are kept as shipped,
for an hour; Prefect's memory is cut to 61 minutes of runs, its least, and 30 of events, so that two hours show whether
it forgets. The report is written anew with each look, so that one that is broken off keeps what it saw.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from infra.db.cluster import Cluster, cluster_folder
from models.errors import MeshError
from models.mesh import Element
from tests.bench import house as stopping
from tests.bench.installed import installed
from tests.bench.report import Row, Run, show
from tests.e2e.house import House
from tests.e2e.world import World, at_work

MINUTES, FAULT_EVERY = 125.0, 10.0
LOOK_S = 60.0
DAY_S = 86_400.0
# A fault stands this long after it was healed: nobody runs to a link the minute it fails.
STANDS_S = 60.0
FORGETFUL = {
    "X0_PREFECT_RUN_RETENTION_SECONDS": "3660",
    "X0_PREFECT_EVENT_RETENTION_SECONDS": "1800",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ORPHAN_CLEANUP_LOOP_SECONDS": "300",
}
LATE_S = 120.0  # a look a minute, of ours and of Prefect's, and a busy machine
HOUSE_S = 360.0  # housekeeping comes so often
# A run that goes on keeps the few lines it logged when it started.
STAYS = {"prefect.log": "EXISTS (SELECT FROM flow_run WHERE id = log.flow_run_id AND end_time IS NULL)"}
# What is forgotten within the hour and a bit: by which time, and how old the oldest may be.
FORGOTTEN = {
    "app.samples": ("at", 3600 + HOUSE_S + LATE_S),
    "prefect.flow_run": ("end_time", 3660 + LATE_S + HOUSE_S),
    "prefect.task_run": ("end_time", 3660 + LATE_S + HOUSE_S),
    "prefect.log": ("timestamp", 3660 + LATE_S + HOUSE_S),
    "prefect.events": ("occurred", 1800 + LATE_S),
    "prefect.event_resources": ("occurred", 1800 + LATE_S),
}


@dataclass(frozen=True, slots=True)
class Look:
    """Both databases at one moment.

    Attributes:
        at: Seconds since the first look.
        rows: By `database.table`, how many there are.
        inserted: By the same, how many were ever put in.
        size: By database, its bytes.
        oldest: By what should be forgotten, how many seconds ago its oldest row ended or happened.
    """

    at: float
    rows: Mapping[str, int]
    inserted: Mapping[str, int]
    size: Mapping[str, int]
    oldest: Mapping[str, float]


@dataclass(slots=True)
class Faults:
    """What came of those faults that were over by now."""

    healed: int = 0
    failures: list[str] = field(default_factory=list)


def rows(looks: Sequence[Look], faults: Faults) -> tuple[Row, ...]:
    """Return a day's inserts and what is there at the end, of every table that anything was put into meanwhile."""
    first, last = looks[0], looks[-1]
    seconds = last.at - first.at
    n = len(looks)
    tried = faults.healed + len(faults.failures)
    share = faults.healed / tried if tried else None
    found = [Row(case="faults", metric="healed", unit="share", value=share, n=tried, goal=1.0, better="higher")]
    found += [
        Row(case=name, metric="size", unit="MB", value=round(size / 1e6, 1), n=n) for name, size in last.size.items()
    ]
    for table, count in sorted(last.rows.items()):
        inserted = last.inserted[table] - first.inserted.get(table, 0)
        if not inserted or not seconds:
            continue
        found.append(Row(case=table, metric="inserted", unit="rows/d", value=round(inserted / seconds * DAY_S), n=n))
        found.append(Row(case=table, metric="rows", unit="rows", value=count, n=n))
    for table, (_, bound) in FORGOTTEN.items():
        # Before that time nothing of it had to be forgotten, so nothing is shown.
        age = round(last.oldest.get(table, 0.0)) if seconds > bound else None
        found.append(Row(case=table, metric="oldest", unit="s", value=age, n=n, goal=bound))
    return tuple(found)


def main(
    *,
    json: Annotated[Path, typer.Option(help="The report.")],
    minutes: Annotated[float, typer.Option(min=4, help="How long it runs once it is up.")] = MINUTES,
    fault_every: Annotated[float, typer.Option(min=3, help="Minutes from one fault to the next.")] = FAULT_EVERY,
) -> None:
    """Count what running leaves behind."""
    raise typer.Exit(stopping.run(_bench(json, minutes=minutes, fault_every=fault_every)))


async def _bench(path: Path, *, minutes: float, fault_every: float) -> int:
    run = Run.begin("growth", seed=0)
    console = Console(soft_wrap=True)
    async with installed("g", also=FORGETFUL) as house:
        house.start("--lab")
        await house.up()
        async with at_work(house) as world:
            looks: list[Look] = []
            faults = Faults()
            async with contextlib.aclosing(_looks(house, 60 * minutes, console)) as seen, asyncio.TaskGroup() as group:
                harm = group.create_task(_harm(world, 60 * fault_every, faults))
                async for look in seen:
                    looks.append(look)
                    report = run.report(rows(looks, faults), faults.failures)
                    await asyncio.to_thread(report.write, path)
                harm.cancel()
    show(report, console)
    return 0 if report.is_met else 1


async def _harm(world: World, every: float, faults: Faults) -> None:
    """Let one link after the other go grey and be healed, for ever."""
    for link in cycle(world.lab.mesh.links):
        began = time.monotonic()
        known = await world.known()
        harm = await world.grey(link.id)
        try:
            await world.fixed(known, Element.of_link(link.id))
            faults.healed += 1
        except AssertionError as error:
            faults.failures.append(f"{link.id}: {error}")
        await asyncio.sleep(STANDS_S)
        await world.take_back(harm)
        await asyncio.sleep(max(0.0, every - (time.monotonic() - began)))


async def _looks(house: House, seconds: float, console: Console) -> AsyncGenerator[Look]:
    """Look at both databases now, then every minute, and last when the time is over."""
    urls = {"app": house.database, "prefect": Cluster(cluster_folder(house.settings)).prefect_url}
    engines = {name: create_async_engine(url) for name, url in urls.items()}
    bar = Progress(TextColumn("running"), BarColumn(), TimeRemainingColumn(), console=console)
    began = time.monotonic()
    try:
        with bar:
            task = bar.add_task("running", total=seconds)
            while True:
                at = time.monotonic() - began
                yield await _look(engines, at)
                bar.update(task, completed=at)
                if at >= seconds:
                    return
                await asyncio.sleep(min(LOOK_S, max(0.0, seconds - at)))
    finally:
        for engine in engines.values():
            await engine.dispose()


async def _look(engines: Mapping[str, AsyncEngine], at: float) -> Look:
    rows: dict[str, int] = {}
    inserted: dict[str, int] = {}
    size: dict[str, int] = {}
    oldest: dict[str, float] = {}
    for name, engine in engines.items():
        async with engine.connect() as connection:
            size[name] = (await connection.execute(text("SELECT pg_database_size(current_database())"))).scalar_one()
            tables = await connection.execute(text("SELECT relname, n_tup_ins FROM pg_stat_user_tables"))
            for table, ever in tables.all():
                inserted[f"{name}.{table}"] = ever
                # A name out of Postgres' own catalogue, quoted.
                count = await connection.execute(text(f'SELECT count(*) FROM "{table}"'))  # noqa: S608
                rows[f"{name}.{table}"] = count.scalar_one()
            for one, (column, _) in FORGOTTEN.items():
                database, _, table = one.partition(".")
                if database == name:
                    where = f"FROM {table} WHERE NOT {STAYS.get(one, 'false')}"
                    age = await connection.execute(text(f"SELECT extract(epoch FROM now() - min({column})) {where}"))  # noqa: S608
                    oldest[one] = float(age.scalar_one() or 0)
    return Look(at, rows, inserted, size, oldest)


if __name__ == "__main__":
    try:
        typer.run(main)
    except MeshError as error:
        sys.stderr.write(f"x0tta6bl4 bench growth: {error}\n")
        sys.exit(2)
