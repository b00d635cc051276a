"""What the kernel's drop reasons mean to us. Pure; the numbers are the running kernel's, the names its own.

Source: include/net/dropreason-core.h of Linux 6.18. A name that is not listed here falls into OTHER: no guessing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.telemetry import DropClass, DropCount

_PREFIX = "SKB_DROP_REASON_"
# Beginnings of names; the first class with a fitting one is taken.
_BEGINNINGS = {
    DropClass.DAMAGED: (
        "PKT_TOO_SMALL",
        "HDR_TRUNC",
        "DEV_HDR",
        "IP_CSUM",
        "IP_INHDR",
        "TCP_CSUM",
        "UDP_CSUM",
        "ICMP_CSUM",
        "SKB_",
        "IPV6_BAD_EXTHDR",
        "FRAG_",
        "DUP_FRAG",
    ),
    DropClass.NO_ROUTE: (
        "IP_OUTNOROUTES",
        "IP_INNOROUTES",
        "IP_INADDRERRORS",
        "IP_RPFILTER",
        "IP_INVALID_",
        "IP_LOCAL",
        "NEIGH_CREATEFAIL",
        "NEIGH_FAILED",
        "NEIGH_DEAD",
        "NEIGH_HH_FILLFAIL",
        "IPV6DISABLED",
        "PKT_TOO_BIG",
        "DEV_READY",
        "NO_TX_TARGET",
    ),
    DropClass.REFUSED: (
        "NETFILTER_DROP",
        "BPF_CGROUP_EGRESS",
        "XDP",
        "TC_INGRESS",
        "TC_EGRESS",
        "SOCKET_FILTER",
        "XFRM_POLICY",
        "SECURITY_HOOK",
        "TAP_",
    ),
    DropClass.QUEUE: (
        "QDISC_",
        "CAKE_",
        "FQ_",
        "DUALPI2_",
        "CPU_BACKLOG",
        "FULL_RING",
        "NOMEM",
        "PROTO_MEM",
        "PFMEMALLOC",
        "SOCKET_RCVBUFF",
        "SOCKET_BACKLOG",
        "NEIGH_QUEUEFULL",
        "TCP_LISTEN_OVERFLOW",
        "TCP_OFO_QUEUE_PRUNE",
        "TCP_ZEROWINDOW",
    ),
    DropClass.SOCKET: ("NO_SOCKET", "SOCKET_CLOSE", "TCP_", "UNIX_", "IP_NOPROTO", "OTHERHOST"),
}


def reason_name(reason: int, names: Mapping[int, str]) -> str:
    """Name a reason as the kernel does, in small letters; by its number where the kernel's names are not known."""
    return names.get(reason, str(reason)).removeprefix(_PREFIX).lower()


def drop_class(name: str) -> DropClass:
    """Say what sort of reason a name (of `reason_name`) is."""
    return next((kind for kind, begin in _BEGINNINGS.items() if name.upper().startswith(begin)), DropClass.OTHER)


def by_reason(counts: NDArray[np.uint64], names: Mapping[int, str]) -> dict[str, int]:
    """Name what was dropped; rows without drops are left out.

    Args:
        counts: (reasons,) packets by the kernel's number; the last row is all others'.
        names: Number -> name, of the running kernel.
    """
    last = len(counts) - 1
    return {
        "other" if row == last else reason_name(row, names): int(counts[row]) for row in np.flatnonzero(counts).tolist()
    }


def by_class(reasons: Mapping[str, int]) -> tuple[DropCount, ...]:
    """Sum what `by_reason` named by class, in the order of `DropClass`."""
    sums = dict.fromkeys(DropClass, 0)
    for name, packets in reasons.items():
        sums[drop_class(name)] += packets
    return tuple(DropCount(kind, packets) for kind, packets in sums.items() if packets)
