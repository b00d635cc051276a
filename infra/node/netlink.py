"""Route netlink, as little of it as a node needs: read links, queues and routes; change a few of them.

Not pyroute2: its calls refuse to run inside a running event loop, and reading twice a second has a budget of a percent
of one core. Layouts: linux/netlink.h, rtnetlink.h, pkt_sched.h, fib_rules.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
REPLACE, EXCLUSIVE, CREATE = 0x100, 0x200, 0x400
# Multicast groups (RTMGRP_*): link, qdisc and IPv4 route changes.
CHANGES = 0x1 | 0x8 | 0x40

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
# Low 14 bits are the attribute's number; the top two say nested and byte order.
_TYPE_MASK = 0x3FFF
# One dump message is at most a page or 32 KiB, whichever the kernel likes; 64 KiB holds either.
_BUFFER = 65536
# The kernel answers a request at once; a second without an answer is a fault of ours, not a wait.
_TIMEOUT_S = 1.0

LINK = struct.Struct("=BxHiII")
ROUTE = struct.Struct("=BBBBBBBBI")
RULE = ROUTE
QUEUE = struct.Struct("=BxxxiIII")

_U32 = struct.Struct("=I")
Attributes = Mapping[int, bytes]


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def attribute(number: int, value: bytes | int) -> bytes:
    """Encode one attribute; an integer is a u32 in host order."""
    content = _U32.pack(value) if isinstance(value, int) else value
    encoded = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(content), number) + content
    return encoded.ljust(_aligned(len(encoded)), b"\0")


def attributes(content: bytes) -> dict[int, bytes]:
    """Decode attributes; a truncated one ends the list."""
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(content):
        length, number = _ATTRIBUTE.unpack_from(content, at)
        if length < _ATTRIBUTE.size or at + length > len(content):
            break
        found[number & _TYPE_MASK] = content[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)
    return found


def u32(content: bytes) -> int:
    """Decode a u32 in host order."""
    value: int = _U32.unpack(content)[0]
    return value


def name(content: bytes) -> str:
    """Decode a null-terminated string."""
    return content.rstrip(b"\0").decode()


class Netlink:
    """A route netlink socket of the namespace in which it was opened."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(_TIMEOUT_S)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket. Safe to call twice."""
        self._socket.close()

    def _send(self, message: int, flags: int, content: bytes) -> int:
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(content), message, flags | _REQUEST, self._sequence, 0)
        self._socket.send(header + content)
        return self._sequence

    def _answers(self, sequence: int) -> Iterator[tuple[int, bytes]]:
        """Yield (type, content) of the answers to one request; ends at its acknowledgement or DONE.

        Raises:
            OSError: the kernel's error code.
        """
        while True:
            received = self._socket.recv(_BUFFER)
            at = 0
            while at + _HEADER.size <= len(received):
                length, message, _flags, number, _port = _HEADER.unpack_from(received, at)
                content = received[at + _HEADER.size : at + length]
                at += _aligned(length)
                if number != sequence:
                    continue
                if message == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", content)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                if message == _NLMSG_DONE:
                    return
                yield message, content

    def dump(self, message: int, body: struct.Struct, *fields: int) -> list[tuple[tuple[int, ...], Attributes]]:
        """Return (fixed fields, attributes) of every object of one kind."""
        sequence = self._send(message, _DUMP, body.pack(*fields))
        return [(body.unpack_from(content), attributes(content[body.size :])) for _, content in self._answers(sequence)]

    def change(self, message: int, fixed: bytes, parts: Sequence[bytes], *, flags: int = 0) -> None:
        """Send one change and wait for the kernel's acknowledgement.

        Raises:
            OSError: the kernel's error code.
        """
        sequence = self._send(message, flags | _ACK, fixed + b"".join(parts))
        for _ in self._answers(sequence):
            # An acknowledged change has no other answer; draining keeps the socket in step if one came.
            continue


class Changes:
    """Tells whether links, queues or IPv4 routes changed since the last question."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, CHANGES))
        self._socket.setblocking(False)

    def any(self) -> bool:
        """Drain the notices; True when there was one, or when the kernel had to drop some."""
        seen = False
        while True:
            try:
                self._socket.recv(_BUFFER)
            except BlockingIOError:
                return seen
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
            seen = True

    def close(self) -> None:
        """Close the socket. Safe to call twice."""
        self._socket.close()
