"""Pinning packets to a link against the routing table: a mark, a policy rule and a table of its own per link.

A route's metric does not do it: babeld's routes win (measured). Marks, tables and rule priorities are one range that is
ours alone; whatever is found in it at the start was left by a predecessor that was killed, and is removed.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator

from infra.node.interfaces import links
from infra.node.netlink import (
    CREATE,
    EXCLUSIVE,
    ROUTE,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_GETROUTE,
    RTM_GETRULE,
    RTM_NEWRULE,
    RULE,
    Attributes,
    Netlink,
    attribute,
    u32,
)
from infra.node.place import LinkEnd
from infra.node.routes import Route, add_route

FIRST = 6700
# As many links as a node may probe; also what is searched for leftovers.
MOST = 64
_RANGE = range(FIRST, FIRST + MOST)
_FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_FWMASK = 6, 10, 15, 16
_RTA_TABLE = 15
_TO_TABLE = 1
_STATIC, _GLOBAL, _UNICAST, _UNREACHABLE = 4, 0, 1, 7
# Any metric above the pinned route's own (0): it only answers when that one is gone.
_LAST_METRIC = 4096
_ALL_BITS = 0xFFFFFFFF


def mark_of(index: int) -> int:
    """Return the mark (and table, and rule priority) of the link with this index in the node's place."""
    return FIRST + index


class Pinning:
    """The node's pinning rules, for as long as they are held. Open it inside the node's namespace."""

    def __init__(self, ends: Iterable[LinkEnd]) -> None:
        self._ends = tuple(ends)[:MOST]
        self._netlink = Netlink()

    def hold(self) -> dict[int, int]:
        """Remove what a predecessor left, then make every link's rule and routes; returns what `mend` does.

        Raises:
            OSError: the kernel refused a rule (no NET_ADMIN, no policy routing).
        """
        self._remove()
        for index in range(len(self._ends)):
            self._netlink.change(RTM_NEWRULE, *_rule(mark_of(index)), flags=CREATE | EXCLUSIVE)
        return self.mend()

    def mend(self) -> dict[int, int]:
        """Put back routes that the kernel dropped, as it does when an interface goes down and up again.

        Returns:
            Kernel interface index -> the link's index in the node's place, as of now.
        """
        indexes = {name: state.index for name, state in links(self._netlink).items()}
        for index, end in enumerate(self._ends):
            for route in _routes(end):
                if route.device and route.device not in indexes:
                    continue
                try:
                    add_route(self._netlink, route, indexes, table=mark_of(index))
                except OSError as error:
                    # There already, or the interface is down: then the unreachable route answers.
                    if error.errno not in {errno.EEXIST, errno.ENETDOWN, errno.ENETUNREACH}:
                        raise
        return {indexes[end.interface]: at for at, end in enumerate(self._ends) if end.interface in indexes}

    def release(self) -> None:
        """Remove our rules and routes. Safe to call twice."""
        if self._ends:
            self._remove()
        self._ends = ()
        self._netlink.close()

    def _remove(self) -> None:
        for fixed, parts in self._netlink.dump(RTM_GETRULE, RULE, socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0):
            if FIRST <= _number(parts, _FRA_PRIORITY) < FIRST + MOST and _number(parts, _FRA_TABLE) in _RANGE:
                self._netlink.change(RTM_DELRULE, RULE.pack(*fixed), list(_encoded(parts)))
        for fixed, parts in self._netlink.dump(RTM_GETROUTE, ROUTE, socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0):
            if _number(parts, _RTA_TABLE) in _RANGE:
                self._netlink.change(RTM_DELROUTE, ROUTE.pack(*fixed[:8], 0), list(_encoded(parts)))


def _number(parts: Attributes, number: int) -> int:
    return u32(parts[number]) if number in parts else 0


def _encoded(parts: Attributes) -> Iterator[bytes]:
    """Give attributes back to the kernel as it gave them, but for what only a dump carries (RTA_CACHEINFO is 12)."""
    cache = 12
    return (attribute(number, value) for number, value in parts.items() if number != cache)


def _rule(mark: int) -> tuple[bytes, list[bytes]]:
    fixed = RULE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, _TO_TABLE, 0)
    numbers = ((_FRA_PRIORITY, mark), (_FRA_FWMARK, mark), (_FRA_FWMASK, _ALL_BITS), (_FRA_TABLE, mark))
    return fixed, [attribute(number, value) for number, value in numbers]


def _routes(end: LinkEnd) -> tuple[Route, Route]:
    """The pinned way, and what answers when it is gone: the main table would let the probe measure another link."""
    pinned = Route("default", _UNICAST, end.peer_address, end.interface, _STATIC, _GLOBAL, "", 0)
    return pinned, Route("default", _UNREACHABLE, "", "", _STATIC, _GLOBAL, "", _LAST_METRIC)
