"""The gate of a gateway node: two nftables sets of addresses that may pass the client interfaces, and nobody else may.

Elements carry the kernel's own timeout, so an address is forgotten at its hour though nobody of ours is alive. Every
packet is asked, not every connection: what was admitted once does not stay admitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address

import structlog

from infra.node import nft
from infra.node.journal import STANDING, Entry
from models.errors import MeshError
from models.ports import Clock
from models.remedy import Verb

log = structlog.get_logger()

TABLE = "x0gate"
_SETS = {4: "admitted4", 6: "admitted6"}
# Without neighbour discovery an IPv6 client cannot even find the gateway; it carries nothing for anybody.
_NEIGHBOURS = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept"
# The first and the last hook a packet passes: whatever it is for (us, the mesh, another client), it meets one of them.
_HOOKS = {
    "from_clients": ("prerouting", "raw", "iifname", "saddr"),
    "to_clients": ("postrouting", "filter", "oifname", "daddr"),
}
_LOOK_EVERY = timedelta(seconds=5)


def _rules(clients: Iterable[str]) -> str:
    """Write the whole gate; done again it changes no element and no address waits."""
    interfaces = "{ " + ", ".join(f'"{one}"' for one in clients) + " }"
    lines = [
        f"add table inet {TABLE}",
        f"add set inet {TABLE} {_SETS[4]} {{ type ipv4_addr; flags timeout; }}",
        f"add set inet {TABLE} {_SETS[6]} {{ type ipv6_addr; flags timeout; }}",
    ]
    for chain, (hook, priority, interface, end) in _HOOKS.items():
        place = f"inet {TABLE} {chain}"
        lines += [
            f"add chain {place} {{ type filter hook {hook} priority {priority}; policy accept; }}",
            f"flush chain {place}",
            f"add rule {place} {interface} != {interfaces} accept",
            f"add rule {place} {_NEIGHBOURS}",
            f"add rule {place} ip {end} @{_SETS[4]} accept",
            f"add rule {place} ip6 {end} @{_SETS[6]} accept",
            f"add rule {place} counter drop",
        ]
    return "\n".join(lines) + "\n"


class Gate:
    """One node's gate, in the namespace this thread is in. Blocking."""

    def __init__(self, clients: tuple[str, ...]) -> None:
        """Name the interfaces that clients are behind."""
        self._clients = clients

    def close_up(self) -> None:
        """Put the gate in place, shut for everyone who is not in its sets; done again it changes nothing.

        Raises:
            SourceUnavailable: the kernel refused.
            ToolMissing: there is no nft here.
        """
        nft.change(_rules(self._clients))

    def admitted(self) -> dict[str, timedelta] | None:
        """Return each address in the sets and how long it still has; None when there is no gate.

        Raises:
            SourceUnavailable: the kernel did not answer.
        """
        objects = nft.table(TABLE)
        if objects is None or {one["chain"]["name"] for one in objects if "chain" in one} != set(_HOOKS):
            return None
        found: dict[str, timedelta] = {}
        for one in objects:
            for element in one.get("set", {}).get("elem", ()):
                content = element["elem"]
                found[str(ip_address(content["val"]))] = timedelta(seconds=content["expires"])
        return found

    def admit(self, address: str, remaining: timedelta) -> None:
        """Let an address pass for so long from now on, shorter or longer than before.

        Raises:
            SourceUnavailable: the kernel refused.
        """
        seconds = max(1, round(remaining.total_seconds()))
        # A kernel keeps the old timeout of an element that is added again: so it goes and comes in one transaction.
        gone = _gone(address)
        nft.change(f"{gone}add element inet {TABLE} {_set_of(address)} {{ {address} timeout {seconds}s }}\n")

    def expel(self, address: str) -> None:
        """Let an address pass no longer; one that did not pass is no error.

        Raises:
            SourceUnavailable: the kernel refused.
        """
        nft.change(_gone(address))


def _set_of(address: str) -> str:
    return _SETS[6 if isinstance(ip_address(address), IPv6Address) else 4]


def _gone(address: str) -> str:
    where = f"element inet {TABLE} {_set_of(address)}"
    # nft deletes only what is there; added first, it is.
    return f"add {where} {{ {address} timeout 1s }}\ndelete {where} {{ {address} }}\n"


def standing_admissions(entries: Iterable[Entry]) -> dict[str, datetime]:
    """Return the addresses that orders let in and none took back, and until when."""
    found: dict[str, datetime] = {}
    for entry in entries:
        if entry.phase not in STANDING or entry.order is None:
            continue
        action = entry.order.action
        if action.verb is Verb.ADMIT:
            found[str(action.arguments["address"])] = until_of(action.arguments, entry.at)
        elif action.verb is Verb.EXPEL:
            found.pop(str(action.arguments["address"]), None)
    return found


def until_of(arguments: Mapping[str, str | int], now: datetime) -> datetime:
    """Return the instant an ADMIT names, in the zone of `now`."""
    return datetime.fromtimestamp(int(arguments["until"]), now.tzinfo)


class GateKeeper:
    """Keeps the gate as the node's orders left it: after a restart, a flushed ruleset, a hand that slipped."""

    def __init__(self, gate: Gate, standing: Callable[[], Mapping[str, datetime]], clock: Clock) -> None:
        """Prepare.

        Args:
            gate: The node's.
            standing: Whom orders let in, and until when.
            clock: Now.
        """
        self._gate = gate
        self._standing = standing
        self._clock = clock
        self._look_at: datetime | None = None
        self._is_troubled = False

    def look(self) -> None:
        """Look every few seconds, and put back what is missing. A gate that cannot be kept is said once, not raised.

        Strangers in the sets are left: their timeouts end them, and the journal that would tell may be the one lost.
        """
        now = self._clock.now()
        if self._look_at is not None and now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY
        try:
            self._mend(now)
        except MeshError as error:
            # Healing must go on with a broken gate: it is shut or as it was, and its orders will be refused.
            if not self._is_troubled:
                log.warning("gate cannot be kept", reason=str(error))
            self._is_troubled = True
        else:
            self._is_troubled = False

    def _mend(self, now: datetime) -> None:
        admitted = self._gate.admitted()
        if admitted is None:
            self._gate.close_up()
            log.info("gate put in place")
            admitted = {}
        missing = {
            address: until for address, until in self._standing().items() if until > now and address not in admitted
        }
        for address, until in missing.items():
            self._gate.admit(address, until - now)
        if missing:
            log.warning("admissions put back", count=len(missing))
