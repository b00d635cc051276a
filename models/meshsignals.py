"""What a mesh shows of a node and of a link, as columns: what is read from samples, and the signals made of it.

Arrays only; knows no mesh. Names carry their unit in `SignalSpec.unit`. NaN is "not measured", never zero: a share of
nothing sent, a signal that `Sample.missing` names, a node that did not report.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from models.snapshot import SignalKind, SignalSpec
from models.telemetry import (
    DaemonState,
    Direction,
    Drift,
    DriftKind,
    DropClass,
    InterfaceReading,
    LinkProbeReading,
    ProbeKind,
    Sample,
    SizeClass,
    TrafficClass,
)

Columns = NDArray[np.float64]
Rows = NDArray[np.float32]

# A share of fewer packets than this says nothing: one that was counted a moment later would be a total loss.
FEW = 2.0


class EndCount(IntEnum):
    """Cumulative columns of one end of a link. Control is routing and probes: routing alone sends a packet a second."""

    SENT_CONTROL_SMALL = 0
    SENT_CONTROL_LARGE = 1
    SENT_DATA_SMALL = 2
    SENT_DATA_LARGE = 3
    HEARD_CONTROL_SMALL = 4
    HEARD_CONTROL_LARGE = 5
    HEARD_DATA_SMALL = 6
    HEARD_DATA_LARGE = 7
    JUDGED_NEIGHBOUR_SMALL = 8
    JUDGED_NEIGHBOUR_LARGE = 9
    JUDGED_TRANSIT_SMALL = 10
    JUDGED_TRANSIT_LARGE = 11
    ANSWERED_NEIGHBOUR_SMALL = 12
    ANSWERED_NEIGHBOUR_LARGE = 13
    ANSWERED_TRANSIT_SMALL = 14
    ANSWERED_TRANSIT_LARGE = 15
    CARRIER_CHANGES = 16


class EndState(IntEnum):
    """Columns of one end of a link that hold for the moment: milliseconds, 0 or 1, a count."""

    RTT_MS = 0
    HAS_NO_CARRIER = 1
    DRIFTS = 2


class NodeCount(IntEnum):
    """Cumulative columns of a node."""

    FORWARDED = 0
    ADDRESS_ERRORS = 1
    NO_ROUTES = 2
    RETRANSMITS = 3
    DROPS_NO_ROUTE = 4
    DROPS_REFUSED = 5
    DROPS_QUEUE = 6
    DROPS_DAMAGED = 7
    DROPS_OTHER = 8
    ROUTING_SENT = 9
    REACH_JUDGED = 10
    REACH_ANSWERED = 11


class NodeState(IntEnum):
    """Columns of a node that hold for the moment: 0..1, microseconds, 0 or 1, a count."""

    CPU_PRESSURE = 0
    SYSCALL_P99_US = 1
    DAEMON_AWAY = 2
    DRIFTS = 3


@dataclass(frozen=True, slots=True)
class MeshSignal:
    """A signal of the mesh.

    Attributes:
        spec: As a snapshot names it.
        floor: The least spread that its past is believed to have, in its unit: a past without any says nothing of the
            next reading. Where the median is far above it, a tenth of the median is the floor.
    """

    spec: SignalSpec
    floor: float


def _share(name: str) -> MeshSignal:
    # One packet in twenty is what a shared busy core loses or delays.
    return MeshSignal(SignalSpec(name, "share", 1, SignalKind.ERRORS), 0.05)


def _event(name: str) -> MeshSignal:
    return MeshSignal(SignalSpec(name, "1", 1, SignalKind.EVENT), 0.1)


def _trouble(name: str) -> MeshSignal:
    # A packet a second, once, is no trouble.
    return MeshSignal(SignalSpec(name, "1/s", 1, SignalKind.ERRORS), 1.0)


# "Worse way" is the direction that loses more; which one that is stays out: a link turned around says the same.
LINK_SIGNALS: tuple[MeshSignal, ...] = (
    _share("data loss, worse way"),
    _share("data loss, better way"),
    _share("control loss, worse way"),
    _share("control loss, better way"),
    _share("large packets' loss over small ones'"),
    _share("neighbour probe loss"),
    _share("transit probe loss"),
    # Half a millisecond is what scheduling adds on a busy host.
    MeshSignal(SignalSpec("round trip", "ms", 1, SignalKind.LATENCY), 0.5),
    MeshSignal(SignalSpec("jitter", "ms", 1, SignalKind.LATENCY), 0.5),
    MeshSignal(SignalSpec("data rate", "1/s", 0, SignalKind.RATE), 5.0),
    _event("carrier down"),
    _trouble("carrier changes"),
    _event("link settings astray"),
)
NODE_SIGNALS: tuple[MeshSignal, ...] = (
    MeshSignal(SignalSpec("cpu pressure", "share", 1, SignalKind.GAUGE), 0.1),
    # The measure is right to a factor of two, so its own steps are no news.
    MeshSignal(SignalSpec("system call p99", "us", 1, SignalKind.LATENCY), 200.0),
    _trouble("retransmits"),
    _trouble("drops: no route"),
    _trouble("drops: refused"),
    _trouble("drops: queue"),
    _trouble("drops: damaged"),
    _trouble("drops: other"),
    _trouble("no route"),
    _trouble("address errors"),
    MeshSignal(SignalSpec("forwarded", "1/s", 0, SignalKind.RATE), 5.0),
    MeshSignal(SignalSpec("routing packets sent", "1/s", -1, SignalKind.RATE), 1.0),
    _share("reach probe loss"),
    _event("routing daemon away"),
    _event("settings astray"),
)
SIGNALS = LINK_SIGNALS + NODE_SIGNALS

_ON_LINKS = frozenset({DriftKind.MTU, DriftKind.QDISC})
_DROPS = {
    DropClass.NO_ROUTE: NodeCount.DROPS_NO_ROUTE,
    DropClass.REFUSED: NodeCount.DROPS_REFUSED,
    DropClass.QUEUE: NodeCount.DROPS_QUEUE,
    DropClass.DAMAGED: NodeCount.DROPS_DAMAGED,
}


def end_columns(sample: Sample, interface: InterfaceReading | None, name: str) -> tuple[Columns, Columns]:
    """Return one link end's cumulative and momentary columns in this sample."""
    counts, states = np.full(len(EndCount), np.nan), np.full(len(EndState), np.nan)
    if interface is not None:
        states[EndState.HAS_NO_CARRIER] = float(not interface.has_carrier)
        counts[EndCount.CARRIER_CHANGES] = interface.carrier_changes
        if "counters" not in sample.missing:
            counts[: EndCount.JUDGED_NEIGHBOUR_SMALL] = _traffic(interface)
    if "probes" not in sample.missing:
        mine = [one for one in sample.probes if one.interface == name]
        if mine:
            counts[EndCount.JUDGED_NEIGHBOUR_SMALL : EndCount.CARRIER_CHANGES] = _probes(mine)
            trips = [one.rtt_ms for one in mine if one.rtt_ms is not None]
            states[EndState.RTT_MS] = max(trips) if trips else np.nan
    if "baseline" not in sample.missing:
        states[EndState.DRIFTS] = sum(is_on_link(one) and one.subject == name for one in sample.drifts)
    return counts, states


