"""ADMIT and EXPEL: a client's address in the gate of a gateway node."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_address

from infra.node.gate import Gate, until_of
from infra.node.verbs.base import ReadBack, integer, text
from models.errors import OrderRefused
from models.ports import Clock
from models.remedy import Action

# The kernel counts in its own ticks and nft rounds to whole seconds.
_TOLERANCE = timedelta(seconds=3)
# The year 2100; what lies beyond is milliseconds or a mistake.
_LATEST = 4_102_444_800
_ABSENT = "absent"


class _GateVerb:
    def __init__(self, gate: Gate, clock: Clock) -> None:
        self._gate = gate
        self._clock = clock

    def _address(self, action: Action) -> str:
        given = text(action, "address")
        try:
            canonical = str(ip_address(given))
        except ValueError as error:
            raise OrderRefused(f"{given!r} is no address") from error
        if canonical != given:
            raise OrderRefused(f"{given!r} is written {canonical!r}")
        return given

    def target(self, action: Action) -> str:
        """Name the address's place in the gate."""
        return f"gate:{self._address(action)}"

    def _admitted(self) -> dict[str, timedelta]:
        admitted = self._gate.admitted()
        if admitted is None:
            raise OrderRefused("there is no gate here now; the actuator puts it in place within seconds")
        return admitted

    def capture(self, action: Action) -> str:
        """Return until when the address may pass, in Unix seconds, or `absent`."""
        left = self._admitted().get(self._address(action))
        return _ABSENT if left is None else str(round((self._clock.now() + left).timestamp()))

    def undo(self, action: Action, before: str) -> ReadBack:
        """Put the captured admission back, if its time is not over meanwhile."""
        address = self._address(action)
        now = self._clock.now()
        until = None if before == _ABSENT else datetime.fromtimestamp(int(before), now.tzinfo)
        if until is None or until <= now:
            if address in self._admitted():
                self._gate.expel(address)
            state = self.capture(action)
            return ReadBack(matches=state == _ABSENT, state=state)
        if not self._passes_until(address, until):
            self._gate.admit(address, until - now)
        return ReadBack(matches=self._passes_until(address, until), state=self.capture(action))

    def _passes_until(self, address: str, until: datetime) -> bool:
        left = self._admitted().get(address)
        return left is not None and abs(self._clock.now() + left - until) <= _TOLERANCE


class Admit(_GateVerb):
    """Lets an address pass until an instant, which the kernel itself keeps."""

    def check(self, action: Action) -> None:
        """Refuse what is no address, an hour that is over, and a node whose gate is not in place."""
        self._address(action)
        integer(action, "until", 0, _LATEST)
        if self._until(action) <= self._clock.now():
            raise OrderRefused("its time is over")
        self._admitted()

    def _until(self, action: Action) -> datetime:
        return until_of(action.arguments, self._clock.now())

    def apply(self, action: Action) -> None:
        """Put the address into its set, with what is left of its time."""
        self._gate.admit(self._address(action), self._until(action) - self._clock.now())

    def read_back(self, action: Action) -> ReadBack:
        """Compare the kernel's own hour."""
        matches = self._passes_until(self._address(action), self._until(action))
        return ReadBack(matches=matches, state=self.capture(action))


class Expel(_GateVerb):
    """Lets an address pass no longer."""

    def check(self, action: Action) -> None:
        """Refuse what is no address, and a node whose gate is not in place."""
        self._address(action)
        self._admitted()

    def apply(self, action: Action) -> None:
        """Take the address out of its set."""
        self._gate.expel(self._address(action))

    def read_back(self, action: Action) -> ReadBack:
        """Look whether the kernel forgot it."""
        state = self.capture(action)
        return ReadBack(matches=state == _ABSENT, state=state)
