"""Faults: small objects that harm one element of a lab and take the harm back.

`fault(lab, Harm(...))` turns a description into such an object. `inject` and `heal` block for milliseconds (see
`infra.lab.kernel`); the journal in `infra.lab.journal` calls them from a thread and writes the ground truth.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from infra.lab import kernel, processes, wire
from infra.lab.build import Lab
from infra.lab.names import wire_port
from infra.lab.topology import next_hops
from infra.lab.wire import GreyClass
from infra.node.netns import entered
from models.errors import ConfigurationInvalid, KernelRefused
from models.incident import FaultKind
from models.mesh import Element, ElementKind, Interface, Link, LinkId, NodeId

FORWARDING = "net/ipv4/ip_forward"
# Which kind of element each fault harms.
PLACES: Mapping[FaultKind, ElementKind] = {
    FaultKind.LINK_DOWN: ElementKind.LINK,
    FaultKind.BLACKHOLE: ElementKind.LINK,
    FaultKind.ONE_WAY: ElementKind.LINK,
    FaultKind.LOSS: ElementKind.LINK,
    FaultKind.GREY: ElementKind.LINK,
    FaultKind.MTU: ElementKind.LINK,
    FaultKind.RATE_CLAMP: ElementKind.LINK,
    FaultKind.CARRIER_FLAP: ElementKind.LINK,
    # Left on one node's interface, it harms that link and nothing else of the node.
    FaultKind.QDISC_DRIFT: ElementKind.LINK,
    FaultKind.NODE_DEAD: ElementKind.NODE,
    FaultKind.DAEMON_HUNG: ElementKind.NODE,
    FaultKind.DAEMON_KILLED: ElementKind.NODE,
    FaultKind.ROUTE_DRIFT: ElementKind.NODE,
    FaultKind.SYSCTL_DRIFT: ElementKind.NODE,
}


@dataclass(frozen=True, slots=True)
class Harm:
    """What to break, where, and how badly. Fields that the kind does not use are ignored.

    Attributes:
        kind: Any but UNKNOWN.
        element: A link or a node, as `PLACES` says.
        percent: LOSS: share of all packets lost in each direction, 0..100.
        grey: GREY: which transit packets.
        flow_class: GREY by flow: which of four hash classes.
        toward: ONE_WAY: packets to this end are lost; QDISC_DRIFT: they queue at the other end's interface; None: to
            the link's `b`.
        kbit: RATE_CLAMP and QDISC_DRIFT: what still passes, kbit/s.
        period_s: CARRIER_FLAP: seconds from one down to the next; down for half of it.
        target: ROUTE_DRIFT: whose loopback; None: the first other node's.
        via: ROUTE_DRIFT: the wrong neighbour; None: a blackhole route.
    """

    kind: FaultKind
    element: Element
    percent: float = 40
    grey: GreyClass = GreyClass.ALL
    flow_class: int = 0
    toward: NodeId | None = None
    kbit: int = 64
    period_s: float = 4
    target: NodeId | None = None
    via: NodeId | None = None


class Fault(Protocol):
    """One harm that can be done and taken back. `heal` is safe to call twice, and after someone else healed it."""

    def inject(self) -> None:
        """Do the harm."""

    def heal(self) -> None:
        """Take it back."""


def fault(lab: Lab, harm: Harm) -> Fault:
    """Return the fault that does this harm in this lab.

    Raises:
        ConfigurationInvalid: the kind is unknown, or the element is of the wrong kind or not in the lab.
    """
    if harm.kind not in PLACES:
        raise ConfigurationInvalid(f"{harm.kind} is no fault that can be made", f"choose one of {', '.join(PLACES)}")
    if harm.element.kind is not PLACES[harm.kind]:
        raise ConfigurationInvalid(f"{harm.kind} harms a {PLACES[harm.kind]}, not {harm.element}", "name another place")
    known = [one.id for one in (lab.mesh.links if harm.element.kind is ElementKind.LINK else lab.mesh.nodes)]
    if harm.element.name not in known:
        raise ConfigurationInvalid(f"{harm.element} is not in this lab", f"choose one of {', '.join(known)}")
    return _MAKERS[harm.kind](lab, harm)


@dataclass(frozen=True, slots=True)
class WireRules:
    """Packets dropped in one or more wires: {(wire, port): matches}."""

    table: str
    rules: Mapping[str, Mapping[str, Sequence[str]]]

    def inject(self) -> None:
        """Install the rules in each wire."""
        for namespace, ports in self.rules.items():
            wire.install(namespace, self.table, ports)

    def heal(self) -> None:
        """Remove them."""
        for namespace in self.rules:
            wire.uninstall(namespace, self.table)


@dataclass(frozen=True, slots=True)
class CarrierDown:
    """Both ends lose their carrier."""

    wire: str
    ports: tuple[str, str]

    def inject(self) -> None:
        """Unplug."""
        wire.set_carrier(self.wire, self.ports, "down")

    def heal(self) -> None:
        """Plug in."""
        wire.set_carrier(self.wire, self.ports, "up")


@dataclass(frozen=True, slots=True)
class CarrierFlap:
    """The carrier goes and comes, from a thread of its own until healed."""

    carrier: CarrierDown
    period_s: float
    _healed: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def inject(self) -> None:
        """Begin with a down."""
        thread = threading.Thread(target=self._flap, name="carrier-flap", daemon=True)
        self._threads.append(thread)
        thread.start()

    def heal(self) -> None:
        """Stop, and leave the carrier up."""
        self._healed.set()
        for thread in self._threads:
            thread.join()

    def _flap(self) -> None:
        while not self._healed.is_set():
            self.carrier.inject()
            self._healed.wait(self.period_s / 2)
            self.carrier.heal()
            self._healed.wait(self.period_s / 2)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A token bucket at the egress of interfaces: in the wire a clamped link, in a node a leftover qdisc."""

    namespace: str
    interfaces: tuple[str, ...]
    kbit: int

    def inject(self) -> None:
        """Put it there."""
        wire.limit_rate(self.namespace, self.interfaces, self.kbit)

    def heal(self) -> None:
        """Take it away."""
        wire.unlimit_rate(self.namespace, self.interfaces)


