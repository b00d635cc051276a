"""Reading the kernels' routing tables: which way each node would send a packet now."""

from __future__ import annotations

from socket import AF_INET

from infra.lab.kernel import netlink

MAIN_TABLE = 254
UNICAST = 1
LOOPBACK_LENGTH = 32


def loopback_routes(namespace: str) -> dict[str, str]:
    """Return {loopback address: interface} of the /32 unicast routes in the namespace's main table.

    Where several routes lead to one address, the first counts, as in the kernel.
    """
    found: dict[str, str] = {}
    with netlink(namespace) as handle:
        names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in handle.get_links()}
        for route in handle.get_routes(family=AF_INET, table=MAIN_TABLE):
            target, interface = route.get_attr("RTA_DST"), route.get_attr("RTA_OIF")
            if route["dst_len"] == LOOPBACK_LENGTH and route["type"] == UNICAST and interface in names:
                found.setdefault(target, names[interface])
    return found
