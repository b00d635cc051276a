"""The outside prober: a process that sends numbered UDP requests between two loopbacks and writes what came back.

    python -m infra.lab.echo --source-namespace NS --source ADDRESS --target-namespace NS --target ADDRESS --out FILE

The controller cannot see it: it shares nothing with it but the mesh. One process holds both ends, so both are told by
one monotonic clock. Standard library only, since several run beside several labs.

The file is JSON lines: first `{"wall": s, "monotonic": s}` read together, then one line per settled request:
`{"flow", "number", "at", "arrived", "rtt_ms"}`: `at` in monotonic seconds, `arrived` whether the target saw the
request, `rtt_ms` null when no answer came within a second.
"""

from __future__ import annotations

import argparse
import json
import selectors
import signal
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from infra.lab.traffic import SOURCE_PORT, TARGET_PORT
from infra.node.netns import entered

PACKET = struct.Struct("!4sIQ")  # magic, flow, number
MAGIC = b"x0tr"
HEADERS = 28  # IPv4 and UDP
ANSWER_SECONDS = 1.0  # a request unanswered for so long is lost; three orders above a lab's round trip
BUFFER = 1 << 20  # bytes of socket buffer, so that a late turn of this loop loses nothing


@dataclass(slots=True)
class _Request:
    at: float
    arrived: bool = False


@dataclass(slots=True)
class _Flow:
    index: int
    client: socket.socket
    waiting: dict[int, _Request] = field(default_factory=dict)
    sent: int = 0


class Echo:
    """Both ends of the flows, and the file they are written to."""

    def __init__(self, flows: Sequence[_Flow], server: socket.socket, *, target: str, size: int, out: TextIO) -> None:
        self._flows = flows
        self._server = server
        self._target = (target, TARGET_PORT)
        self._padding = bytes(max(0, size - HEADERS - PACKET.size))
        self._out = out
        self._selector = selectors.DefaultSelector()
        self._running = True
        for one in (server, *(flow.client for flow in flows)):
            one.setblocking(False)
            self._selector.register(one, selectors.EVENT_READ)

    def stop(self) -> None:
        """End after the answers under way had their time."""
        self._running = False

    def run(self, pps: float) -> None:
        """Send `pps` requests a second in each flow until stopped."""
        self._write({"wall": time.time(), "monotonic": time.monotonic()})  # noqa: TID251 - ties the two clocks together
        due = time.monotonic()
        while self._running or any(flow.waiting for flow in self._flows):
            now = time.monotonic()
            if self._running and now >= due:
                for flow in self._flows:
                    self._send(flow)
                # No bursts to catch up after a stall: they would measure this process, not the mesh.
                due = max(due + 1 / pps, now)
            for key, _ in self._selector.select(max(0.0, min(due - time.monotonic(), 0.1) if self._running else 0.1)):
                self._receive(key.fileobj)
            self._expire()

    def _send(self, flow: _Flow) -> None:
        number = flow.sent
        flow.sent += 1
        flow.waiting[number] = _Request(at=time.monotonic())
        try:
            flow.client.sendto(PACKET.pack(MAGIC, flow.index, number) + self._padding, self._target)
        except OSError:
            return  # no route, or a full queue: it stays unanswered and counts as lost, which is what a user sees

    def _receive(self, end: object) -> None:
        if end is self._server:
            while (got := _read(self._server)) is not None:
                request = self._request(got[0])
                if request is not None:
                    request.arrived = True
                    self._answer(*got)
            return
        for flow in self._flows:
            while end is flow.client and (got := _read(flow.client)) is not None:
                request = self._request(got[0])
                if request is not None:
                    number = PACKET.unpack_from(got[0])[2]
                    del flow.waiting[number]
                    self._settle(flow, number, request, rtt_ms=round((time.monotonic() - request.at) * 1000, 3))

    def _answer(self, payload: bytes, source: tuple[str, int]) -> None:
        try:
            self._server.sendto(payload, source)
        except OSError:
            return  # as in _send

    def _request(self, payload: bytes) -> _Request | None:
        if len(payload) < PACKET.size:
            return None
        magic: bytes
        flow: int
        number: int
        magic, flow, number = PACKET.unpack_from(payload)
        if magic != MAGIC or flow >= len(self._flows):
            return None
        return self._flows[flow].waiting.get(number)

    def _expire(self) -> None:
        before = time.monotonic() - ANSWER_SECONDS
        for flow in self._flows:
            while flow.waiting:
                number, request = next(iter(flow.waiting.items()))
                if request.at > before:
                    break
                del flow.waiting[number]
                self._settle(flow, number, request, rtt_ms=None)

    def _settle(self, flow: _Flow, number: int, request: _Request, *, rtt_ms: float | None) -> None:
        line = {"flow": flow.index, "number": number, "at": round(request.at, 6), "arrived": request.arrived}
        self._write({**line, "rtt_ms": rtt_ms})

    def _write(self, line: dict[str, float | int | None]) -> None:
        self._out.write(json.dumps(line) + "\n")


def _read(end: socket.socket) -> tuple[bytes, tuple[str, int]] | None:
    try:
        payload, source = end.recvfrom(65535)
    except (BlockingIOError, ConnectionRefusedError):
        return None
    return payload, source


def _open(namespace: str, address: str, port: int) -> socket.socket:
    with entered(namespace):
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    # An ICMP error must not end the flow, and a packet too large must be lost as a user's would be, not fragmented.
    end.setsockopt(socket.IPPROTO_IP, 10, 3)  # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE: the socket module lacks the names
    end.bind((address, port))
    return end


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(description="Measure a flow between two loopbacks from outside.")
    for name in ("source-namespace", "source", "target-namespace", "target", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--pps", type=float, default=50)
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--flows", type=int, default=1)
    chosen = parser.parse_args()
    clients = [
        _Flow(index, _open(chosen.source_namespace, chosen.source, SOURCE_PORT + index))
        for index in range(chosen.flows)
    ]
    server = _open(chosen.target_namespace, chosen.target, TARGET_PORT)
    # Line-buffered: whoever watches reads along, and a kill loses nothing that was settled.
    with Path(chosen.out).open("w", buffering=1) as out:
        echo = Echo(clients, server, target=chosen.target, size=chosen.size, out=out)
        signal.signal(signal.SIGTERM, lambda *_: echo.stop())
        signal.signal(signal.SIGINT, lambda *_: echo.stop())
        echo.run(chosen.pps)


if __name__ == "__main__":
    main()
