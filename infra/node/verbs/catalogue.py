"""Which verbs this node has, and the costs its operations put in force."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from infra.node.babeld import Babeld
from infra.node.bird import Bird
from infra.node.journal import STANDING, Entry
from infra.node.netlink import Netlink
from infra.node.place import NodePlace
from infra.node.verbs.base import VerbHandler
from infra.node.verbs.cost import SetCost
from infra.node.verbs.daemon import RestartDaemon
from infra.node.verbs.mtu import SetMtu
from infra.node.verbs.qdisc import RestoreQdisc
from infra.node.verbs.route import RestoreRoute
from infra.node.verbs.sysctl import SetSysctl
from models.mesh import RoutingDaemon
from models.remedy import Verb


def standing_costs(entries: Iterable[Entry]) -> dict[str, int]:
    """Return interface -> cost of the SET_COST operations in force, the latest of each interface."""
    return {
        str(entry.order.action.arguments["interface"]): int(entry.order.action.arguments["cost"])
        for entry in entries
        if entry.phase in STANDING and entry.order is not None and entry.order.action.verb is Verb.SET_COST
    }


def catalogue(place: NodePlace, netlink: Netlink, standing: Callable[[], Mapping[str, int]]) -> dict[Verb, VerbHandler]:
    """Build the verbs; without a routing daemon the two that need one are left out, and so refused.

    Raises:
        ConfigurationInvalid: the daemon's configuration file cannot be read.
    """
    verbs: dict[Verb, VerbHandler] = {
        Verb.SET_MTU: SetMtu(place, netlink),
        Verb.SET_SYSCTL: SetSysctl(place),
        Verb.RESTORE_ROUTE: RestoreRoute(place, netlink),
        Verb.RESTORE_QDISC: RestoreQdisc(place, netlink),
    }
    if place.daemon is not None:
        control = Babeld(place.daemon) if place.daemon.kind is RoutingDaemon.BABELD else Bird(place.daemon)
        verbs[Verb.SET_COST] = SetCost(place, control, standing)
        verbs[Verb.RESTART_DAEMON] = RestartDaemon(place, place.daemon, control=control, standing=standing)
    return verbs
