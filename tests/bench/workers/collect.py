"""A collector as a plain process: `python -m tests.bench.workers.collect INTERFACES SECONDS HERTZ`.

Attaches all programs, those for packets to so many interfaces, in a network namespace of its own, which goes away with
it; reads them at that rate, shows them to Prometheus every 15 s, and prints what that took as one JSON object.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import resource
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

from ebpf.capabilities import drop_capabilities
from ebpf.collector import EbpfInterfaceCounters
from ebpf.exposition import CountersExposition
from ebpf.libbpf import network_namespace
from ebpf.page import page
from ebpf.tracing import Tracing
from ebpf.tracing_exposition import TracingExposition
from infra.log import configure

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
SCRAPE_SECONDS = 15.0  # Prometheus' usual


def isolated(interfaces: int) -> list[str]:
    """Move this process into a network namespace of its own with so many interfaces; return their names.

    Raises:
        OSError: that needs root.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "a network namespace of its own needs root")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    names = [f"bench{number}" for number in range(interfaces)]
    for number, name in enumerate(names):
        subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}x"], check=True)
        subprocess.run(["ip", "addr", "add", f"10.9.{number}.1/24", "dev", name], check=True)
        for end in (name, f"{name}x"):
            subprocess.run(["ip", "link", "set", end, "up"], check=True)
    return names


def resident_mb() -> float:
    """Return the memory that this process holds now, in MB of 2^20 bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    """Collect, and say what it took."""
    configure(least=logging.WARNING)
    interfaces, seconds, hertz = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    names = isolated(interfaces)
    counters = EbpfInterfaceCounters(names)
    tracing = Tracing(namespace=network_namespace())
    # As a collector should, so that what it costs is measured too.
    drop_capabilities(lambda: (counters.read(), tracing.read()))
    shown = CountersExposition(
        counters, programs=lambda: counters.programs() + tracing.programs(), missing=tracing.missing
    )
    traced = TracingExposition(tracing)

    def scrape() -> None:
        page(chain(shown.families(), traced.families()))

    scrape()  # what is made at the first one is no cost of running
    before, start = time.process_time(), time.monotonic()
    scraped, longest = start, 0.0
    readings = scrapes = 0
    while (now := time.monotonic()) < start + seconds:
        counters.read()
        tracing.read()
        readings += 1
        if now - scraped >= SCRAPE_SECONDS:
            scraped = now
            scrape()
            scrapes += 1
            longest = max(longest, time.monotonic() - now)
        time.sleep(max(0.0, start + readings / hertz - time.monotonic()))
    used, passed = time.process_time() - before, time.monotonic() - start
    resident = resident_mb()
    counters.close()
    tracing.close()
    answer = {
        "rss_mb": resident,
        "cpu_percent": 100 * used / passed,
        "readings": readings,
        "scrapes": scrapes,
        "scrape_ms": 1000 * longest if longest else None,
        "pid": os.getpid(),
    }
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
