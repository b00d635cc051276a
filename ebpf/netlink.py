"""A route netlink socket: links as the kernel sees them, and tc filters where links to programs do not exist.

Written by hand instead of taken from pyroute2: 20 MB less in every collector, no event loop of its own inside ours,
and the socket stays in the network namespace in which it was opened, wherever its thread goes later.
Layout: rtnetlink(7), include/uapi/linux/{if_link,pkt_sched,pkt_cls}.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from models.errors import SourceUnavailable

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_TRAFFIC = struct.Struct("=BxxxiIII")
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_NEW_LINK, _GET_LINK = 16, 18
_NEW_QDISC, _DELETE_QDISC = 36, 37
_NEW_FILTER, _DELETE_FILTER, _GET_FILTER = 44, 45, 46
_REQUEST, _ACKNOWLEDGE, _DUMP, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
_ERROR, _DONE = 2, 3
_IFLA_NAME, _IFLA_MTU, _IFLA_CARRIER, _IFLA_CARRIER_CHANGES = 3, 4, 33, 35
_TCA_KIND, _TCA_OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_ID = 6, 7, 8, 11
_NESTED, _TYPE_MASK = 0x8000, 0x3FFF
_BPF_DIRECT_ACTION = 1
_CLSACT_HANDLE, _CLSACT_PARENT = 0xFFFF0000, 0xFFFFFFF1
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
_ALL_PROTOCOLS = 0x0300  # ETH_P_ALL, network order
# First among filters: what others drop or redirect is counted all the same.
_PRIORITY = 1
# A kernel that does not answer within this is not going to.
_TIMEOUT_SECONDS = 2.0
_BUFFER = 1 << 16


@dataclass(frozen=True, slots=True)
class LinkState:
    """A network interface as rtnetlink reports it.

    Attributes:
        index: Of the namespace.
        name: At this moment.
        hardware: ARPHRD number; 1 is Ethernet.
        mtu: Bytes.
        has_carrier: Whether the link layer is up.
        carrier_changes: Cumulative since the interface exists.
    """

    index: int
    name: str
    hardware: int
    mtu: int
    has_carrier: bool
    carrier_changes: int


@dataclass(frozen=True, slots=True)
class Filter:
    """A bpf filter at one hook: its place and the program in it."""

    handle: int
    priority: int
    program_id: int


class RouteSocket:
    """One netlink socket. Not safe for two threads at once.

    Raises:
        SourceUnavailable: from `link`, when the kernel does not answer.
        OSError: from everything about tc, with the kernel's refusal.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(_TIMEOUT_SECONDS)
        self._socket.bind((0, 0))
        self._sequence = count(1)

    def link(self, name: str) -> LinkState | None:
        """Return the interface of that name; None when there is none."""
        body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _attribute(_IFLA_NAME, name.encode() + b"\0")
        try:
            answers = list(self._ask(_GET_LINK, body))
        except OSError as error:
            if error.errno in {errno.ENODEV, errno.ENOENT}:
                return None
            raise SourceUnavailable("rtnetlink", str(error)) from error
        return next((_link(content) for kind, content in answers if kind == _NEW_LINK), None)

    def add_clsact(self, ifindex: int) -> bool:
        """Give the interface a clsact qdisc; return False when it had one already."""
        body = _TRAFFIC.pack(0, ifindex, _CLSACT_HANDLE, _CLSACT_PARENT, 0) + _attribute(_TCA_KIND, b"clsact\0")
        try:
            list(self._ask(_NEW_QDISC, body, flags=_CREATE | _EXCLUSIVE))
        except FileExistsError:
            return False
        return True

    def delete_clsact(self, ifindex: int) -> None:
        """Take the clsact qdisc away, with every filter in it."""
        list(self._ask(_DELETE_QDISC, _TRAFFIC.pack(0, ifindex, _CLSACT_HANDLE, _CLSACT_PARENT, 0)))

    def add_filter(self, ifindex: int, parent: int, *, program: int, name: str, handle: int) -> None:
        """Hang a program into the clsact qdisc at `parent` (INGRESS or EGRESS)."""
        options = (
            _attribute(_BPF_FD, _U32.pack(program))
            + _attribute(_BPF_NAME, name.encode() + b"\0")
            + _attribute(_BPF_FLAGS, _U32.pack(_BPF_DIRECT_ACTION))
        )
        body = _TRAFFIC.pack(0, ifindex, handle, parent, _PRIORITY << 16 | _ALL_PROTOCOLS)
        body += _attribute(_TCA_KIND, b"bpf\0") + _attribute(_TCA_OPTIONS | _NESTED, options)
        list(self._ask(_NEW_FILTER, body, flags=_CREATE | _EXCLUSIVE))

    def delete_filter(self, ifindex: int, parent: int, *, handle: int) -> None:
        """Take one bpf filter away again."""
        body = _TRAFFIC.pack(0, ifindex, handle, parent, _PRIORITY << 16 | _ALL_PROTOCOLS)
        list(self._ask(_DELETE_FILTER, body + _attribute(_TCA_KIND, b"bpf\0")))

    def filters(self, ifindex: int, parent: int) -> tuple[Filter, ...]:
        """Return all filters at a hook, anyone's; `program_id` is 0 for those that are not bpf."""
        found = []
        body = _TRAFFIC.pack(0, ifindex, 0, parent, 0)
        for kind, content in self._ask(_GET_FILTER, body, flags=_DUMP):
            if kind != _NEW_FILTER:
                continue
            _, index, handle, _, info = _TRAFFIC.unpack_from(content)
            attributes = _attributes(content[_TRAFFIC.size :])
            options = _attributes(attributes.get(_TCA_OPTIONS, b""))
            is_bpf = attributes.get(_TCA_KIND) == b"bpf\0"
            # Each priority is announced once as a whole, with handle 0, before its filters.
            if index == ifindex and handle:
                program_id = _U32.unpack(options[_BPF_ID])[0] if is_bpf and _BPF_ID in options else 0
                found.append(Filter(handle, info >> 16, program_id))
        return tuple(found)

    def close(self) -> None:
        """Close the socket. Safe to call twice."""
        self._socket.close()

    def _ask(self, kind: int, body: bytes, *, flags: int = 0) -> Iterator[tuple[int, bytes]]:
        sequence = next(self._sequence)
        # A dump ends with its own mark; everything else with an acknowledgement.
        wanted = _REQUEST | flags | (0 if flags & _DUMP == _DUMP else _ACKNOWLEDGE)
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, wanted, sequence, 0) + body)
        while True:
            received = self._socket.recv(_BUFFER)
            at = 0
            while at < len(received):
                length, answer, _, number, _ = _HEADER.unpack_from(received, at)
                content = received[at + _HEADER.size : at + length]
                at += length + 3 & ~3
                if number != sequence:  # left over from a request that timed out
                    continue
                if answer == _DONE:
                    return
                if answer == _ERROR:
                    code = -struct.unpack_from("=i", content)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                yield answer, content


def _attribute(kind: int, content: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(content)
    return _ATTRIBUTE.pack(length, kind) + content + bytes(-length % 4)


def _attributes(content: bytes) -> dict[int, bytes]:
    found = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(content):
        length, kind = _ATTRIBUTE.unpack_from(content, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = content[at + _ATTRIBUTE.size : at + length]
        at += length + 3 & ~3
    return found


def _link(content: bytes) -> LinkState:
    _, hardware, index, _, _ = _LINK.unpack_from(content)
    attributes = _attributes(content[_LINK.size :])
    return LinkState(
        index=index,
        name=attributes[_IFLA_NAME].rstrip(b"\0").decode(),
        hardware=hardware,
        mtu=_U32.unpack(attributes[_IFLA_MTU])[0],
        has_carrier=attributes[_IFLA_CARRIER] != b"\0",
        carrier_changes=_U32.unpack(attributes[_IFLA_CARRIER_CHANGES])[0],
    )