def _traffic(interface: InterfaceReading) -> list[float]:
    row = [0.0] * EndCount.JUDGED_NEIGHBOUR_SMALL
    for one in interface.counts:
        heard = 4 if one.direction is Direction.RX else 0
        row[heard + 2 * (one.traffic is TrafficClass.DATA) + (one.size is SizeClass.LARGE)] += one.packets
    return row


def _probes(mine: list[LinkProbeReading]) -> list[float]:
    row = [0.0] * 8
    for one in mine:
        place = 2 * (one.kind is ProbeKind.TRANSIT) + (one.size is SizeClass.LARGE)
        row[place] += one.settled
        row[4 + place] += one.answered
    return row


def node_columns(sample: Sample) -> tuple[Columns, Columns]:
    """Return a node's cumulative and momentary columns in this sample."""
    counts, states = np.full(len(NodeCount), np.nan), np.full(len(NodeState), np.nan)
    host = sample.host
    if host is not None:
        states[NodeState.CPU_PRESSURE] = host.cpu_pressure
        if host.daemon is not DaemonState.UNDECLARED:
            states[NodeState.DAEMON_AWAY] = float(host.daemon is not DaemonState.RUNNING)
        counts[NodeCount.FORWARDED] = host.forwarded
        counts[NodeCount.ADDRESS_ERRORS] = host.address_errors
        counts[NodeCount.NO_ROUTES] = host.no_routes
        if host.kernel.syscall_p99_us is not None:
            states[NodeState.SYSCALL_P99_US] = host.kernel.syscall_p99_us
        if host.kernel.retransmits is not None:
            counts[NodeCount.RETRANSMITS] = host.kernel.retransmits
        if host.kernel.drops is not None:
            counts[NodeCount.DROPS_NO_ROUTE : NodeCount.ROUTING_SENT] = 0.0
            for one in host.kernel.drops:
                counts[_DROPS.get(one.reason, NodeCount.DROPS_OTHER)] += one.packets
    if "counters" not in sample.missing and sample.interfaces:
        counts[NodeCount.ROUTING_SENT] = sum(
            count.packets
            for one in sample.interfaces
            for count in one.counts
            if count.traffic is TrafficClass.ROUTING and count.direction is Direction.TX
        )
    if "probes" not in sample.missing and sample.reach:
        counts[NodeCount.REACH_JUDGED] = sum(one.settled for one in sample.reach)
        counts[NodeCount.REACH_ANSWERED] = sum(one.answered for one in sample.reach)
    if "baseline" not in sample.missing:
        states[NodeState.DRIFTS] = sum(not is_on_link(one) for one in sample.drifts)
    return counts, states


def is_on_link(drift: Drift) -> bool:
    """Say whether a drift is an interface's and so its link's, and not the node's."""
    return drift.kind in _ON_LINKS