@dataclass(frozen=True, slots=True)
class DaemonSignal:
    """The node's routing daemon is stopped or killed."""

    lab: Lab
    node: NodeId
    signal: signal.Signals

    def inject(self) -> None:
        """Send the signal.

        Raises:
            ConfigurationInvalid: no routing daemon runs there.
        """
        pid = processes.daemon_pid(self.lab.places[self.node])
        if pid is None:
            raise ConfigurationInvalid(f"no routing daemon runs on {self.node}", "bring the lab up anew")
        os.kill(pid, self.signal)

    def heal(self) -> None:
        """Wake it, or start it where none runs."""
        place = self.lab.places[self.node]
        pid = processes.daemon_pid(place)
        if pid is None:
            processes.start_daemon(place)
        else:
            os.kill(pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class StrayRoute:
    """A static route that wins over the routing daemon's: to a wrong neighbour, or to nowhere."""

    namespace: str
    route: tuple[str, ...]

    def inject(self) -> None:
        """Put it before the daemon's route of the same metric: the kernel takes the first."""
        # pyroute2 can add, append and replace, but knows no prepend.
        subprocess.run(["ip", "-n", self.namespace, "route", "prepend", *self.route], check=True)

    def heal(self) -> None:
        """Delete it, where it still is."""
        command = ["ip", "-n", self.namespace, "route", "del", *self.route]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 and "No such process" not in done.stderr:  # ESRCH: somebody else healed it
            raise KernelRefused(" ".join(command), done.stderr.strip())


@dataclass(frozen=True, slots=True)
class ForwardingOff:
    """The node stops forwarding IPv4."""

    namespace: str

    def inject(self) -> None:
        """Switch forwarding off."""
        with entered(self.namespace):
            kernel.write_sysctl(FORWARDING, "0")

    def heal(self) -> None:
        """Switch it on."""
        with entered(self.namespace):
            kernel.write_sysctl(FORWARDING, "1")


def _table(harm: Harm) -> str:
    return f"x0_{harm.kind}_{harm.element.name.replace('-', '_')}"


def _link(lab: Lab, harm: Harm) -> Link:
    return lab.mesh.link(LinkId(harm.element.name))


def _both_ways(lab: Lab, link: Link, matches: Sequence[str]) -> dict[str, dict[str, Sequence[str]]]:
    return {lab.wire(link.id): {wire_port(end): matches for end in (link.a, link.b)}}


def _rules(matches: Callable[[Harm], tuple[str, ...]]) -> Callable[[Lab, Harm], Fault]:
    return lambda lab, harm: WireRules(_table(harm), _both_ways(lab, _link(lab, harm), matches(harm)))


def _sender(lab: Lab, harm: Harm) -> Interface:
    """Return the end whose packets a harm in one direction meets."""
    link = _link(lab, harm)
    return link.a if harm.toward is None else link.far_end(link.end_at(harm.toward))


def _one_way(lab: Lab, harm: Harm) -> Fault:
    link, sender = _link(lab, harm), _sender(lab, harm)
    return WireRules(_table(harm), {lab.wire(link.id): {wire_port(sender): wire.every_packet()}})


def _node_dead(lab: Lab, harm: Harm) -> Fault:
    links = lab.mesh.links_of(NodeId(harm.element.name))
    rules: dict[str, dict[str, Sequence[str]]] = {}
    for link in links:
        rules |= _both_ways(lab, link, wire.every_packet())
    return WireRules(_table(harm), rules)


def _carrier(lab: Lab, harm: Harm) -> CarrierDown:
    link = _link(lab, harm)
    return CarrierDown(lab.wire(link.id), (wire_port(link.a), wire_port(link.b)))


def _rate_clamp(lab: Lab, harm: Harm) -> Fault:
    carrier = _carrier(lab, harm)
    return RateLimit(carrier.wire, carrier.ports, harm.kbit)


def _daemon(number: signal.Signals) -> Callable[[Lab, Harm], Fault]:
    return lambda lab, harm: DaemonSignal(lab, NodeId(harm.element.name), number)


def _route_drift(lab: Lab, harm: Harm) -> Fault:
    node = NodeId(harm.element.name)
    target = harm.target or next(one.id for one in lab.mesh.nodes if one.id != node)
    address = f"{lab.mesh.node(target).address}/32"
    if harm.via is None:
        return StrayRoute(lab.namespace(node), ("blackhole", address, "proto", "static"))
    gateway = next(end.peer_address for end in lab.places[node].links if end.peer == harm.via)
    return StrayRoute(lab.namespace(node), (address, "via", gateway, "proto", "static"))


def _qdisc_drift(lab: Lab, harm: Harm) -> Fault:
    sender = _sender(lab, harm)
    return RateLimit(lab.namespace(sender.node), (sender.name,), harm.kbit)


_MAKERS: Mapping[FaultKind, Callable[[Lab, Harm], Fault]] = {
    FaultKind.LINK_DOWN: _carrier,
    FaultKind.BLACKHOLE: _rules(lambda _: wire.every_packet()),
    FaultKind.ONE_WAY: _one_way,
    FaultKind.LOSS: _rules(lambda harm: wire.random_packets(harm.percent)),
    FaultKind.GREY: _rules(lambda harm: wire.transit_packets(harm.grey, harm.flow_class)),
    FaultKind.MTU: _rules(lambda _: wire.oversized_packets()),
    FaultKind.RATE_CLAMP: _rate_clamp,
    FaultKind.CARRIER_FLAP: lambda lab, harm: CarrierFlap(_carrier(lab, harm), harm.period_s),
    FaultKind.NODE_DEAD: _node_dead,
    FaultKind.DAEMON_HUNG: _daemon(signal.SIGSTOP),
    FaultKind.DAEMON_KILLED: _daemon(signal.SIGKILL),
    FaultKind.ROUTE_DRIFT: _route_drift,
    FaultKind.SYSCTL_DRIFT: lambda lab, harm: ForwardingOff(lab.namespace(NodeId(harm.element.name))),
    FaultKind.QDISC_DRIFT: _qdisc_drift,
}


def looping_neighbour(lab: Lab, node: NodeId, target: NodeId) -> NodeId | None:
    """Return a neighbour that routes to `target` through `node`, so that a stray route to it loops; None: none does."""
    hops = next_hops(lab.mesh)
    peers = [NodeId(end.peer) for end in lab.places[node].links]
    return next((peer for peer in peers if peer != target and hops[peer].get(target) == node), None)
