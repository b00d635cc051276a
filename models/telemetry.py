"""What a node reports twice a second: cumulative counters, probe counts, and the state it can see locally.

Every counter is cumulative since the collector's epoch began; a reader subtracts. Nothing here is an opinion: what
is missing is named in `Sample.missing`, never filled in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from models.mesh import NodeId


class Direction(StrEnum):
    """Seen from the interface: received or transmitted."""

    RX = "rx"
    TX = "tx"


class TrafficClass(StrEnum):
    """What a packet is for. Numbered 0, 1, 2 in the eBPF maps, in this order."""

    ROUTING = "routing"
    PROBE = "probe"
    DATA = "data"


class SizeClass(StrEnum):
    """Wire size of one packet, or of one segment of a GSO packet: <= 256, <= 1000, > 1000 bytes at layer 3."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class Protocol(StrEnum):
    """Layer-4 protocol. Numbered 0..4 in the eBPF maps, in this order; OTHER includes ARP and non-IP frames."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    ICMPV6 = "icmpv6"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class TrafficCount:
    """Packets (GSO segments) and bytes of one kind of traffic, cumulative in an epoch; zero rows are left out."""

    direction: Direction
    traffic: TrafficClass
    size: SizeClass
    protocol: Protocol
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class InterfaceReading:
    """One interface at one instant.

    Attributes:
        name: Interface name in the node's namespace.
        has_carrier: Whether the link layer is up.
        carrier_changes: Kernel's count of carrier transitions, cumulative.
        mtu: Bytes.
        counts: By direction, class, size and protocol.
    """

    name: str
    has_carrier: bool
    carrier_changes: int
    mtu: int
    counts: tuple[TrafficCount, ...]


class ProbeKind(StrEnum):
    """How a link probe travels.

    `NEIGHBOUR` is addressed to the far end's link address and classed as probe traffic; `TRANSIT` is addressed to the
    far node's loopback, pinned to the link, and looks like customers' data to everything on the way.
    """

    NEIGHBOUR = "neighbour"
    TRANSIT = "transit"


@dataclass(frozen=True, slots=True)
class LinkProbeReading:
    """Echo probes across one link, pinned to it in both directions; cumulative.

    Attributes:
        interface: Where the probes leave.
        peer: The node that answers.
        kind: Whether they look like transit data.
        size: SMALL or LARGE (1,400 bytes with the don't-fragment bit).
        sent: Requests handed to the kernel.
        settled: Requests old enough to judge (answered, or their time-out passed); `answered <= settled <= sent`.
        answered: Requests whose answer came back in time.
        heard: Requests of the peer that arrived on this interface (so that each direction can be told apart).
        rtt_ms: Median round trip of the answers since the previous sample; None when none came.
    """

    interface: str
    peer: NodeId
    kind: ProbeKind
    size: SizeClass
    sent: int
    settled: int
    answered: int
    heard: int
    rtt_ms: float | None


@dataclass(frozen=True, slots=True)
class ReachReading:
    """Echo probes from loopback to loopback along the path routing chose; cumulative. Fields as LinkProbeReading."""

    target: NodeId
    size: SizeClass
    sent: int
    settled: int
    answered: int
    rtt_ms: float | None


class DaemonState(StrEnum):
    """What the process table says of the routing daemon."""

    RUNNING = "running"
    STOPPED = "stopped"
    ABSENT = "absent"
    UNDECLARED = "undeclared"
    """The node has none to look after, so none is missed."""


class DropClass(StrEnum):
    """Why the kernel gave up on a packet, in few words; which of its reasons is which: `ebpf/drops.py`."""

    NO_ROUTE = "no-route"
    REFUSED = "refused"
    QUEUE = "queue"
    DAMAGED = "damaged"
    SOCKET = "socket"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class DropCount:
    """Packets dropped for one class of reasons, cumulative in an epoch; zero rows are left out."""

    reason: DropClass
    packets: int


@dataclass(frozen=True, slots=True)
class KernelReading:
    """What the kernel's tracepoints tell; None for what is not measured here (then `Sample.missing` names it).

    Attributes:
        drops: Packets dropped in the node's network namespace (`"drops"`).
        retransmits: TCP segments of the namespace's sockets sent again, cumulative in an epoch (`"retransmits"`).
        syscall_p99_us: Of the machine's system calls since the previous sample that do not wait for somebody by
            design, the duration that 99 % stay below; microseconds, right to a factor of two (`"syscalls"`). None also
            when there was none.
    """

    drops: tuple[DropCount, ...] | None = None
    retransmits: int | None = None
    syscall_p99_us: float | None = None


@dataclass(frozen=True, slots=True)
class HostReading:
    """The node's own health and IPv4 forwarding counters (`/proc/net/snmp` of its namespace).

    Attributes:
        cpu_pressure: PSI cpu "some" share of the time since the previous sample, 0..1; 0 where `"pressure"` is missing.
        forwarded: IpForwDatagrams (in kernels >= 6.x: packets forwarded), cumulative.
        address_errors: IpInAddrErrors, cumulative: grows when forwarding is off.
        no_routes: IpOutNoRoutes + IpInNoRoutes, cumulative.
        daemon: State of the routing daemon's process.
        kernel: What tracing programs count; samples stored before there were any lack it.
        memory_pressure: PSI memory "some", likewise 0..1; None where it is not measured (`"pressure"`).
        io_pressure: PSI io "some", likewise.
        softirq_share: Share of the time of the machine's CPUs that went into software interrupts since the previous
            sample, 0..1, counted in clock ticks of usually 10 ms; None where it is not measured (`"softirq"`).
        softirq_squeezes: Times the machine's CPUs stopped taking in packets with some left, out of budget; cumulative
            since boot; None likewise.
    """

    cpu_pressure: float
    forwarded: int
    address_errors: int
    no_routes: int
    daemon: DaemonState
    kernel: KernelReading = KernelReading()
    memory_pressure: float | None = None
    io_pressure: float | None = None
    softirq_share: float | None = None
    softirq_squeezes: int | None = None

    def missing(self) -> frozenset[str]:
        """Name what is not measured here, for `Sample.missing`; what `kernel` lacks is told by who reads that."""
        signals = {
            "pressure": (self.memory_pressure, self.io_pressure),
            "softirq": (self.softirq_share, self.softirq_squeezes),
        }
        return frozenset(name for name, values in signals.items() if None in values)


class DriftKind(StrEnum):
    """What of a node's configuration can stray from its recorded baseline and be put back."""

    MTU = "mtu"
    ROUTE = "route"
    SYSCTL = "sysctl"
    QDISC = "qdisc"


@dataclass(frozen=True, slots=True, order=True)
class Drift:
    """One setting that is not what the baseline recorded.

    Attributes:
        kind: Which sort of setting.
        subject: The interface, sysctl name or route prefix.
        expected: The baseline's value; empty when it should not exist.
        actual: The value now; empty when it is missing.
    """

    kind: DriftKind
    subject: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of one node.

    Attributes:
        node: Who reports.
        epoch: The collector's epoch; counters restart from zero when it changes.
        sequence: Counts up from 0 within an epoch; (node, epoch, sequence) is the natural key.
        at: Aware UTC instant at which the counters were read.
        interfaces: Mesh interfaces only, in name order.
        probes: One row per interface, kind and size.
        reach: One row per target and size.
        host: None where the node cannot read it.
        drifts: Settings away from the baseline now; empty when none, or when `"baseline"` is in `missing`.
        missing: Names of signals this node cannot measure (`"counters"`, `"probes"`, `"baseline"`, ...).
    """

    node: NodeId
    epoch: int
    sequence: int
    at: datetime
    interfaces: tuple[InterfaceReading, ...] = ()
    probes: tuple[LinkProbeReading, ...] = ()
    reach: tuple[ReachReading, ...] = ()
    host: HostReading | None = None
    drifts: tuple[Drift, ...] = ()
    missing: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class NodeBaseline:
    """A node's recorded configuration: what "restored" means.

    Attributes:
        node: Whose.
        version: Counts up with each recording.
        recorded_at: Aware UTC.
        mtu: Interface name -> bytes.
        qdisc: Interface name -> root qdisc kind (`noqueue`).
        sysctl: Name (`net.ipv4.ip_forward`) -> value.
        routes: Routes of the main table that no routing protocol made, as `ip route` would print them.
    """

    node: NodeId
    version: int
    recorded_at: datetime
    mtu: dict[str, int]
    qdisc: dict[str, str]
    sysctl: dict[str, str]
    routes: frozenset[str]
