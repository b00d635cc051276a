"""The probe on the wire: fixed 36 bytes of UDP payload, padded for the large size. Pure.

Foreign packets to our ports are told by the magic and the mesh's checksum and dropped without an answer. An answer has
its request's length, so that a large probe is large in both directions and nobody is amplified.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

from models.telemetry import SizeClass

NEIGHBOUR_PORT = 6700
"""Classed as probe traffic by the eBPF programs."""
DATA_PORT = 6701
"""Nobody's well-known port: looks like customers' data to everything on the way."""

_MAGIC = b"x0pr"
_LAYOUT = struct.Struct("!4sIBBHQI12s")
_HEADERS = 20 + 8
# Bytes at layer 3. 64 is the least that holds the layout; 1,400 is the wide probe of models.telemetry.
WIRE_LENGTH = {SizeClass.SMALL: _HEADERS + _LAYOUT.size, SizeClass.LARGE: 1400}
_LARGE_FROM = 1000 - _HEADERS


class PacketKind(IntEnum):
    """What a packet is; an answer is its request's number plus 16."""

    NEIGHBOUR = 1
    TRANSIT = 2
    REACH = 3
    NEIGHBOUR_ANSWER = 17
    TRANSIT_ANSWER = 18
    REACH_ANSWER = 19

    @property
    def is_answer(self) -> bool:
        """Whether it answers a request."""
        return self >= PacketKind.NEIGHBOUR_ANSWER

    @property
    def answer(self) -> PacketKind:
        """The kind that answers this request."""
        return PacketKind(self + 16)


_KINDS = frozenset(int(kind) for kind in PacketKind)


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe.

    Attributes:
        kind: Request or answer, and of which sort.
        slot: The sender's number for (link or target, kind, size); comes back in the answer.
        run: The sender's random number, so that answers to a dead predecessor are not ours.
        sequence: Counts the slot's requests.
        node: Who asked (the first 12 bytes of its name).
    """

    kind: PacketKind
    slot: int
    run: int
    sequence: int
    node: str


def node_tag(node: str) -> str:
    """Return what of a node's name travels."""
    return node.encode()[:12].decode(errors="ignore")


def encode(probe: Probe, mesh: str, size: SizeClass) -> bytes:
    """Write a probe at its wire length."""
    content = _LAYOUT.pack(
        _MAGIC,
        zlib.crc32(mesh.encode()),
        probe.kind,
        0,
        probe.slot,
        probe.run,
        probe.sequence & 0xFFFFFFFF,
        node_tag(probe.node).encode(),
    )
    return content.ljust(WIRE_LENGTH[size] - _HEADERS, b"\0")


def decode(content: bytes, mesh: str) -> Probe | None:
    """Read a probe; None when it is not one of this mesh."""
    if len(content) < _LAYOUT.size:
        return None
    magic, checksum, kind, _, slot, run, sequence, node = _LAYOUT.unpack_from(content)
    if magic != _MAGIC or checksum != zlib.crc32(mesh.encode()) or kind not in _KINDS:
        return None
    return Probe(PacketKind(kind), slot, run, sequence, node.rstrip(b"\0").decode(errors="replace"))


def as_answer(content: bytes, kind: PacketKind) -> bytes:
    """Turn a received request into its answer, at the same length."""
    return content[:8] + bytes([kind.answer]) + content[9:]


def size_of(content: bytes) -> SizeClass:
    """Tell the size class of a received probe."""
    return SizeClass.LARGE if len(content) > _LARGE_FROM else SizeClass.SMALL
