"""A small simulator of what the nodes of a mesh would report: packets, losses, probes, unsynchronised readings.

Pure: time is a number of steps, chance comes from the generator it is given. It knows nothing of the detector.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from models.graph import paths
from models.history import CHANNELS
from models.mesh import Interface, Link, LinkId, Mesh, Node, NodeId
from models.telemetry import (
    DaemonState,
    Direction,
    Drift,
    HostReading,
    InterfaceReading,
    LinkProbeReading,
    ProbeKind,
    Protocol,
    ReachReading,
    Sample,
    SizeClass,
    TrafficClass,
    TrafficCount,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = 0.01
TIMEOUT = 0.8
SMALL, LARGE = SizeClass.SMALL, SizeClass.LARGE
ROUTING, PROBE, DATA = TrafficClass.ROUTING, TrafficClass.PROBE, TrafficClass.DATA
NEIGHBOUR, TRANSIT = ProbeKind.NEIGHBOUR, ProbeKind.TRANSIT
PROBE_RATES = {(TRANSIT, SMALL): 4.0, (TRANSIT, LARGE): 2.0, (NEIGHBOUR, SMALL): 2.0, (NEIGHBOUR, LARGE): 1.0}
CHANNEL = {one: index for index, one in enumerate(CHANNELS)}


def moment(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def link(a: str, b: str, cost: int = 10) -> Link:
    return Link(LinkId(f"{a}--{b}"), Interface(NodeId(a), f"to-{b}"), Interface(NodeId(b), f"to-{a}"), cost)


def mesh_of(*ends: tuple[str, str, int], name: str = "test") -> Mesh:
    names = sorted({one for a, b, _ in ends for one in (a, b)})
    nodes = tuple(Node(NodeId(one), f"10.42.0.{index + 1}") for index, one in enumerate(names))
    return Mesh(name, nodes, tuple(link(a, b, cost) for a, b, cost in ends))


def ring_with_chord() -> Mesh:
    costs = (96, 101, 107, 113, 127, 131)
    ring = [(f"n{i}", f"n{(i + 1) % 6}", costs[i]) for i in range(6)]
    return mesh_of(*ring, ("n1", "n4", 149))


@dataclass(frozen=True)
class Flow:
    """Packets along a pair's path: `rate` a second, evenly, or by chance, or in bursts of `on` out of `on + off`."""

    source: str
    target: str
    rate: float
    size: SizeClass = SMALL
    traffic: TrafficClass = DATA
    start: float = 0.0
    stop: float = 1e9
    poisson: bool = False
    on: float = 1.0
    off: float = 0.0


