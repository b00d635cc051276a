"""Links and their root queues, read and changed."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from infra.node.netlink import (
    CREATE,
    LINK,
    QUEUE,
    REPLACE,
    RTM_DELQDISC,
    RTM_GETLINK,
    RTM_GETQDISC,
    RTM_NEWLINK,
    RTM_NEWQDISC,
    Netlink,
    attribute,
    name,
    u32,
)

_IFLA_IFNAME, _IFLA_MTU = 3, 4
_TCA_KIND, _TCA_OPTIONS = 1, 2
TC_H_ROOT = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class LinkState:
    """One interface: kernel index, MTU in bytes."""

    index: int
    mtu: int


@dataclass(frozen=True, slots=True)
class Queue:
    """A root queue: kind, handle and options as the kernel encodes them (what is needed to make it again)."""

    kind: str
    handle: int
    options: bytes


def links(netlink: Netlink) -> dict[str, LinkState]:
    """Return every interface of the namespace by name."""
    rows = netlink.dump(RTM_GETLINK, LINK, socket.AF_UNSPEC, 0, 0, 0, 0)
    return {name(parts[_IFLA_IFNAME]): LinkState(fixed[2], u32(parts[_IFLA_MTU])) for fixed, parts in rows}


def set_mtu(netlink: Netlink, index: int, mtu: int) -> None:
    """Set an interface's MTU; OSError where the driver refuses it."""
    netlink.change(RTM_NEWLINK, LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0), [attribute(_IFLA_MTU, mtu)])


def root_queues(netlink: Netlink) -> dict[int, Queue]:
    """Return the root queue of each interface, by interface index."""
    rows = netlink.dump(RTM_GETQDISC, QUEUE, socket.AF_UNSPEC, 0, 0, 0, 0)
    return {
        fixed[1]: Queue(name(parts[_TCA_KIND]), fixed[2], parts.get(_TCA_OPTIONS, b""))
        for fixed, parts in rows
        if fixed[3] == TC_H_ROOT
    }


def delete_root_queue(netlink: Netlink, index: int) -> None:
    """Remove the root queue, so that the kernel puts its default back; OSError when there is none to remove."""
    netlink.change(RTM_DELQDISC, QUEUE.pack(socket.AF_UNSPEC, index, 0, TC_H_ROOT, 0), [])


def replace_root_queue(netlink: Netlink, index: int, queue: Queue) -> None:
    """Put a captured root queue back; OSError where the kernel refuses it."""
    parts = [attribute(_TCA_KIND, queue.kind.encode() + b"\0"), attribute(_TCA_OPTIONS, queue.options)]
    fixed = QUEUE.pack(socket.AF_UNSPEC, index, queue.handle, TC_H_ROOT, 0)
    netlink.change(RTM_NEWQDISC, fixed, parts, flags=CREATE | REPLACE)
