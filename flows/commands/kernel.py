"""What an operator does with the eBPF programs alone: see who talks most, write down what their maps hold, read it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows.commands.desk import out, writable, write_json

ebpf = typer.Typer(no_args_is_help=True, help="Who talks most; and record what the programs count, and replay it.")

File = Annotated[Path, typer.Argument(help="JSON lines; `ebpf/replay.py` tells the format.")]


@ebpf.command()
def flows(
    *,
    interface: Annotated[list[str], typer.Option(help="Where to look; may be given several times.")],
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="For how long.")] = 5.0,
    top: Annotated[int, typer.Option(min=1, max=1024, help="How many of each interface.")] = 10,
    sampling: Annotated[int, typer.Option(min=1, max=65536, help="Look at one packet in so many.")] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """Attach a classifier of its own for some seconds, print the flows with most bytes, and detach it again.

    Packets and bytes are estimates unless `--sampling 1`; a flow of few packets may not be seen. Addresses are shown
    here and kept nowhere. Needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
    """
    import dataclasses  # noqa: PLC0415 - `--help` needs none of it
    import logging  # noqa: PLC0415 - as above
    import time  # noqa: PLC0415 - as above

    from ebpf.collector import EbpfInterfaceCounters  # noqa: PLC0415 - as above
    from infra.log import configure  # noqa: PLC0415 - as above

    configure(least=logging.WARNING)
    counters = EbpfInterfaceCounters(interface, flow_sampling=sampling)
    try:
        time.sleep(seconds)
        found = {name: counters.largest_flows(name, top) for name in sorted(set(interface))}
    except KeyboardInterrupt:
        out.print("stopped before the time was over; nothing is shown")
        raise typer.Exit(1) from None
    finally:
        counters.close()
    if as_json:
        write_json({name: [dataclasses.asdict(one) for one in told] for name, told in found.items()})
        return
    table = Table("interface", "way", "source", "destination", "protocol", "packets", "bytes")
    for name, told in found.items():
        for one in told:
            ends = f"{one.source} {one.source_port}", f"{one.destination} {one.destination_port}"
            numbers = str(one.protocol), str(one.packets), str(one.bytes)
            table.add_row(escape(name), one.direction.value, *ends, *numbers)
    out.print(table if table.row_count else f"no packet was looked at within {seconds:g} s")


@ebpf.command()
def record(
    file: File,
    *,
    interface: Annotated[list[str], typer.Option(help="What to count on; may be given several times.")],
    seconds: Annotated[float, typer.Option(min=0, max=86400, help="For how long.")] = 10.0,
    bcc: Annotated[bool, typer.Option("--bcc", help="Compile the programs now, with bcc's library.")] = False,
    tracing: Annotated[bool, typer.Option(help="Drops, retransmits, TCP states and system calls, too.")] = True,
) -> None:
    """Attach the programs, write their maps down twice a second, and detach them again. No address is written.

    Needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, and gives them up once it has attached.
    """
    import logging  # noqa: PLC0415 - `--help` needs none of it
    import time  # noqa: PLC0415 - as above

    from ebpf.bcc_backend import BccLoader  # noqa: PLC0415 - as above
    from ebpf.capabilities import WANTED, drop_capabilities  # noqa: PLC0415 - as above
    from ebpf.collector import EbpfInterfaceCounters  # noqa: PLC0415 - as above
    from ebpf.hooks import Hook  # noqa: PLC0415 - as above
    from ebpf.loader import EBPFLoader  # noqa: PLC0415 - as above
    from ebpf.replay import Recorder  # noqa: PLC0415 - as above
    from ebpf.tracing import Tracing  # noqa: PLC0415 - as above
    from infra.clock import SystemClock  # noqa: PLC0415 - as above
    from infra.log import configure  # noqa: PLC0415 - as above
    from infra.settings import Settings  # noqa: PLC0415 - as above

    configure(least=logging.WARNING)
    period = Settings().sample_seconds
    writable(file)
    loader = BccLoader() if bcc else EBPFLoader()
    counters = EbpfInterfaceCounters(interface, loader=loader)
    traced = Tracing(loader=BccLoader() if bcc else EBPFLoader()) if tracing else None
    try:
        kept = {"CAP_NET_ADMIN"} if any(one.hook is Hook.CLSACT for one in loader.attachments()) else set()
        drop_capabilities(counters.read, names=set(WANTED) - kept)
        with file.open("w", encoding="utf-8") as opened:
            recorder = Recorder(counters, opened, clock=SystemClock(), tracing=traced)
            end = time.monotonic() + seconds
            recorder.read()
            while time.monotonic() < end:
                time.sleep(period)
                recorder.read()
    except KeyboardInterrupt:
        out.print("stopped; what was recorded stays")
    finally:
        counters.close()
        if traced is not None:
            traced.close()
    out.print(f"recorded in {file}", markup=False)


@ebpf.command()
def replay(file: File) -> None:
    """Print the recording's last moment as a node would show it to Prometheus."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - `--help` needs none of it

    from ebpf.exposition import CountersExposition  # noqa: PLC0415 - as above
    from ebpf.replay import ReplayedInterfaceCounters, replayed_tracing  # noqa: PLC0415 - as above
    from ebpf.tracing_exposition import TracingExposition  # noqa: PLC0415 - as above

    counters = ReplayedInterfaceCounters(file)
    for _ in counters.dumps():
        counters.read()
    registry = CollectorRegistry()
    registry.register(CountersExposition(counters))
    tracing = replayed_tracing(file)
    if tracing is not None:
        for _ in counters.dumps():
            tracing.read()
        registry.register(TracingExposition(tracing))
    out.print(generate_latest(registry).decode(), markup=False, highlight=False, end="")
