"""RESTART_DAEMON: end the routing daemon and start it again, with the costs that were in force."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from infra.node.control import DaemonControl
from infra.node.place import Daemon, NodePlace
from infra.node.process import end, find, look, start
from infra.node.verbs.base import ReadBack
from models.errors import SourceUnavailable
from models.remedy import Action
from models.telemetry import DaemonState

_LOOK_S = 0.1


class RestartDaemon:
    """Restarts the daemon; success is a running process that hears a neighbour.

    There is nothing to restore: its undo makes sure that a daemon runs and never brings a hung one back.
    """

    def __init__(
        self, place: NodePlace, daemon: Daemon, *, control: DaemonControl, standing: Callable[[], Mapping[str, int]]
    ) -> None:
        self._place = place
        self._daemon = daemon
        self._control = control
        self._standing = standing

    def target(self, action: Action) -> str:
        """Name the node's daemon."""
        return f"daemon:{action.node}"

    def check(self, action: Action) -> None:
        """Accept always: a daemon that is gone, stopped or deaf is what the verb is for."""

    def capture(self, action: Action) -> str:  # noqa: ARG002 - the port's signature; a node has one daemon
        """Return the process's state and pid, for people."""
        return f"{look(self._daemon)} pid {find(self._daemon)}"

    def apply(self, action: Action) -> None:  # noqa: ARG002 - as above
        """End, start, and put the standing costs back in force before any neighbour can be heard."""
        end(self._daemon)
        self._begin()

    def _begin(self) -> None:
        start(self._place, self._daemon)
        configured = {link.interface: link.cost for link in self._place.links}
        for interface, cost in self._standing().items():
            if cost != configured.get(interface):
                self._control.set_cost(interface, cost)

    def _heard(self) -> int:
        try:
            return self._control.neighbours()
        except SourceUnavailable:
            # A daemon that has just started may not listen yet; the deadline decides, not this answer.
            return 0

    def _state(self) -> ReadBack:
        running = look(self._daemon) is DaemonState.RUNNING
        heard = self._heard() if running else 0
        state = f"{look(self._daemon)} pid {find(self._daemon)}, {heard} neighbours heard"
        return ReadBack(matches=running and (heard > 0 or not self._place.links), state=state)

    def read_back(self, action: Action) -> ReadBack:  # noqa: ARG002 - as above
        """Wait until the daemon runs and hears a neighbour, at most as long as one may need."""
        deadline = time.monotonic() + self._control.patience_s
        while not (seen := self._state()).matches and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        return seen

    def undo(self, action: Action, before: str) -> ReadBack:  # noqa: ARG002 - there is no state to go back to
        """Make sure that a daemon runs."""
        if look(self._daemon) is DaemonState.ABSENT:
            end(self._daemon)
            self._begin()
        seen = self._state()
        return ReadBack(
            matches=look(self._daemon) is not DaemonState.ABSENT,
            state=seen.state,
            note="a restart has nothing to put back; the daemon runs",
        )
