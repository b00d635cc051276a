"""What is tried of this machine's kernel: each need of eBPF, and a program that loads, attaches and counts."""

from __future__ import annotations

import os
import socket

from ebpf.collector import EbpfInterfaceCounters
from ebpf.preflight import preflight
from infra.smoke.walk import Skipped, StepError

# Every machine has it, and what is sent to oneself passes it twice.
LOOPBACK = "lo"
PACKETS = 10
_NO_ROOT = Skipped("needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN: run smoke as root")


async def kernel() -> str | Skipped:
    """Check what `x0tta6bl4 doctor --ebpf` checks."""
    if os.geteuid() != 0:
        return _NO_ROOT
    checks = preflight()
    missing = [one for one in checks if not one.ok and one.is_required]
    if missing:
        raise StepError("; ".join(f"{one.name}: {one.found}" for one in missing), missing[0].mend)
    absent = [one.name for one in checks if not one.ok]
    return f"{len(checks) - len(absent)} of {len(checks)} needs met" + (
        f"; absent: {', '.join(absent)}" if absent else ""
    )


async def counts() -> str | Skipped:
    """Attach the classifier to the loopback, send packets over it, see them counted, detach it again."""
    if os.geteuid() != 0:
        return _NO_ROOT
    counters = EbpfInterfaceCounters([LOOPBACK])
    try:
        before = _seen(counters)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        ):
            receiver.bind(("127.0.0.1", 0))
            for _ in range(PACKETS):
                sender.sendto(b"smoke", receiver.getsockname())
                receiver.recv(64)
        after = _seen(counters)
        programs = ", ".join(dict.fromkeys(one.program for one in counters.programs()))
    finally:
        counters.close()
    # Each packet leaves and arrives; others may use the loopback meanwhile.
    if after - before < 2 * PACKETS:
        raise StepError(
            f"{programs} on {LOOPBACK} counted {after - before} of {2 * PACKETS} passages",
            "`x0tta6bl4 doctor --ebpf`; `bpftool net` shows whether another program takes packets away before ours",
        )
    return f"{programs} on {LOOPBACK} counted {after - before} passages of {PACKETS} packets and of others' traffic"


def _seen(counters: EbpfInterfaceCounters) -> int:
    return sum(row.packets for reading in counters.read() for row in reading.counts)
