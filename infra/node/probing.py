"""Active echo probes of one node: across each link, pinned to it, and to far nodes along whatever way routing chose.

| probe                     | a second | bytes (layer 3) | from, to                                     |
|---------------------------|----------|-----------------|----------------------------------------------|
| NEIGHBOUR small, large    | 2, 1     | 64, 1400        | link address to link address, port 6700      |
| TRANSIT small, large      | 4, 2     | 64, 1400        | loopback to loopback, pinned, port 6701      |
| reach small, large        | 2, 1     | 64, 1400        | loopback to loopback, routed, port 6701      |

Cost: a link carries, per direction, our 9 requests and our 9 answers to the peer's, 18 packets or 9.2 KB a second; each
reach target adds 3 requests and 3 answers a second, 3.1 KB each way. Six nodes in a ring with a chord: about 75 packets
or 37 KB a second sent by a node.

Requests leave from eight source ports in turn, so that a fault of one flow hash hits some of them.

A request counts as answered by when the *kernel* received the answer, so an event loop that runs late loses nothing;
it is judged lost only after the sockets were drained. The time-out, 0.8 s, is stretched up to five times by local CPU
pressure. A request that the kernel refuses to send (no route, too long for the interface) is sent, settled and lost;
one that our own full buffers refuse is not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from infra.node.echo_sockets import Arrival, drain, open_neighbour, open_socket, send
from infra.node.netns import entered
from infra.node.pinning import Pinning, mark_of
from infra.node.place import NodePlace
from infra.node.probe_packet import (
    DATA_PORT,
    NEIGHBOUR_PORT,
    PacketKind,
    Probe,
    as_answer,
    decode,
    encode,
    node_tag,
    size_of,
)
from infra.node.senses import PressureGauge
from infra.node.tally import Tally
from models.errors import ConfigurationInvalid
from models.mesh import NodeId
from models.telemetry import LinkProbeReading, ProbeKind, ReachReading, SizeClass

log = structlog.get_logger()

PER_SECOND = {
    (PacketKind.NEIGHBOUR, SizeClass.SMALL): 2.0,
    (PacketKind.NEIGHBOUR, SizeClass.LARGE): 1.0,
    (PacketKind.TRANSIT, SizeClass.SMALL): 4.0,
    (PacketKind.TRANSIT, SizeClass.LARGE): 2.0,
    (PacketKind.REACH, SizeClass.SMALL): 2.0,
    (PacketKind.REACH, SizeClass.LARGE): 1.0,
}
SOURCE_PORTS = 8
_KINDS = {PacketKind.NEIGHBOUR: ProbeKind.NEIGHBOUR, PacketKind.TRANSIT: ProbeKind.TRANSIT}
_SIZES = (SizeClass.SMALL, SizeClass.LARGE)
# Probes of a slot are at least 250 ms apart, so a tenth of a second of jitter does not bunch them.
_TICK_S = 0.1
# Ten times the round trip of a healthy mesh; a slower answer is as good as none to whoever waits for it.
TIMEOUT_S = 0.8
# At full CPU pressure an answer may sit behind four other time slices of that length.
_STRETCH = 4.0
_PRESSURE_EVERY_S = 1.0
_MEND_EVERY_S = 1.0
# Spreads the slots over their period without two falling together (the golden ratio's fractional part).
_SPREAD = 0.618


@dataclass(slots=True)
class _Slot:
    """One row of the readings and when it sends next."""

    kind: PacketKind
    size: SizeClass
    to: tuple[str, int]
    link: int
    name: str
    next_s: float = 0.0
    tally: Tally = field(default_factory=Tally)

    @property
    def period_s(self) -> float:
        return 1.0 / PER_SECOND[self.kind, self.size]


def _slots(place: NodePlace) -> list[_Slot]:
    slots = []
    for index, link in enumerate(place.links):
        for size in _SIZES:
            near, far = (link.peer_address, NEIGHBOUR_PORT), (link.peer_loopback, DATA_PORT)
            slots.append(_Slot(PacketKind.NEIGHBOUR, size, near, index, link.interface))
            slots.append(_Slot(PacketKind.TRANSIT, size, far, index, link.interface))
    for reach in place.reach:
        slots += [_Slot(PacketKind.REACH, size, (reach.address, DATA_PORT), -1, reach.node) for size in _SIZES]
    return slots


class CpuPatience:
    """How much longer to wait for an answer because this machine is busy: 1 (idle) to 5 (always somebody waiting)."""

    def __init__(self) -> None:
        self._gauge = PressureGauge()
        self._factor = 1.0
        self._next_s = 0.0

    def __call__(self) -> float:
        """Return the factor, measured anew once a second."""
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._factor = 1.0 + _STRETCH * self._gauge.share()
            self._next_s = now_s + _PRESSURE_EVERY_S
        return self._factor


class EchoProber:
    """Implements models.ports.Prober on this event loop. Needs NET_ADMIN (marks, rules) in the node's namespace."""

    def __init__(self, place: NodePlace, *, patience: Callable[[], float] | None = None) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            place: The node.
            patience: Factor >= 1 on the time-out; default: by local CPU pressure.
        """
        self._place = place
        self._patience = patience or CpuPatience()
        self._slots = _slots(place)
        self._run_number = secrets.randbits(64)
        self._heard: Counter[tuple[int, PacketKind, SizeClass]] = Counter()
        self._neighbours: list[socket.socket] = []
        self._sources: list[socket.socket] = []
        self._data: socket.socket | None = None
        self._pinning: Pinning | None = None
        self._links_by_index: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._mended_s = 0.0

    async def start(self) -> None:
        """Open the sockets, pin the links, begin answering and sending.

        Raises:
            SourceUnavailable: another collector of this node still runs.
            ConfigurationInvalid: the place does not fit the node, or NET_ADMIN is missing.
        """
        try:
            with entered(self._place.netns):
                self._neighbours = [open_neighbour(end, NEIGHBOUR_PORT) for end in self._place.links]
                self._data = open_socket(self._place.address, DATA_PORT)
                self._sources = [open_socket(self._place.address, 0) for _ in range(SOURCE_PORTS)]
                self._pinning = Pinning(self._place.links)
            self._links_by_index = self._pinning.hold()
        except OSError as error:
            await self.close()
            raise ConfigurationInvalid(f"cannot pin probes ({error})", "give the collector NET_ADMIN") from error
        except BaseException:
            await self.close()
            raise
        loop = asyncio.get_running_loop()
        for index, one in enumerate(self._neighbours):
            loop.add_reader(one, self._receive_from_neighbour, index)
        # No reader for the sources: the kernel stamps an answer when it comes, so it may wait for `read` or `_judge`.
        # Waking for each of them cost a third of all the prober's CPU time.
        loop.add_reader(self._data, self._receive_data)
        now_s = time.monotonic()
        for number, slot in enumerate(self._slots):
            slot.next_s = now_s + slot.period_s * (number * _SPREAD % 1.0)
        self._task = asyncio.create_task(self._send_for_ever(), name=f"probes of {self._place.node}")

    def read(self) -> tuple[tuple[LinkProbeReading, ...], tuple[ReachReading, ...]]:
        """Return cumulative counts; resets only the RTT medians."""
        if self._task is not None and self._task.done():
            # The sending task ends by `close` alone; anything else is a fault that must not look like a quiet mesh.
            self._task.result()
        self._drain_answers()
        self._judge()
        links, reach = [], []
        for slot in self._slots:
            tally = slot.tally
            counts = (tally.sent, tally.settled, tally.answered)
            if slot.kind is PacketKind.REACH:
                reach.append(ReachReading(NodeId(slot.name), slot.size, *counts, tally.take_rtt_ms()))
                continue
            peer = NodeId(self._place.links[slot.link].peer)
            heard = self._heard[slot.link, slot.kind, slot.size]
            kind = _KINDS[slot.kind]
            links.append(LinkProbeReading(slot.name, peer, kind, slot.size, *counts, heard, tally.take_rtt_ms()))
        return tuple(links), tuple(reach)

    async def close(self) -> None:
        """Stop; free sockets and the policy rules made for pinning. Safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        data = [self._data] if self._data else []
        for one in (*self._neighbours, *self._sources, *data):
            asyncio.get_running_loop().remove_reader(one)
            one.close()
        self._neighbours, self._sources, self._data = [], [], None
        if self._pinning is not None:
            self._pinning.release()
            self._pinning = None

    # --- sending -----------------------------------------------------------------------------------------------------

    async def _send_for_ever(self) -> None:
        while True:
            now_s = time.monotonic()
            for number, slot in enumerate(self._slots):
                if slot.next_s <= now_s:
                    self._request(number, slot)
                    # A late loop leaves probes out; sending them all at once would measure nothing but itself.
                    slot.next_s += slot.period_s * max(1, -((slot.next_s - now_s) // slot.period_s))
            self._judge()
            await asyncio.sleep(_TICK_S)

    def _request(self, number: int, slot: _Slot) -> None:
        sequence = slot.tally.send(time.monotonic_ns())
        probe = Probe(slot.kind, number, self._run_number, sequence, self._place.node)
        content = encode(probe, self._place.mesh, slot.size)
        is_near = slot.kind is PacketKind.NEIGHBOUR
        via = self._neighbours[slot.link] if is_near else self._sources[(sequence + number) % SOURCE_PORTS]
        mark = mark_of(slot.link) if slot.kind is PacketKind.TRANSIT else 0
        try:
            send(via, content, slot.to, mark=mark)
        except OSError as error:
            if error.errno in {errno.EAGAIN, errno.ENOBUFS}:
                slot.tally.forget(sequence)
                return
            slot.tally.refuse(sequence)
            if mark and error.errno in {errno.ENETUNREACH, errno.EHOSTUNREACH}:
                self._mend()

    def _mend(self) -> None:
        """Look at most once a second whether a pinned route can be put back."""
        now_s = time.monotonic()
        if self._pinning is not None and now_s - self._mended_s > _MEND_EVERY_S:
            self._mended_s = now_s
            self._links_by_index = self._pinning.mend()

    def _timeout_ns(self) -> int:
        return int(TIMEOUT_S * self._patience() * 1e9)

    def _judge(self) -> None:
        """Settle overdue requests. Drain first: an answer that waits in the socket is in time if the kernel says so."""
        now_ns, timeout_ns = time.monotonic_ns(), self._timeout_ns()
        overdue = [slot for slot in self._slots if slot.tally.is_overdue(now_ns, timeout_ns=timeout_ns)]
        if not overdue:
            return
        self._drain_answers()
        for slot in overdue:
            slot.tally.judge(now_ns, timeout_ns=timeout_ns)

    # --- receiving ---------------------------------------------------------------------------------------------------

    def _drain_answers(self) -> None:
        for index in range(len(self._neighbours)):
            self._receive_from_neighbour(index)
        for one in self._sources:
            self._receive_answers(one)

    def _receive_answers(self, source: socket.socket) -> None:
        for arrival in drain(source):
            probe = decode(arrival.content, self._place.mesh)
            if probe is not None:
                self._count_answer(probe, arrival)

    def _receive_from_neighbour(self, index: int) -> None:
        for arrival in drain(self._neighbours[index]):
            probe = decode(arrival.content, self._place.mesh)
            if probe is None:
                continue
            if probe.kind.is_answer:
                self._count_answer(probe, arrival)
            elif probe.kind is PacketKind.NEIGHBOUR:
                self._answer(self._neighbours[index], probe, arrival, index)

    def _receive_data(self) -> None:
        if self._data is None:
            return
        for arrival in drain(self._data):
            probe = decode(arrival.content, self._place.mesh)
            if probe is None:
                continue
            if probe.kind is PacketKind.REACH:
                _reply(self._data, arrival, probe, mark=0)
            elif probe.kind is PacketKind.TRANSIT:
                index = self._links_by_index.get(arrival.interface)
                if index is None:
                    self._mend()
                else:
                    self._answer(self._data, probe, arrival, index)

    def _answer(self, via: socket.socket, probe: Probe, arrival: Arrival, index: int) -> None:
        """Answer a request of this link's peer over the link it came by; anybody else's went astray."""
        if probe.node != node_tag(self._place.links[index].peer):
            return
        self._heard[index, probe.kind, size_of(arrival.content)] += 1
        _reply(via, arrival, probe, mark=mark_of(index) if probe.kind is PacketKind.TRANSIT else 0)

    def _count_answer(self, probe: Probe, arrival: Arrival) -> None:
        if probe.run != self._run_number or probe.slot >= len(self._slots):
            return
        slot = self._slots[probe.slot]
        if probe.kind is slot.kind.answer:
            slot.tally.answer(probe.sequence, arrival.at_ns, timeout_ns=self._timeout_ns())


def _reply(via: socket.socket, arrival: Arrival, probe: Probe, *, mark: int) -> None:
    """Send the answer. An answer that cannot leave is lost, and it is the asker who counts it."""
    with contextlib.suppress(OSError):
        send(via, as_answer(arrival.content, probe.kind), arrival.sender, mark=mark)
