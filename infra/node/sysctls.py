"""The sysctls a node watches and may restore, and no others."""

from __future__ import annotations

from pathlib import Path

from infra.node.place import NodePlace

IP_FORWARD = "net.ipv4.ip_forward"
ALL_FORWARDING = "net.ipv4.conf.all.forwarding"
_PER_INTERFACE = ("forwarding", "rp_filter")
# Writing this one switch writes every interface's own; an exact undo must know them all.
SWITCHES = frozenset({IP_FORWARD, ALL_FORWARDING})


def allowed(place: NodePlace) -> tuple[str, ...]:
    """Return the names, in order: forwarding, and the reverse-path filter, in all and on each mesh interface.

    An interface's name may hold a dot; the file is then found by `path_of`, which takes the name apart from both ends.
    """
    owners = ["all", "default", *(link.interface for link in place.links)]
    return (IP_FORWARD, *(f"net.ipv4.conf.{owner}.{leaf}" for owner in owners for leaf in _PER_INTERFACE))


def path_of(name: str) -> Path:
    """Return the file behind a sysctl of `allowed`; it belongs to the namespace of the thread that opens it."""
    if name == IP_FORWARD:
        return Path("/proc/sys/net/ipv4/ip_forward")
    owner, leaf = name.removeprefix("net.ipv4.conf.").rsplit(".", 1)
    return Path("/proc/sys/net/ipv4/conf") / owner / leaf