@dataclass
class World:
    """Everything a test may bend. Losses are probabilities by (link, from, class, size)."""

    mesh: Mesh
    rng: np.random.Generator
    flows: Sequence[Flow] = ()
    pressure: float = 0.05
    sample_jitter: float = 0.01
    stamp_jitter: float = 0.003
    delivery: float = 0.08
    lag_steps: int = 0
    late_answers: float = 0.0
    timeout: float = TIMEOUT
    deaf: set[str] = field(default_factory=set)
    harm: Callable[[float, LinkId, NodeId, TrafficClass, SizeClass], float] = lambda *_: 0.0
    reading: Callable[[float, Sample], Sample | None] = lambda _, sample: sample
    rates: dict[tuple[ProbeKind, SizeClass], float] = field(default_factory=lambda: dict(PROBE_RATES))

    def __post_init__(self) -> None:
        self.ways = [(one.id, node) for one in self.mesh.links for node in one.nodes]
        self.index = {way: place for place, way in enumerate(self.ways)}
        self.sent = np.zeros((len(self.ways), len(CHANNELS)), dtype=int)
        self.received = np.zeros_like(self.sent)
        self.underway: deque[np.ndarray] = deque([np.zeros_like(self.sent) for _ in range(self.lag_steps)])
        self.probes: dict[tuple[LinkId, NodeId, ProbeKind, SizeClass], list[int]] = {
            (*way, *kind): [0, 0, 0, 0] for way in self.ways for kind in self.rates
        }
        self.reach = {
            (a.id, b.id, size): [0, 0, 0]
            for a in self.mesh.nodes
            for b in self.mesh.nodes
            for size in (SMALL, LARGE)
            if a != b
        }
        self.pending: deque[tuple[float, list[int], int]] = deque()
        self.routes = paths(self.mesh, {})
        self.sequence = dict.fromkeys((one.id for one in self.mesh.nodes), 0)
        self.phase = {one.id: float(self.rng.uniform(0, 0.5)) for one in self.mesh.nodes}
        self.probe_phase = {key: float(self.rng.uniform(0, 1)) for key in (*self.probes, *self.reach)}

    def run(self, seconds: float) -> Iterator[tuple[float, list[Sample]]]:
        """Yield (now, samples delivered since the last tick) every half second."""
        next_read = dict(self.phase)
        post: list[tuple[float, Sample]] = []
        ticks = 0.5
        for step in range(round(seconds / STEP)):
            t = step * STEP
            self._move(t)
            for node, due in next_read.items():
                if t >= due:
                    next_read[node] = due + 0.5 + float(self.rng.exponential(self.sample_jitter))
                    while next_read[node] - self.phase[node] > 0.5 * (self.sequence[node] + 2):
                        next_read[node] -= 0.5 * (next_read[node] - due > 0.75)
                        break
                    sample = self._read(NodeId(node), t)
                    if sample is not None:
                        post.append((t + float(self.rng.exponential(self.delivery)), sample))
            if t >= ticks:
                ticks += 0.5
                yield t, [sample for arrival, sample in post if arrival <= t]
                post = [one for one in post if one[0] > t]

    def _move(self, t: float) -> None:
        arrived = np.zeros_like(self.sent)
        for flow in self.flows:
            is_on = flow.start <= t < flow.stop and (t - flow.start) % (flow.on + flow.off) < flow.on
            if is_on:
                self._carry(t, flow, arrived)
        for (link_id, node, kind, size), count in self.probes.items():
            if self._fires(t, self.rates[kind, size], (link_id, node, kind, size)):
                self._probe(t, link_id, node, kind, size, count, arrived)
        for (a, b, size), tally in self.reach.items():
            if self._fires(t, 2.0 if size is SMALL else 1.0, (a, b, size)):
                came = self._hops(t, a, b, size, arrived) and b not in self.deaf
                back = self._hops(t, b, a, size, arrived) if came else False
                tally[0] += 1
                self.pending.append((t + self.timeout, tally, int(back)))
        while self.pending and self.pending[0][0] <= t:
            _, tally, answered = self.pending.popleft()
            late = self.late_answers > 0 and self.rng.random() < self.late_answers
            tally[1] += 1
            tally[2] += 0 if late else answered
        for way, _ in enumerate(self.ways):
            if t % 1.0 < STEP:
                self._pass(t, way, CHANNEL[ROUTING, SMALL], 1, arrived)
        self.underway.append(arrived)
        self.received += self.underway.popleft()

    def _fires(self, t: float, rate: float, key: object) -> bool:
        return int((t + STEP) * rate + self.probe_phase[key]) > int(t * rate + self.probe_phase[key])

    def _pass(self, t: float, way: int, channel: int, packets: int, arrived: np.ndarray) -> int:
        if packets == 0:
            return 0
        self.sent[way, channel] += packets
        chance = self.harm(t, *self.ways[way], *CHANNELS[channel])
        passed = packets if chance <= 0 else int(self.rng.binomial(packets, 1 - chance))
        arrived[way, channel] += passed
        return passed

    def _carry(self, t: float, flow: Flow, arrived: np.ndarray) -> None:
        if flow.poisson:
            packets = int(self.rng.poisson(flow.rate * STEP))
        else:
            packets = int((t + STEP) * flow.rate + 1e-6) - int(t * flow.rate + 1e-6)
        at = NodeId(flow.source)
        for one in self.routes[NodeId(flow.source), NodeId(flow.target)]:
            packets = self._pass(t, self.index[one, at], CHANNEL[flow.traffic, flow.size], packets, arrived)
            at = self.mesh.link(one).far_end(self.mesh.link(one).end_at(at)).node

    def _hops(self, t: float, a: NodeId, b: NodeId, size: SizeClass, arrived: np.ndarray) -> bool:
        at = a
        for one in self.routes[a, b]:
            if not self._pass(t, self.index[one, at], CHANNEL[DATA, size], 1, arrived):
                return False
            at = self.mesh.link(one).far_end(self.mesh.link(one).end_at(at)).node
        return True

    def _probe(  # noqa: PLR0917 - the way of one probe, in the order it travels
        self,
        t: float,
        link_id: LinkId,
        node: NodeId,
        kind: ProbeKind,
        size: SizeClass,
        count: list[int],
        arrived: np.ndarray,
    ) -> None:
        far = self.mesh.link(link_id).far_end(self.mesh.link(link_id).end_at(node)).node
        channel = CHANNEL[DATA if kind is TRANSIT else PROBE, size]
        came = self._pass(t, self.index[link_id, node], channel, 1, arrived)
        self.probes[link_id, far, kind, size][3] += came
        back = self._pass(t, self.index[link_id, far], channel, came, arrived) if far not in self.deaf else 0
        count[0] += 1
        self.pending.append((t + self.timeout, count, back))

    def _read(self, node: NodeId, t: float) -> Sample | None:
        interfaces, probes = [], []
        for one in self.mesh.links_of(node):
            end = one.end_at(node)
            far = one.far_end(end).node
            counts = [
                TrafficCount(direction, *CHANNELS[channel], Protocol.UDP, int(packets), int(packets) * 100)
                for direction, row in (
                    (Direction.TX, self.sent[self.index[one.id, node]]),
                    (Direction.RX, self.received[self.index[one.id, far]]),
                )
                for channel, packets in enumerate(row)
                if packets
            ]
            interfaces.append(InterfaceReading(end.name, True, 1, 1500, tuple(counts)))
            for kind, size in self.rates:
                sent, settled, answered, heard = self.probes[one.id, node, kind, size]
                probes.append(LinkProbeReading(end.name, far, kind, size, sent, settled, answered, heard, 0.3))
        reach = [ReachReading(b, size, *tally, 0.5) for (a, b, size), tally in self.reach.items() if a == node]
        host = HostReading(self.pressure, 0, 0, 0, DaemonState.RUNNING)
        stamp = t + float(self.rng.uniform(-1, 1)) * self.stamp_jitter
        sample = Sample(
            node, 1, self.sequence[node], moment(stamp), tuple(interfaces), tuple(probes), tuple(reach), host
        )
        self.sequence[node] += 1
        return self.reading(t, sample)


def lossy(
    which: str,
    chance: float,
    *,
    start: float,
    stop: float = 1e9,
    source: str | None = None,
    classes: Sequence[TrafficClass] = tuple(TrafficClass),
    sizes: Sequence[SizeClass] = tuple(SizeClass),
) -> Callable[[float, LinkId, NodeId, TrafficClass, SizeClass], float]:
    """Return a harm: a share of some classes and sizes lost on one link, from one end or both."""

    def harm(t: float, link_id: LinkId, node: NodeId, traffic: TrafficClass, size: SizeClass) -> float:
        hit = link_id == which and start <= t < stop and source in {None, node}
        return chance if hit and traffic in classes and size in sizes else 0.0

    return harm


def with_drift(node: str, drift: Drift, *, start: float) -> Callable[[float, Sample], Sample | None]:
    """Return a reading that shows a drift on one node from a moment on."""
    return lambda t, sample: replace(sample, drifts=(drift,)) if sample.node == node and t >= start else sample
