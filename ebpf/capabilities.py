"""Which of the rights that eBPF needs this process has, and giving them up once everything is attached."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Collection
from pathlib import Path

from models.errors import KernelRefused

# include/uapi/linux/capability.h. Measured: without PERFMON the verifier forbids the classifier's packet arithmetic.
WANTED = {"CAP_BPF": 39, "CAP_PERFMON": 38, "CAP_NET_ADMIN": 12}
# Before capabilities were split in 5.8 this one stood for BPF and PERFMON, and the kernel still takes it for both.
_SYS_ADMIN = 21
_COVERED_BY_SYS_ADMIN = frozenset({"CAP_BPF", "CAP_PERFMON"})
# capset(2): the version with 64 bits, as two rows of 32; each row holds effective, permitted, inheritable.
_VERSION = 0x20080522
_EFFECTIVE, _PERMITTED, _INHERITABLE = range(3)
_WORD = 32
_Header = ctypes.c_uint32 * 2
_Rows = ctypes.c_uint32 * 6
_libc = ctypes.CDLL(None, use_errno=True)


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


def drop_capabilities(still_works: Callable[[], object], *, names: Collection[str] = tuple(WANTED)) -> bool:
    """Give capabilities up for good, if what is attached can be read without them; whether it can is found by trying.

    From 5.19 on a map is read by whoever holds its descriptor; before, where unprivileged bpf() is disabled, not. A
    clsact filter is taken away only with NET_ADMIN: keep that where one is attached.

    The kernel keeps capabilities by thread, and a thread can lower only its own: this is of use before others are
    started, and those started later have none either. numpy's OpenBLAS starts its own when it is imported, unless
    OPENBLAS_NUM_THREADS=1.

    Args:
        still_works: Reads what will be read; called without the capabilities.
        names: Which of `WANTED`.

    Returns:
        Whether they were given up; if not, everything is as before.

    Raises:
        KernelRefused: the kernel does not take the new set.
    """
    held = _held()
    without = _without(held, names, sets={_EFFECTIVE})
    _set(without)
    try:
        still_works()
    except KernelRefused:
        _set(held)
        return False
    # Lowering the inheritable set takes them out of the ambient one as well.
    _set(_without(without, names, sets={_EFFECTIVE, _PERMITTED, _INHERITABLE}))
    return True


def _without(rows: list[int], names: Collection[str], *, sets: Collection[int]) -> list[int]:
    lowered = list(rows)
    for name in names:
        half, bit = divmod(WANTED[name], _WORD)
        for one in sets:
            lowered[3 * half + one] &= ~(1 << bit)
    return lowered


def _held() -> list[int]:
    rows = _Rows()
    _called("capget", _libc.capget(_Header(_VERSION, 0), rows))
    return list(rows)


def _set(rows: list[int]) -> None:
    _called("capset", _libc.capset(_Header(_VERSION, 0), _Rows(*rows)))


def _called(name: str, result: int) -> None:
    if result != 0:
        raise KernelRefused(name, os.strerror(ctypes.get_errno()))
