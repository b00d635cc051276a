"""Making and unmaking namespaces, wires and addresses, with pyroute2.

Everything here blocks for milliseconds and moves the calling thread between namespaces, so it is called from a thread
of its own and never inside a running event loop (pyroute2's blocking calls refuse that).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, netns

from infra.lab.names import BRIDGE, MANAGEMENT_INTERFACE, management_namespace, wire_namespace, wire_port
from infra.node.netns import entered
from infra.node.place import NodePlace
from models.mesh import Link, Mesh, NodeId

NAMESPACES = Path("/run/netns")
NODE_SYSCTLS: Mapping[str, str] = {
    "net/ipv4/ip_forward": "1",
    # The answer may come back over another link than the question left by.
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    # A redirect would move a path behind the routing daemon's back.
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv4/conf/default/accept_redirects": "0",
    "net/ipv6/conf/all/forwarding": "1",
    # Babel speaks from link-local addresses; waiting for duplicates costs a second and there are none.
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/dad_transmits": "0",
}
# A wire is no host: it must not add neighbour discovery of its own to what the ends count.
WIRE_SYSCTLS: Mapping[str, str] = {"net/ipv6/conf/all/disable_ipv6": "1", "net/ipv6/conf/default/disable_ipv6": "1"}


@contextmanager
def netlink(namespace: str) -> Iterator[Any]:
    """Open a netlink socket in the namespace; the thread is back home before the body runs."""
    with entered(namespace):
        handle = IPRoute()
    try:
        yield handle
    finally:
        handle.close()


def namespaces(beginning: str) -> tuple[str, ...]:
    """Name the existing namespaces that begin so, sorted."""
    if not NAMESPACES.is_dir():
        return ()
    return tuple(sorted(one.name for one in NAMESPACES.iterdir() if one.name.startswith(beginning)))


def create_namespace(name: str, sysctls: Mapping[str, str]) -> None:
    """Create a named namespace and set its sysctls before any interface copies the defaults."""
    netns.create(name)
    with entered(name):
        for key, value in sysctls.items():
            write_sysctl(key, value)


def write_sysctl(key: str, value: str) -> None:
    """Write one sysctl of the namespace this thread is in; `key` is the path below /proc/sys."""
    (Path("/proc/sys") / key).write_text(value)


def remove_namespace(name: str) -> None:
    """Remove a named namespace; one that is gone already is no error."""
    try:
        netns.remove(name)
    except FileNotFoundError:
        return


def index_of(handle: Any, interface: str) -> int:
    """Return the interface's index.

    Raises:
        KeyError: there is none of that name.
    """
    found = handle.link_lookup(ifname=interface)
    if not found:
        raise KeyError(interface)
    return int(found[0])


def build_node(place: NodePlace) -> None:
    """Make a node's namespace with its loopback address; its links come with their wires."""
    create_namespace(str(place.netns), NODE_SYSCTLS)
    with netlink(str(place.netns)) as handle:
        lo = index_of(handle, "lo")
        handle.link("set", index=lo, state="up")
        handle.addr("add", index=lo, address=place.address, prefixlen=32)


def build_wire(mesh: Mesh, link: Link, places: Mapping[NodeId, NodePlace]) -> None:
    """Make a link's wire and both ends: node -- port | bridge | port -- node."""
    wire = wire_namespace(mesh, link.id)
    create_namespace(wire, WIRE_SYSCTLS)
    with netlink(wire) as handle:
        bridge = _add_bridge(handle)
        for end in (link.a, link.b):
            place = places[end.node]
            address = next(one.address for one in place.links if one.interface == end.name)
            _plug(handle, bridge, wire_port(end), place=place, interface=end.name, address=address, length=31)


def build_management(mesh: Mesh, places: Mapping[NodeId, NodePlace]) -> None:
    """Make the management network: a bridge in a namespace of its own, one veth to each node, no routing daemon."""
    hub = management_namespace(mesh.name)
    create_namespace(hub, WIRE_SYSCTLS)
    with netlink(hub) as handle:
        bridge = _add_bridge(handle)
        handle.addr(
            "add", index=bridge, address="10.44.255.254", prefixlen=16
        )  # the last host: nodes count from the first
        for place in places.values():
            address = str(place.management)
            port = f"p-{place.node}"
            _plug(handle, bridge, port, place=place, interface=MANAGEMENT_INTERFACE, address=address, length=16)


def _add_bridge(handle: Any) -> int:
    # No spanning tree, no forward delay, no snooping: frames pass from the first millisecond, multicast hellos too.
    handle.link("add", ifname=BRIDGE, kind="bridge", br_stp_state=0, br_forward_delay=0, br_mcast_snooping=0)
    bridge = index_of(handle, BRIDGE)
    handle.link("set", index=bridge, state="up")
    return bridge


def add_pair(namespace: str, end: str, *, far: str, far_end: str) -> None:
    """Join two namespaces by a veth; both ends are down."""
    with netlink(namespace) as handle:
        _add_pair(handle, end, far, far_end)


def _add_pair(handle: Any, end: str, far: str, far_end: str) -> None:
    target = os.open(NAMESPACES / far, os.O_RDONLY)
    try:
        handle.link("add", ifname=end, kind="veth", peer={"ifname": far_end, "net_ns_fd": target})
    finally:
        os.close(target)


def _plug(handle: Any, bridge: int, port: str, *, place: NodePlace, interface: str, address: str, length: int) -> None:
    _add_pair(handle, port, str(place.netns), interface)
    handle.link("set", index=index_of(handle, port), master=bridge, state="up")
    with netlink(str(place.netns)) as node:
        end = index_of(node, interface)
        node.addr("add", index=end, address=address, prefixlen=length)
        node.link("set", index=end, state="up")
