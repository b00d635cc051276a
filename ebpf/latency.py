"""Histograms of system calls: their steps, a quantile, and which calls wait by design. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# kprobe_syscall_latency.bpf.c: slots, and the first one's upper edge as a power of two of a second.
SLOTS, _FIRST_EDGE = 32, -23
# Upper edges in seconds of all slots but the last, which has none.
EDGES_S: NDArray[np.float64] = np.exp2(np.arange(_FIRST_EDGE, _FIRST_EDGE + SLOTS - 1, dtype=np.float64))
# struct histogram: nanoseconds, then the slots, 64 bits each.
HISTOGRAM_BYTES = 8 * (1 + SLOTS)
_MICROSECONDS = 1e6
# Their duration says how long somebody else took (a peer, a timer, a lock's holder), nothing of this kernel's health.
# `read` and `connect` are here because of sockets and pipes.
WAITING = frozenset(
    (
        "accept",
        "accept4",
        "clock_nanosleep",
        "clone",
        "connect",
        "epoll_pwait",
        "epoll_pwait2",
        "epoll_wait",
        "fcntl",
        "flock",
        "futex",
        "futex_wait",
        "futex_waitv",
        "io_getevents",
        "io_pgetevents",
        "io_uring_enter",
        "mq_timedreceive",
        "mq_timedsend",
        "msgrcv",
        "msgsnd",
        "nanosleep",
        "pause",
        "poll",
        "ppoll",
        "pselect6",
        "ptrace",
        "read",
        "readv",
        "recvfrom",
        "recvmmsg",
        "recvmsg",
        "restart_syscall",
        "rt_sigsuspend",
        "rt_sigtimedwait",
        "select",
        "semop",
        "semtimedop",
        "splice",
        "tee",
        "vfork",
        "wait4",
        "waitid",
    )
)


def quantile_us(slots: NDArray[np.uint64], share: float) -> float | None:
    """Return the duration that a share of all calls stays below; None when there was no call.

    Within a slot durations are taken as evenly spread, so the answer is right to the slot: a factor of two. What lies
    in the last slot, which has no upper edge, is told as its lower edge.

    Args:
        slots: (SLOTS,) calls by duration.
        share: 0..1.

    Returns:
        Microseconds.
    """
    total = int(slots.sum())
    if not total:
        return None
    upto = np.cumsum(slots)
    slot = int(np.searchsorted(upto, share * total))
    lower = float(EDGES_S[slot - 1]) if slot else 0.0
    if slot >= len(EDGES_S):
        return lower * _MICROSECONDS
    before = int(upto[slot - 1]) if slot else 0
    inside = (share * total - before) / int(slots[slot])
    return (lower + (float(EDGES_S[slot]) - lower) * inside) * _MICROSECONDS
