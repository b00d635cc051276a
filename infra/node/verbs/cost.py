"""SET_COST: the routing cost of a mesh interface, so that traffic leaves a link or returns to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from infra.node.control import DaemonControl
from infra.node.place import NodePlace
from infra.node.verbs.base import ReadBack, integer, link_end
from models.remedy import Action

# Babel's costs end below its infinity (65535) and so do OSPF's; the sum along a path must stay below it too.
_CHEAPEST, _DEAREST = 1, 60000
_LOOK_S = 0.1
SILENT = "nobody is heard there, so nothing travels there; the daemon took the cost and cannot show it yet"


class SetCost:
    """Changes a cost through the daemon and waits until the daemon shows it."""

    def __init__(self, place: NodePlace, control: DaemonControl, standing: Callable[[], Mapping[str, int]]) -> None:
        """Prepare.

        Args:
            place: The node.
            control: Its routing daemon.
            standing: The costs that operations put in force and nobody took back, by interface.
        """
        self._place = place
        self._control = control
        self._standing = standing

    def target(self, action: Action) -> str:
        """Name the interface's cost."""
        return f"cost:{link_end(self._place, action).interface}"

    def check(self, action: Action) -> None:
        """Refuse foreign interfaces and costs outside 1..60000."""
        link_end(self._place, action)
        integer(action, "cost", _CHEAPEST, _DEAREST)

    def capture(self, action: Action) -> str:
        """Return the cost in force; on a silent link the one we set last, or the configured one."""
        link = link_end(self._place, action)
        shown = self._control.cost(link.interface)
        return str(self._standing().get(link.interface, link.cost) if shown is None else shown)

    def apply(self, action: Action) -> None:
        """Change it."""
        self._control.set_cost(link_end(self._place, action).interface, integer(action, "cost", _CHEAPEST, _DEAREST))

    def _settled(self, interface: str, cost: int) -> int | None:
        """Wait until the daemon shows the cost, at most as long as a neighbour may need; return what it shows."""
        deadline = time.monotonic() + self._control.patience_s
        while (shown := self._control.cost(interface)) != cost and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        return shown

    def read_back(self, action: Action) -> ReadBack:
        """Compare what the daemon shows; a link that is silent counts as costed out, never as restored."""
        link = link_end(self._place, action)
        wanted = integer(action, "cost", _CHEAPEST, _DEAREST)
        shown = self._settled(link.interface, wanted)
        if shown is None:
            return ReadBack(matches=wanted > link.cost, state="silent", note=SILENT)
        return ReadBack(matches=shown == wanted, state=str(shown))

    def undo(self, action: Action, before: str) -> ReadBack:
        """Put the captured cost back; a silent link is taken at the daemon's word, or it would be flushed for ever."""
        link = link_end(self._place, action)
        if self._control.cost(link.interface) == int(before):
            return ReadBack(matches=True, state=before)
        self._control.set_cost(link.interface, int(before))
        shown = self._settled(link.interface, int(before))
        if shown is None:
            return ReadBack(matches=True, state="silent", note=SILENT)
        return ReadBack(matches=shown == int(before), state=str(shown))
