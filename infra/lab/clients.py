"""A client of the lab: a namespace behind the gateway node's client interface, for trying licences with real packets.

Nothing in the mesh knows the client's network: towards the mesh the gateway lends it its own loopback address, so that
every routing daemon does. The gate is shut before the client is plugged in.
"""

from __future__ import annotations

from infra.lab.kernel import add_pair, create_namespace, index_of, netlink
from infra.lab.names import CLIENT_INTERFACE, client_namespace
from infra.node import nft
from infra.node.gate import Gate
from infra.node.netns import entered
from infra.node.place import NodePlace

NETWORK = "10.45.0.0/24"
GATEWAY, CLIENT = "10.45.0.1", "10.45.0.2"
GATEWAY6, CLIENT6 = "fd45::1", "fd45::2"
UPLINK = "up0"
TABLE = "x0clients"
# Duplicate address detection costs a second, and nobody else is on this wire.
SYSCTLS = {"net/ipv6/conf/default/accept_dad": "0", "net/ipv6/conf/default/dad_transmits": "0"}


def build_client(lab: str, place: NodePlace) -> None:
    """Make the lab's client and plug it into its gateway node, whose gate is shut."""
    node, client = str(place.netns), client_namespace(lab)
    with entered(node):
        Gate((CLIENT_INTERFACE,)).close_up()
        nft.change(_lent_address(place.address))
    create_namespace(client, SYSCTLS)
    add_pair(client, UPLINK, far=node, far_end=CLIENT_INTERFACE)
    _address(node, CLIENT_INTERFACE, GATEWAY, GATEWAY6)
    _address(client, UPLINK, CLIENT, CLIENT6)
    with netlink(client) as handle:
        handle.route("add", dst="default", gateway=GATEWAY)
        handle.route("add", dst="default", gateway=GATEWAY6)


def _address(namespace: str, interface: str, *addresses: str) -> None:
    with netlink(namespace) as handle:
        end = index_of(handle, interface)
        for one in addresses:
            handle.addr("add", index=end, address=one, prefixlen=64 if ":" in one else 24)
        handle.link("set", index=end, state="up")


def _lent_address(loopback: str) -> str:
    """Write the rules that put the gateway's address on what a client sends into the mesh.

    Transit is not tracked: the lab's traffic is measured, and must cost what it costs on any other node.
    """
    return "\n".join(
        [
            f"add table ip {TABLE}",
            f"add chain ip {TABLE} transit {{ type filter hook prerouting priority raw; policy accept; }}",
            f'add rule ip {TABLE} transit iifname != "{CLIENT_INTERFACE}" ip daddr != {loopback} notrack',
            f"add chain ip {TABLE} lent {{ type nat hook postrouting priority srcnat; policy accept; }}",
            f'add rule ip {TABLE} lent ip saddr {NETWORK} oifname != "{CLIENT_INTERFACE}" snat to {loopback}',
            "",
        ]
    )
