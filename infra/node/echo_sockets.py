"""The UDP sockets of a node's probes: opened inside its namespace, never fragmenting, stamped by the kernel."""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from infra.node.place import LinkEnd
from models.errors import ConfigurationInvalid, SourceUnavailable

# linux/in.h, asm-generic/socket.h: Python 3.11 does not name these.
_IP_PKTINFO, _IP_MTU_DISCOVER, _SO_TIMESTAMPNS = 8, 10, 35
# DF set, and no belief in a path MTU learnt earlier: a cached one outlives the fault that taught it by ten minutes.
_PMTUDISC_PROBE = 3
_RCVBUFFORCE = 33
# A second of a stalled loop with eight neighbours and forty nodes probing us, each large packet costing 2.3 KiB.
_BUFFER_BYTES = 1 << 20
_LONGEST = 2048
_CONTROL_BYTES = 256
_TIMESPEC = struct.Struct("=qq")
_PKTINFO = struct.Struct("=I4s4s")
_MARK = struct.Struct("=I")
# A flood from outside must not keep the loop from its own sending.
_MOST_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Arrival:
    """A received packet.

    Attributes:
        content: UDP payload.
        sender: (address, port).
        interface: Kernel index of the interface it came in on; 0 when unknown.
        at_ns: When the kernel received it, in the monotonic clock.
    """

    content: bytes
    sender: tuple[str, int]
    interface: int
    at_ns: int


def open_socket(address: str, port: int, *, device: str = "") -> socket.socket:
    """Open a socket in this thread's namespace; `device` binds it to one interface both ways.

    Raises:
        SourceUnavailable: another process still has the port.
        ConfigurationInvalid: the address is not ours, the interface is missing, or we may not.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
        made.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        made.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        _widen(made)
        if device:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        made.bind((address, port))
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise SourceUnavailable(f"probe port {address}:{port}", "another collector still has it") from error
        mend = "mend node.json, or give the collector NET_ADMIN"
        raise ConfigurationInvalid(f"cannot probe from {address} {device} ({error})", mend) from error
    return made


def _widen(made: socket.socket) -> None:
    try:
        made.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER_BYTES)
    except PermissionError:
        # Without NET_ADMIN the system's ceiling applies, which is enough for a mesh of a dozen.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)


def open_neighbour(end: LinkEnd, port: int) -> socket.socket:
    """Open the socket that speaks with one neighbour over one link only."""
    return open_socket(end.address, port, device=end.interface)


def send(via: socket.socket, content: bytes, to: tuple[str, int], *, mark: int = 0) -> None:
    """Send one packet, marked for a policy rule unless 0; OSError when the kernel would not."""
    control = [(socket.SOL_SOCKET, socket.SO_MARK, _MARK.pack(mark))] if mark else []
    via.sendmsg([content], control, 0, to)


def drain(from_socket: socket.socket) -> Iterator[Arrival]:
    """Yield what waits in a socket, without blocking."""
    # The kernel stamps wall time; the difference of the two clocks, taken now, carries it over.
    offset_ns = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.monotonic_ns()
    for _ in range(_MOST_AT_ONCE):
        try:
            content, control, _flags, sender = from_socket.recvmsg(_LONGEST, _CONTROL_BYTES)
        except BlockingIOError:
            return
        except OSError:
            # A pending ICMP error of an earlier packet; reading it cleared it, and the silence is counted anyway.
            continue
        interface, at_ns = 0, time.monotonic_ns()
        for level, kind, value in control:
            if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
                interface = _PKTINFO.unpack_from(value)[0]
            elif level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack_from(value)
                at_ns = seconds * 1_000_000_000 + nanoseconds - offset_ns
        yield Arrival(content, sender, interface, at_ns)
