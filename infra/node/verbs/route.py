"""RESTORE_ROUTE: the routes of one prefix that no routing protocol made, back to the baseline's."""

from __future__ import annotations

from infra.node.interfaces import links
from infra.node.netlink import Netlink
from infra.node.place import NodePlace
from infra.node.routes import Route, add_route, canonical, delete_route, describe, lines_of, own_routes, parse
from infra.node.verbs.base import ReadBack, text
from models.errors import OrderRefused
from models.remedy import Action


class RestoreRoute:
    """Deletes stray routes of a prefix and adds the baseline's; never touches a route that a protocol made."""

    def __init__(self, place: NodePlace, netlink: Netlink) -> None:
        self._place = place
        self._netlink = netlink

    def _routes(self) -> tuple[dict[str, int], frozenset[Route]]:
        indexes = {name: state.index for name, state in links(self._netlink).items()}
        return indexes, own_routes(self._netlink, {index: name for name, index in indexes.items()})

    def _prefix(self, action: Action) -> str:
        prefix = text(action, "prefix")
        try:
            return canonical(prefix)
        except ValueError as error:
            raise OrderRefused(f"{prefix!r} is no IPv4 prefix") from error

    def _wanted(self, action: Action) -> frozenset[Route]:
        prefix = self._prefix(action)
        routes = frozenset(parse(line) for line in text(action, "expected").split("; ") if line)
        for route in routes:
            if route.prefix != prefix:
                raise OrderRefused(f"route {describe(route)!r} is not of prefix {prefix}")
        return routes

    def _change_to(self, wanted: frozenset[Route], prefix: str) -> None:
        indexes, routes = self._routes()
        present = {route for route in routes if route.prefix == prefix}
        for route in wanted - present:
            if route.device and route.device not in indexes:
                raise OrderRefused(f"{self._place.node} has no interface {route.device} now")
        for route in present - wanted:
            delete_route(self._netlink, route, indexes)
        for route in wanted - present:
            add_route(self._netlink, route, indexes)

    def target(self, action: Action) -> str:
        """Name the prefix."""
        return f"route:{self._prefix(action)}"

    def check(self, action: Action) -> None:
        """Refuse what cannot be read, and present routes that an undo could not write again."""
        self._wanted(action)
        for line in self.capture(action).split("; "):
            if line:
                parse(line)

    def capture(self, action: Action) -> str:
        """Return the prefix's own routes, sorted, joined by `; `."""
        return lines_of(self._routes()[1], self._prefix(action))

    def apply(self, action: Action) -> None:
        """Delete what is not expected, add what is missing."""
        self._change_to(self._wanted(action), self._prefix(action))

    def read_back(self, action: Action) -> ReadBack:
        """Compare the kernel's routes of the prefix."""
        now = self.capture(action)
        return ReadBack(matches=now == lines_of(self._wanted(action), self._prefix(action)), state=now)

    def undo(self, action: Action, before: str) -> ReadBack:
        """Put the captured routes back."""
        if self.capture(action) != before:
            self._change_to(frozenset(parse(line) for line in before.split("; ") if line), self._prefix(action))
        now = self.capture(action)
        return ReadBack(matches=now == before, state=now)