def _lost(sent: Rows, came: Rows) -> Rows:
    """Return the share lost, 0..1; NaN where too few were sent to tell."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip((sent - came) / sent, 0.0, 1.0)
    return np.where(sent >= FEW, share, np.float32(np.nan))


def _ways(one: Rows, other: Rows) -> tuple[Rows, Rows]:
    """Return the worse and the better of two directions; where only one was measured, there is no better one."""
    return np.fmax(one, other), np.minimum(one, other)


def _of_either(one: Rows, other: Rows) -> Rows:
    """Add what two ends measured; where one is silent, the other speaks alone."""
    return np.where(np.isnan(one), other, np.where(np.isnan(other), one, one + other))


def link_signals(counts: Rows, states: Rows, before_rtt: Rows, *, seconds: float) -> Rows:
    """Return the signals of L links in one interval.

    Args:
        counts: (2 L, EndCount) what each end counted in it; ends of a link side by side.
        states: (2 L, EndState) at its end.
        before_rtt: (L,) round trip in the interval before, for jitter.
        seconds: Its length.
    """
    a, b = counts[0::2], counts[1::2]

    def sent(end: Rows, first: int, second: int) -> Rows:
        return np.asarray(end[:, first] + end[:, second], dtype=np.float32)

    def both_ways(first: int, second: int) -> tuple[Rows, Rows]:
        forward = _lost(sent(a, first, second), sent(b, first + 4, second + 4))
        return _ways(forward, _lost(sent(b, first, second), sent(a, first + 4, second + 4)))

    data = both_ways(EndCount.SENT_DATA_SMALL, EndCount.SENT_DATA_LARGE)
    control = both_ways(EndCount.SENT_CONTROL_SMALL, EndCount.SENT_CONTROL_LARGE)
    small = both_ways(EndCount.SENT_CONTROL_SMALL, EndCount.SENT_DATA_SMALL)[0]
    large = both_ways(EndCount.SENT_CONTROL_LARGE, EndCount.SENT_DATA_LARGE)[0]

    def unanswered(first: int, second: int) -> Rows:
        judged = _of_either(sent(a, first, second), sent(b, first, second))
        return _lost(judged, _of_either(sent(a, first + 4, second + 4), sent(b, first + 4, second + 4)))

    probes_small = unanswered(EndCount.JUDGED_NEIGHBOUR_SMALL, EndCount.JUDGED_TRANSIT_SMALL)
    probes_large = unanswered(EndCount.JUDGED_NEIGHBOUR_LARGE, EndCount.JUDGED_TRANSIT_LARGE)
    rtt = np.fmax(states[0::2, EndState.RTT_MS], states[1::2, EndState.RTT_MS])
    carrier = np.fmax(states[0::2, EndState.HAS_NO_CARRIER], states[1::2, EndState.HAS_NO_CARRIER])
    astray = np.fmax(states[0::2, EndState.DRIFTS], states[1::2, EndState.DRIFTS])
    # Either end knows both directions; one that falls silent must not look like traffic that fell.
    data_columns = (EndCount.SENT_DATA_SMALL, EndCount.SENT_DATA_LARGE)
    heard_columns = (EndCount.HEARD_DATA_SMALL, EndCount.HEARD_DATA_LARGE)
    rate = np.fmax(sent(a, *data_columns), sent(b, *heard_columns))
    rate = rate + np.fmax(sent(b, *data_columns), sent(a, *heard_columns))
    changes = np.fmax(a[:, EndCount.CARRIER_CHANGES], b[:, EndCount.CARRIER_CHANGES])
    columns = (
        *data,
        *control,
        np.fmax(large - small, probes_large - probes_small).clip(min=0.0),
        unanswered(EndCount.JUDGED_NEIGHBOUR_SMALL, EndCount.JUDGED_NEIGHBOUR_LARGE),
        unanswered(EndCount.JUDGED_TRANSIT_SMALL, EndCount.JUDGED_TRANSIT_LARGE),
        rtt,
        np.abs(rtt - before_rtt),
        rate / seconds,
        carrier,
        changes / seconds,
        astray,
    )
    return np.stack(columns, axis=1).astype(np.float32)


def node_signals(counts: Rows, states: Rows, *, seconds: float) -> Rows:
    """Return the signals of N nodes in one interval.

    Args:
        counts: (N, NodeCount) what each counted in it.
        states: (N, NodeState) at its end.
        seconds: Its length.
    """
    rates = counts / np.float32(seconds)
    columns = (
        states[:, NodeState.CPU_PRESSURE],
        states[:, NodeState.SYSCALL_P99_US],
        rates[:, NodeCount.RETRANSMITS],
        *(rates[:, one] for one in range(NodeCount.DROPS_NO_ROUTE, NodeCount.ROUTING_SENT)),
        rates[:, NodeCount.NO_ROUTES],
        rates[:, NodeCount.ADDRESS_ERRORS],
        rates[:, NodeCount.FORWARDED],
        rates[:, NodeCount.ROUTING_SENT],
        _lost(counts[:, NodeCount.REACH_JUDGED], counts[:, NodeCount.REACH_ANSWERED]),
        states[:, NodeState.DAEMON_AWAY],
        states[:, NodeState.DRIFTS],
    )
    return np.stack(columns, axis=1).astype(np.float32)
