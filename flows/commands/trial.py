"""Faults on purpose: `x0tta6bl4 demo` on a whole installation, `x0tta6bl4 lab trial FILE` in one process."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.desk import out
from flows.commands.lab import shape_named

if TYPE_CHECKING:
    from infra.lab.topology import Shape
    from infra.lab.verdict import TimelineEvent, TrialResult
    from models.incident import FaultKind

Heal = Annotated[bool, typer.Option("--heal/--no-heal", help="Act; or show what routing alone does.")]


def demo(
    *,
    fault: Annotated[str, typer.Option(help="grey, loss, mtu, blackhole, daemon_hung, ...")] = "grey",
    nodes: Annotated[int, typer.Option(min=3, max=64, help="Nodes of the lab.")] = 6,
    topology: Annotated[str, typer.Option(help="ring-chord, line, grid or random-geometric.")] = "ring-chord",
    heal: Heal = True,
    once: Annotated[bool, typer.Option("--once", help="Stop after the fault; exit 0 only if it was healed.")] = False,
) -> None:
    """Bring everything up on a mesh of namespaces, break one thing, and tell what happens, second by second."""
    from infra.log import configure  # noqa: PLC0415 - `--help` needs none of it

    configure(least=logging.WARNING)
    healed = asyncio.run(_demonstrate(_fault_named(fault), shape_named(topology), nodes, heal=heal, once=once))
    if once and not healed:
        raise typer.Exit(1)


async def _demonstrate(fault: FaultKind, shape: Shape, nodes: int, *, heal: bool, once: bool) -> bool:
    from flows.commands.machine import kept_up  # noqa: PLC0415 - `--help` needs none of it
    from flows.demo import run_demo, verdict, where_to_look  # noqa: PLC0415 - as above
    from flows.up import LabRequest  # noqa: PLC0415 - as above

    healed = False
    async with kept_up(LabRequest(shape, nodes), heal=heal) as (running, stop, tell):
        result = await run_demo(running, fault, shape=shape, folder=running.settings.state / "demo", tell=tell)
        healed, sentence = verdict(result)
        tell(sentence)
        for line in where_to_look(running):
            tell(line)
        if not once:
            tell("it stays up; Ctrl-C takes everything down")
            await running.watch(stop)
    return healed


def trial(
    file: Annotated[Path, typer.Argument(help="A trial: topology, faults with place and time, traffic, seed (YAML).")],
    *,
    heal: Heal = True,
    json: Annotated[Path | None, typer.Option(help="Write the result here as one JSON object.")] = None,
) -> None:
    """Run one trial from a file in a lab of its own; exit 0 if the traffic recovered."""
    from infra.lab.trial import load  # noqa: PLC0415 - `--help` needs none of it
    from infra.log import configure  # noqa: PLC0415 - as above

    configure(least=logging.WARNING)
    result = asyncio.run(_tried(load(file), heal=heal))
    if json is not None:
        json.write_text(result.model_dump_json(indent=1) + "\n")
    if result.void is not None or result.never_recovered:
        raise typer.Exit(1)


async def _tried(spec: object, *, heal: bool) -> TrialResult:
    from flows.demo import verdict  # noqa: PLC0415 - `--help` needs none of it
    from flows.trial import run  # noqa: PLC0415 - as above
    from infra.lab.trial import TrialSpec  # noqa: PLC0415 - as above
    from infra.settings import Settings  # noqa: PLC0415 - as above

    settings = Settings()
    lab = f"t{os.getpid()}"

    def say(event: TimelineEvent) -> None:
        out.print(f"{event.at:%H:%M:%S}  {event.text}", markup=False)

    result = await run(
        TrialSpec.model_validate(spec),
        heal=heal,
        lab=lab,
        folder=settings.state / "trials" / lab,
        settings=settings,
        on_event=say,
    )
    for event in result.timeline:
        since = (event.at - result.fault_at).total_seconds() if result.fault_at else 0.0
        out.print(f"{since:+8.2f} s  {event.text}", markup=False)
    out.print(verdict(result)[1], markup=False)
    return result


def _fault_named(name: str) -> FaultKind:
    from infra.lab.faults import PLACES  # noqa: PLC0415 - `--help` needs none of it
    from models.errors import ConfigurationInvalid  # noqa: PLC0415 - as above
    from models.incident import FaultKind  # noqa: PLC0415 - as above

    if name not in set(PLACES):
        raise ConfigurationInvalid(f"there is no fault {name}", f"choose one of {', '.join(PLACES)}")
    return FaultKind(name)
