"""IPv4 routes of the main table that no routing protocol made, written as `ip route` writes them."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infra.node.netlink import (
    CREATE,
    EXCLUSIVE,
    ROUTE,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    Attributes,
    Netlink,
    attribute,
    u32,
)
from models.errors import OrderRefused

_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 5, 6, 7, 15
_MAIN = 254
_BITS = 32
_UNICAST = 1
# What a dump row says in its flags for a cached clone; such rows are no routes.
_CLONED = 0x200
# linux/rtnetlink.h: the kernel itself and every routing protocol iproute2 knows by name.
_PROTOCOL_MADE = frozenset({1, 2, 9, 10, 11, 12, 13, 14, 15, 16, 18, 42, 186, 187, 188, 189, 192})
_TYPES = {"blackhole": 6, "unreachable": 7, "prohibit": 8, "throw": 9}
_PROTOCOLS = {"boot": 3, "static": 4}
_SCOPES = {"global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
# iproute2 leaves these out when it prints a route.
_SILENT_PROTOCOL, _SILENT_SCOPE = 3, 0


@dataclass(frozen=True, slots=True)
class Route:
    """One IPv4 route of the main table.

    Attributes:
        prefix: `10.0.0.0/8`, `10.0.0.1` for a host, `default`.
        kind: rtm_type; 1 is unicast.
        via: Next hop, empty when none.
        device: Interface name, empty when none.
        protocol: rtm_protocol.
        scope: rtm_scope.
        source: Preferred source, empty when none.
        metric: Priority; 0 when none.
    """

    prefix: str
    kind: int
    via: str
    device: str
    protocol: int
    scope: int
    source: str
    metric: int


def _named(names: Mapping[str, int], number: int) -> str:
    return next((word for word, value in names.items() if value == number), str(number))


def describe(route: Route) -> str:
    """Write a route as `ip route show` does."""
    words = [] if route.kind == _UNICAST else [_named(_TYPES, route.kind)]
    words.append(route.prefix)
    if route.via:
        words += ["via", route.via]
    if route.device:
        words += ["dev", route.device]
    if route.protocol != _SILENT_PROTOCOL:
        words += ["proto", _named(_PROTOCOLS, route.protocol)]
    if route.scope != _SILENT_SCOPE:
        words += ["scope", _named(_SCOPES, route.scope)]
    if route.source:
        words += ["src", route.source]
    if route.metric:
        words += ["metric", str(route.metric)]
    return " ".join(words)


def parse(line: str) -> Route:
    """Read what `describe` wrote.

    Raises:
        OrderRefused: it uses a word this node does not know, so that it could not be put back exactly.
    """
    words = line.split()
    kind = _TYPES.get(words[0], _UNICAST) if words else _UNICAST
    rest = words[1:] if kind != _UNICAST else words
    options = dict(zip(rest[1::2], rest[2::2], strict=False))
    known = {"via", "dev", "proto", "scope", "src", "metric"}
    if len(rest) % 2 == 0 or not set(options) <= known or len(options) != len(rest) // 2:
        raise OrderRefused(f"route {line!r} has a word this node does not know")
    try:
        return Route(
            prefix=canonical(rest[0]),
            kind=kind,
            via=str(ipaddress.IPv4Address(options["via"])) if "via" in options else "",
            device=options.get("dev", ""),
            protocol=_numbered(_PROTOCOLS, options.get("proto", "boot")),
            scope=_numbered(_SCOPES, options.get("scope", "global")),
            source=str(ipaddress.IPv4Address(options["src"])) if "src" in options else "",
            metric=int(options.get("metric", "0")),
        )
    except ValueError as error:
        raise OrderRefused(f"route {line!r} cannot be read ({error})") from error


def _numbered(names: Mapping[str, int], word: str) -> int:
    return names[word] if word in names else int(word)


def canonical(prefix: str) -> str:
    """Write a prefix as `ip route` does: no /32, and `default` for everything.

    Raises:
        ValueError: it is no IPv4 prefix.
    """
    if prefix == "default":
        return prefix
    network = ipaddress.IPv4Network(prefix)
    if network.prefixlen == 0:
        return "default"
    return str(network.network_address) if network.prefixlen == _BITS else str(network)


def own_routes(netlink: Netlink, names: Mapping[int, str]) -> frozenset[Route]:
    """Return the main table's routes that neither the kernel nor a routing protocol made.

    Args:
        netlink: Of the node's namespace.
        names: Interface index -> name.
    """
    rows = netlink.dump(RTM_GETROUTE, ROUTE, socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
    return frozenset(
        _route(fixed, parts, names)
        for fixed, parts in rows
        if fixed[4] == _MAIN and fixed[5] not in _PROTOCOL_MADE and not fixed[8] & _CLONED
    )


def _address(parts: Attributes, number: int) -> str:
    return socket.inet_ntoa(parts[number]) if number in parts else ""


def _route(fixed: tuple[int, ...], parts: Attributes, names: Mapping[int, str]) -> Route:
    _family, length, _source, _tos, _table, protocol, scope, kind, _flags = fixed
    index = u32(parts[_RTA_OIF]) if _RTA_OIF in parts else 0
    return Route(
        prefix=canonical(f"{_address(parts, _RTA_DST) or '0.0.0.0'}/{length}"),
        kind=kind,
        via=_address(parts, _RTA_GATEWAY),
        device=names.get(index, f"if{index}") if index else "",
        protocol=protocol,
        scope=scope,
        source=_address(parts, _RTA_PREFSRC),
        metric=u32(parts[_RTA_PRIORITY]) if _RTA_PRIORITY in parts else 0,
    )


def _encode(route: Route, indexes: Mapping[str, int], table: int) -> tuple[bytes, list[bytes]]:
    network = ipaddress.IPv4Network("0.0.0.0/0" if route.prefix == "default" else route.prefix)
    fixed = ROUTE.pack(
        socket.AF_INET,
        network.prefixlen,
        0,
        0,
        table if table < 256 else 0,  # noqa: PLR2004 - the fixed field is one byte; RTA_TABLE carries the rest
        route.protocol,
        route.scope,
        route.kind,
        0,
    )
    parts = [attribute(_RTA_TABLE, table), attribute(_RTA_DST, network.network_address.packed)]
    if route.via:
        parts.append(attribute(_RTA_GATEWAY, socket.inet_aton(route.via)))
    if route.device:
        parts.append(attribute(_RTA_OIF, indexes[route.device]))
    if route.source:
        parts.append(attribute(_RTA_PREFSRC, socket.inet_aton(route.source)))
    if route.metric:
        parts.append(attribute(_RTA_PRIORITY, route.metric))
    return fixed, parts


def add_route(netlink: Netlink, route: Route, indexes: Mapping[str, int], *, table: int = _MAIN) -> None:
    """Add one route.

    Raises:
        OSError: the kernel refused it (its next hop is not on a link, the same route exists).
    """
    fixed, parts = _encode(route, indexes, table)
    netlink.change(RTM_NEWROUTE, fixed, parts, flags=CREATE | EXCLUSIVE)


def delete_route(netlink: Netlink, route: Route, indexes: Mapping[str, int], *, table: int = _MAIN) -> None:
    """Delete one route; OSError when there is no such route."""
    fixed, parts = _encode(route, indexes, table)
    netlink.change(RTM_DELROUTE, fixed, parts)


def grouped(lines: Iterable[str]) -> dict[str, str]:
    """Gather route lines by prefix: sorted and joined by `; `, the value a drift shows and a remedy restores."""
    prefixes: dict[str, list[str]] = {}
    for line in sorted(lines):
        words = line.split()
        prefixes.setdefault(words[1] if words[0] in _TYPES else words[0], []).append(line)
    return {prefix: "; ".join(of_prefix) for prefix, of_prefix in prefixes.items()}


def lines_of(routes: Iterable[Route], prefix: str) -> str:
    """Write one prefix's routes as `grouped` does; empty when there is none."""
    return grouped(describe(route) for route in routes).get(prefix, "")
