"""Who talks most over an interface: the classifier's flow map, decoded. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import numpy as np
from numpy.typing import NDArray

from models.telemetry import Direction

# struct flow, in network order; IPv4 addresses as ::ffff:a.b.c.d.
FLOW = np.dtype(
    [
        ("source", "V16"),
        ("destination", "V16"),
        ("source_port", ">u2"),
        ("destination_port", ">u2"),
        ("protocol", "u1"),
        ("direction", "u1"),
        ("reserved", "<u2"),
    ]
)
_DIRECTIONS = tuple(Direction)


@dataclass(frozen=True, slots=True)
class Flow:
    """One conversation's one direction, with estimates: one packet in a sample's size stood for all of them.

    Attributes:
        direction: As the interface sees it.
        protocol: IP protocol number.
        source: Who sent it.
        destination: Who it is for.
        source_port: 0 where there is none to be read.
        destination_port: Likewise.
        packets: Estimated, GSO segments.
        bytes: Estimated, of frames.
    """

    direction: Direction
    protocol: int
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    source_port: int
    destination_port: int
    packets: int
    bytes: int


def largest(keys: NDArray[np.uint8], values: NDArray[np.uint64], count: int) -> tuple[Flow, ...]:
    """Return the flows with most bytes, the largest first; only those are looked at one by one.

    Args:
        keys: (flows, 40) bytes of `FLOW`.
        values: (flows, 2) packets and bytes.
        count: How many at most.
    """
    order = np.argsort(values[:, 1])[::-1][:count]
    chosen = np.ascontiguousarray(keys[order]).view(FLOW)[:, 0]
    return tuple(
        Flow(
            direction=_DIRECTIONS[int(one["direction"])],
            protocol=int(one["protocol"]),
            source=_address(one["source"].tobytes()),
            destination=_address(one["destination"].tobytes()),
            source_port=int(one["source_port"]),
            destination_port=int(one["destination_port"]),
            packets=int(packets),
            bytes=int(size),
        )
        for one, (packets, size) in zip(chosen, values[order], strict=True)
    )


def _address(content: bytes) -> IPv4Address | IPv6Address:
    found = IPv6Address(content)
    return found.ipv4_mapped or found
