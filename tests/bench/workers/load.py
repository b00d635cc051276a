"""Honest traffic that harms nobody: `python -m tests.bench.workers.load REQUEST.json ANSWER.json`.

Silence, a call's fifty packets a second, bursts of thousands, and a TCP transfer at full speed take turns, each between
two nodes drawn by the seed, until the time is up or TERM; then the answer says what was sent.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
from pydantic import BaseModel, ConfigDict

from infra.node.netns import entered

PORT = 9200  # of no probe and no measured flow
PAYLOAD = bytes(1000)  # a middling packet
CHUNK = bytes(1 << 16)  # the largest thing TCP hands to a link in one piece
SILENCE_S, CALL_S, TRANSFER_S = 8.0, 8.0, 4.0
CALL_PPS, BURST_PPS = 50, 4000
BURSTS, BURST_S, BETWEEN_S = 3, 1.0, 2.0
TICK_S = 0.005  # a burst leaves in small groups, as from an application, not in one system call's breath
ANSWER_S = 5.0  # a connection or an end of a transfer that takes longer is no quiet mesh's


class Host(BaseModel):
    """A node that can send."""

    model_config = ConfigDict(frozen=True)

    namespace: str
    address: str


class LoadRequest(BaseModel):
    """Who may talk, for how long."""

    model_config = ConfigDict(frozen=True)

    hosts: tuple[Host, ...]
    seconds: float
    seed: int


class Sent(BaseModel):
    """What was sent.

    Attributes:
        rounds: How often all four kinds of traffic had their turn.
        packets: UDP, calls and bursts.
        fastest_pps: The fastest burst, packets a second as the clock saw it.
        transferred: TCP bytes that arrived.
    """

    rounds: int = 0
    packets: int = 0
    fastest_pps: float = 0
    transferred: int = 0


class Load:
    """Takes the turns."""

    def __init__(self, request: LoadRequest) -> None:
        self._hosts = request.hosts
        self._rng = np.random.default_rng(request.seed)
        self._end = time.monotonic() + request.seconds
        self._stopped = threading.Event()
        self.sent = Sent()

    def stop(self) -> None:
        """End soon."""
        self._stopped.set()

    def run(self) -> None:
        """Take turns until the time is up."""
        turns: tuple[Callable[[], None], ...] = (self._silence, self._call, self._bursts, self._transfer)
        while True:
            for turn in turns:
                turn()
                if self._over():
                    return
            self.sent.rounds += 1

    def _over(self) -> bool:
        return self._stopped.is_set() or time.monotonic() >= self._end

    def _silence(self) -> None:
        self._stopped.wait(min(SILENCE_S, max(0.0, self._end - time.monotonic())))

    def _call(self) -> None:
        self._datagrams(CALL_PPS, CALL_S)

    def _bursts(self) -> None:
        for _ in range(BURSTS):
            self.sent.fastest_pps = max(self.sent.fastest_pps, self._datagrams(BURST_PPS, BURST_S))
            self._stopped.wait(BETWEEN_S)

    def _pair(self) -> tuple[Host, Host]:
        one, other = self._rng.choice(len(self._hosts), size=2, replace=False)
        return self._hosts[int(one)], self._hosts[int(other)]

    def _datagrams(self, pps: int, seconds: float) -> float:
        """Send at a pace; return the pace that it came to."""
        source, target = self._pair()
        sent, started = 0, time.monotonic()
        # Nobody reads the target's socket: what overflows it died in the target, not on the mesh.
        with _bound(target, socket.SOCK_DGRAM, PORT), _bound(source, socket.SOCK_DGRAM, 0) as sender:
            while (passed := time.monotonic() - started) < seconds and not self._over():
                for _ in range(int(passed * pps) - sent):
                    sender.sendto(PAYLOAD, (target.address, PORT))
                    sent += 1
                time.sleep(TICK_S)
        self.sent.packets += sent
        return sent / (time.monotonic() - started)

    def _transfer(self) -> None:
        source, target = self._pair()
        with _bound(target, socket.SOCK_STREAM, PORT) as listening:
            listening.listen()
            reader = threading.Thread(target=self._read, args=(listening,), daemon=True)
            reader.start()
            with _bound(source, socket.SOCK_STREAM, 0) as sender:
                sender.connect((target.address, PORT))
                end = time.monotonic() + TRANSFER_S
                while time.monotonic() < end and not self._over():
                    sender.sendall(CHUNK)
            reader.join()

    def _read(self, listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.settimeout(ANSWER_S)
        with connection:
            while received := connection.recv(len(CHUNK)):
                self.sent.transferred += len(received)


def _bound(host: Host, kind: socket.SocketKind, port: int) -> socket.socket:
    with entered(host.namespace):
        made = socket.socket(socket.AF_INET, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.settimeout(ANSWER_S)
    made.bind((host.address, port))
    return made


def main() -> None:
    """Read, send, answer."""
    asked, answered = map(Path, sys.argv[1:])
    load = Load(LoadRequest.model_validate_json(asked.read_bytes()))

    def stop(_number: int, _frame: FrameType | None) -> None:
        load.stop()

    signal.signal(signal.SIGTERM, stop)
    load.run()
    answered.write_text(load.sent.model_dump_json())


if __name__ == "__main__":
    main()
