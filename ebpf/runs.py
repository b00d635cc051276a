"""How long and how often programs ran, as the kernel counts it when an operator asks for that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ebpf.libbpf import libbpf

_ENABLED = Path("/proc/sys/kernel/bpf_stats_enabled")


@dataclass(frozen=True, slots=True)
class Runs:
    """A program's runs while counting was on."""

    seconds: float
    count: int


def run_statistics(program: int) -> Runs | None:
    """Return a program's runs; None while the kernel does not count them.

    Counting costs two readings of the clock a run, so it is the operator's choice: `sysctl kernel.bpf_stats_enabled=1`.
    """
    if _ENABLED.read_text().strip() != "1":
        return None
    nanoseconds, count = libbpf().run_statistics(program)
    return Runs(nanoseconds * 1e-9, count)
