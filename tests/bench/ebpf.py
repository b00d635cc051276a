"""What the eBPF programs and their reader cost.

    x0tta6bl4 bench ebpf --json FILE [--quick]

Packets by trial runs in the kernel, system calls by a loop, map reads beside bcc and bpftool, and a collector at two
readings a second. Everything takes turns with what it is compared with.
"""

from __future__ import annotations

import json as documents
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from infra.log import configure
from models.errors import ConfigurationInvalid, MeshError
from tests.bench import ebpf_maps, ebpf_packets, ebpf_syscalls
from tests.bench.report import ROOT, Row, Run, show

INTERFACES, HERTZ = 4, 2.0
# Goals of the issue that asked for the collector.
_RSS_MB, _RSS_IN_RUN_MB, _CPU_PERCENT, _SCRAPE_MS = 60.0, 170.0, 1.0, 20.0
COLLECTOR, IN_RUN = f"collector, {INTERFACES} interfaces, {HERTZ:g} Hz", "collector inside its Prefect run"
NOTES = (
    "packets, system calls and map reads: the least of n rounds, for whatever disturbs a round only makes it longer",
    "ns_per_packet with many flows: an empty program's, and what ours adds to one behind the same driver",
    f"the driver of the cases with {ebpf_packets.MANY} and with new flows changes the source address of every packet",
    "the collector inside its Prefect run opens a node's whole station and takes samples, but stores none: no database",
)


def collector_rows(seen: Mapping[str, float | None], in_run: Mapping[str, float | None]) -> tuple[Row, ...]:
    """Return the figures of a collector's process, and of one in its Prefect run, as the two workers print them."""
    readings = int(seen["readings"] or 0)

    def row(metric: str, unit: str, goal: float) -> Row:
        return Row(case=COLLECTOR, metric=metric, unit=unit, value=seen[metric], n=readings, goal=goal)

    scrape = row("scrape_ms", "ms", _SCRAPE_MS).model_copy(update={"n": int(seen["scrapes"] or 0)})
    return (
        row("rss_mb", "MB", _RSS_MB),
        row("cpu_percent", "%", _CPU_PERCENT),
        # A short run has no scrape in it: that is no miss.
        scrape if scrape.value is not None else scrape.model_copy(update={"goal": None}),
        row("rss_mb", "MB", _RSS_IN_RUN_MB).model_copy(
            update={"case": IN_RUN, "value": in_run["rss_mb"], "n": int(in_run["readings"] or 0)}
        ),
    )


def main(
    *,
    json: Annotated[Path, typer.Option(help="The report.")],
    quick: Annotated[bool, typer.Option("--quick", help="Few rounds: does it all work?")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the order in which system calls are timed.")] = 1,
) -> None:
    """Measure what eBPF costs on this machine."""
    configure(least=logging.WARNING)
    if os.geteuid() != 0:
        raise ConfigurationInvalid("this benchmark loads programs and makes a namespace", "run it with sudo")
    run, console = Run.begin("ebpf", seed=seed), Console(soft_wrap=True)
    rounds = 2 if quick else 9
    with tempfile.TemporaryDirectory(prefix="x0bench-ebpf-") as made:
        console.print("packets ...")
        costs = ebpf_packets.measure(Path(made), rounds=rounds, repeat=10_000 if quick else 300_000)
        console.print("system calls ...")
        rng = np.random.default_rng(seed)
        syscalls, told = ebpf_syscalls.measure(Path(made), rounds=rounds, calls=50_000 if quick else 300_000, rng=rng)
    readings = []
    for entries in ebpf_maps.SIZES:
        console.print(f"a map of {entries} entries ...")
        readings.append(ebpf_maps.measure(entries, rounds=rounds, slow_rounds=1))
    console.print("the collector ...")
    seconds = 2 if quick else 20
    seen = collect(seconds=seconds)
    console.print("the collector inside its Prefect run ...")
    in_run = collect(seconds=seconds, worker="collect_in_run")
    absent = [
        f"{name} is not installed: its figures are null" for name, ms in readings[0].milliseconds.items() if ms is None
    ]
    report = run.report(
        (
            *ebpf_packets.rows(costs),
            *ebpf_syscalls.rows(syscalls, rounds=rounds),
            *(row for reading in readings for row in reading.rows()),
            *collector_rows(seen, in_run),
        ),
        (*NOTES, *told, *absent, f"load average {os.getloadavg()[0]:.1f} at the end"),
    )
    report.write(json)
    show(report, console)
    raise typer.Exit(0 if report.is_met else 1)


def collect(*, seconds: float, worker: str = "collect") -> dict[str, float | None]:
    """Run a collector in a process of its own and return what it says of itself."""
    command = [sys.executable, "-m", f"tests.bench.workers.{worker}", str(INTERFACES), str(seconds), str(HERTZ)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        # The run's own server, which would tell its maker that it lives, and everybody what it does.
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, float | None] = documents.loads(ended.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    try:
        typer.run(main)
    except MeshError as error:
        sys.stderr.write(f"x0tta6bl4 bench ebpf: {error}\n")
        sys.exit(2)
