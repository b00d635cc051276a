"""Which of the rights that eBPF needs this process has."""

from __future__ import annotations

from pathlib import Path

# include/uapi/linux/capability.h. Measured: without PERFMON the verifier forbids the classifier's packet arithmetic.
WANTED = {"CAP_BPF": 39, "CAP_PERFMON": 38, "CAP_NET_ADMIN": 12}
# Before capabilities were split in 5.8 this one stood for BPF and PERFMON, and the kernel still takes it for both.
_SYS_ADMIN = 21
_COVERED_BY_SYS_ADMIN = frozenset({"CAP_BPF", "CAP_PERFMON"})


def missing_in(status: str) -> tuple[str, ...]:
    """Read `/proc/<pid>/status` and name the wanted capabilities that are not effective."""
    effective = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    has_admin = bool(effective >> _SYS_ADMIN & 1)
    return tuple(
        name
        for name, number in WANTED.items()
        if not effective >> number & 1 and not (has_admin and name in _COVERED_BY_SYS_ADMIN)
    )


def missing_capabilities() -> tuple[str, ...]:
    """Name the wanted capabilities that the calling thread lacks."""
    return missing_in(Path("/proc/thread-self/status").read_text())
