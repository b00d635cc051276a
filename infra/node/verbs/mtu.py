"""SET_MTU: the MTU of a mesh interface."""

from __future__ import annotations

from infra.node.interfaces import LinkState, links, set_mtu
from infra.node.netlink import Netlink
from infra.node.place import NodePlace
from infra.node.verbs.base import ReadBack, integer, link_end, text
from models.errors import OrderRefused
from models.remedy import Action

# RFC 791: every IPv4 host must take 576 bytes. 9216 is the common ceiling of jumbo frames.
_SMALLEST, _LARGEST = 576, 9216


class SetMtu:
    """Sets the MTU and reads it back from the kernel."""

    def __init__(self, place: NodePlace, netlink: Netlink) -> None:
        self._place = place
        self._netlink = netlink

    def _state(self, action: Action) -> LinkState:
        interface = text(action, "interface")
        found = links(self._netlink).get(interface)
        if found is None:
            raise OrderRefused(f"{self._place.node} has no interface {interface} now")
        return found

    def target(self, action: Action) -> str:
        """Name the interface's MTU."""
        return f"mtu:{text(action, 'interface')}"

    def check(self, action: Action) -> None:
        """Refuse foreign interfaces and sizes outside 576..9216."""
        link_end(self._place, action)
        integer(action, "mtu", _SMALLEST, _LARGEST)
        self._state(action)

    def capture(self, action: Action) -> str:
        """Return the MTU."""
        return str(self._state(action).mtu)

    def apply(self, action: Action) -> None:
        """Set it."""
        set_mtu(self._netlink, self._state(action).index, integer(action, "mtu", _SMALLEST, _LARGEST))

    def read_back(self, action: Action) -> ReadBack:
        """Compare the kernel's MTU."""
        now = self._state(action).mtu
        return ReadBack(matches=now == action.arguments["mtu"], state=str(now))

    def undo(self, action: Action, before: str) -> ReadBack:
        """Put the captured MTU back."""
        if self.capture(action) != before:
            set_mtu(self._netlink, self._state(action).index, int(before))
        now = self.capture(action)
        return ReadBack(matches=now == before, state=now)
