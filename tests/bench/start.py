"""How long a start takes: until the UI and the gateway are ready, and until the first sample.

    x0tta6bl4 bench start --json FILE [--times 3]

`up --lab` in a folder of its own: once to set it up, then again and again as an operator who had stopped it would.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from infra.clock import SystemClock
from infra.db.unit import PostgresStore
from models.errors import ConfigurationInvalid, MeshError, SourceUnavailable
from tests.bench import house as stopping
from tests.bench.installed import installed
from tests.bench.report import Row, Run, show
from tests.e2e.house import House

TIMES = 3
PATIENCE_S = 300.0
LOOK_S = 0.1
FIRST, AGAIN = "first start", "second start and later"
GOALS = {"ready": 30.0, "ui": 30.0, "first_sample": 60.0}


def rows(first: Mapping[str, float], again: Sequence[Mapping[str, float]]) -> tuple[Row, ...]:
    """Return the first start's seconds, and the slowest of the later ones, which the goals are about."""
    slowest = {name: round(max(one[name] for one in again), 1) for name in GOALS} if again else {}
    informs = [Row(case=FIRST, metric=name, unit="s", value=round(first[name], 1), n=1) for name in GOALS]
    judged = [
        Row(case=AGAIN, metric=name, unit="s", value=slowest.get(name), n=len(again), goal=goal)
        for name, goal in GOALS.items()
    ]
    return (*informs, *judged)


def main(
    *,
    json: Annotated[Path, typer.Option(help="The report.")],
    times: Annotated[int, typer.Option(min=1, help="Starts after the first.")] = TIMES,
) -> None:
    """Measure how long a start takes."""
    raise typer.Exit(stopping.run(_bench(json, times)))


async def _bench(path: Path, times: int) -> int:
    run = Run.begin("start", seed=0)
    console = Console(soft_wrap=True)
    found = []
    async with installed("s") as house:
        for number in range(1 + times):
            seconds = await _started(house)
            told = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
            console.print(f"start {number + 1} of {1 + times}: {told}")
            found.append(seconds)
            await house.up()
            await house.interrupt()
    report = run.report(rows(found[0], found[1:]))
    report.write(path)
    show(report, console)
    return 0 if report.is_met else 1


async def _started(house: House) -> dict[str, float]:
    """Start it and return the seconds until each thing was there."""
    clock = SystemClock()
    began, at = time.monotonic(), clock.now()
    house.start("--lab")
    store = PostgresStore(house.database)

    async def has_sample() -> bool:
        async with store.unit() as uow:
            return any(one.at >= at for one in (await uow.samples.latest(house.mesh)).values())

    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            looks: dict[str, Callable[[], Awaitable[bool]]] = {
                "ready": lambda: _answers(client, f"{house.gateway}/ready"),
                "ui": lambda: _answers(client, f"{house.prefect}/v2/"),
                "first_sample": has_sample,
            }
            seconds = await asyncio.gather(*(_when(look, began) for look in looks.values()))
    finally:
        await store.close()
    return dict(zip(looks, seconds, strict=True))


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url, follow_redirects=True)).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


async def _when(look: Callable[[], Awaitable[bool]], began: float) -> float:
    """Return the seconds from the beginning until a look says yes; infinite patience is nobody's, so it ends."""
    last = "it was not there"
    while (waited := time.monotonic() - began) < PATIENCE_S:
        try:
            if await look():
                return waited
        except (SourceUnavailable, ConfigurationInvalid) as error:
            # The database is one of the things that are starting: not there, then empty.
            last = str(error)
        await asyncio.sleep(LOOK_S)
    raise SourceUnavailable("the installation", f"waited in vain for {PATIENCE_S:.0f} s: {last}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except MeshError as error:
        sys.stderr.write(f"x0tta6bl4 bench start: {error}\n")
        sys.exit(2)
