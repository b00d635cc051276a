"""What an operator does with a machine: bring the installation up and down, look at it, have it examined."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flows.commands.desk import out, write_json
from flows.commands.lab import shape_named

if TYPE_CHECKING:
    from flows.up import LabRequest, Running, Tell

INTERRUPTED = 130  # what a shell shows for a command ended by Ctrl-C

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def up(
    *,
    lab: Annotated[
        bool, typer.Option("--lab", help="Build a mesh in network namespaces; else this machine itself.")
    ] = False,
    nodes: Annotated[int, typer.Option(min=2, max=64, help="Nodes of the lab.")] = 6,
    topology: Annotated[str, typer.Option(help="ring-chord, line, grid or random-geometric.")] = "ring-chord",
    heal: Annotated[bool, typer.Option("--heal/--no-heal", help="Act, or watch and record only.")] = True,
) -> None:
    """Start everything on this machine and keep it alive until Ctrl-C, which takes it all down again."""
    from infra.log import configure  # noqa: PLC0415 - `--help` needs none of it

    configure()
    asyncio.run(keep_up(_lab(topology, nodes) if lab else None, heal=heal))


def _lab(topology: str, nodes: int) -> LabRequest:
    from flows.up import LabRequest  # noqa: PLC0415 - `--help` needs none of it

    return LabRequest(shape_named(topology), nodes)


async def keep_up(lab: LabRequest | None, *, heal: bool) -> None:
    """Bring the installation up and watch over it until SIGINT or SIGTERM."""
    async with kept_up(lab, heal=heal) as (running, stop, tell):
        tell("up; Ctrl-C takes everything down")
        await running.watch(stop)


@asynccontextmanager
async def kept_up(lab: LabRequest | None, *, heal: bool) -> AsyncIterator[tuple[Running, asyncio.Event, Tell]]:
    """Bring the installation up for the body, which the first SIGINT or SIGTERM ends; then take everything down.

    Raises:
        typer.Exit: interrupted before it was up; it has been taken down.
    """
    from flows.up import installed  # noqa: PLC0415 - `--help` needs none of it
    from infra.settings import Settings  # noqa: PLC0415 - as above

    stop = asyncio.Event()
    body = asyncio.current_task()
    loop = asyncio.get_running_loop()
    started = loop.time()
    is_up = False

    def stop_now() -> None:
        # The second one changes nothing: what is being taken down must not be left half-way.
        if not stop.is_set() and body is not None:
            stop.set()
            body.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop_now)

    def tell(sentence: str) -> None:
        out.print(f"[{loop.time() - started:6.1f} s] {sentence}", markup=False)

    try:
        async with installed(Settings(), lab=lab, heal=heal, tell=tell) as running:
            is_up = True
            yield running, stop, tell
    except asyncio.CancelledError:
        if not stop.is_set() or body is None:
            raise
        body.uncancel()
        tell("down")
        if not is_up:
            raise typer.Exit(INTERRUPTED) from None
    else:
        tell("down")


def down() -> None:
    """Stop everything of this installation, also after a crash: processes, lab, mounts."""
    from infra.log import configure  # noqa: PLC0415 - `--help` needs none of it

    configure()
    out.print("down" if asyncio.run(bring_down()) else "nothing was up")


async def bring_down() -> bool:
    """Stop a living `up` by its lock's holder, then clean whatever a dead one left; tell whether there was anything."""
    from flows.up import clear, stop_living  # noqa: PLC0415 - `--help` needs none of it
    from infra.settings import Settings  # noqa: PLC0415 - as above

    settings = Settings()
    stopped = await stop_living(settings.state)
    cleaned = await clear(settings)
    return stopped or cleaned


def status(*, as_json: AsJson = False) -> None:
    """Show processes, long runs with the age of their beat, nodes with the age of their sample, and addresses."""
    from flows.status import look  # noqa: PLC0415 - `--help` needs none of it
    from infra.settings import Settings  # noqa: PLC0415 - as above

    seen = asyncio.run(look(Settings()))
    if as_json:
        write_json(seen)
    else:
        processes = Table("process", "phase", "pid", "restarts", "log")
        for one in seen.processes:
            processes.add_row(one.name, one.phase, str(one.pid), str(one.restarts), one.log)
        out.print(processes)
        ages = Table("role or node", "age of beat or sample")
        for name, age in [*seen.beat_ages.items(), *seen.sample_ages.items()]:
            ages.add_row(name, f"{age:.1f} s")
        out.print(ages)
        for line in (*seen.problems, *(f"{name}: {url}" for name, url in seen.addresses.items())):
            out.print(line, markup=False)
    if seen.problems:
        raise typer.Exit(1)


def doctor(
    *,
    ebpf: Annotated[
        bool, typer.Option("--ebpf", help="Only what the eBPF programs need, on a host or in a pod.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Examine this machine: each need, what was found, and the mend beside each miss."""
    import logging  # noqa: PLC0415 - `--help` needs none of it
    from dataclasses import asdict  # noqa: PLC0415 - as above

    from ebpf.preflight import preflight  # noqa: PLC0415 - as above
    from infra import doctor as examination  # noqa: PLC0415 - as above
    from infra.log import configure  # noqa: PLC0415 - as above
    from infra.settings import Settings  # noqa: PLC0415 - as above

    configure(least=logging.ERROR)  # what is tried and refused stands in the table
    settings = Settings()
    kernel = [examination.Finding(**asdict(check)) for check in preflight()]
    others = () if ebpf else (*examination.tools(), examination.postgres(), examination.state_folder(settings))
    servers = () if ebpf else asyncio.run(examination.servers(settings))
    findings = [*kernel, *others, *servers]
    if as_json:
        write_json(findings)
    else:
        table = Table("need", "", "found", "mend")
        for one in findings:
            mark = "ok" if one.ok else "MISSING" if one.is_required else "absent"
            table.add_row(one.name, mark, one.found, one.mend)
        out.print(table)
    raise typer.Exit(examination.exit_code(findings))
