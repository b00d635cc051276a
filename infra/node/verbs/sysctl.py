"""SET_SYSCTL: forwarding and reverse-path filter, from a closed list."""

from __future__ import annotations

import json

from infra.node.place import NodePlace
from infra.node.sysctls import SWITCHES, allowed, path_of
from infra.node.verbs.base import ReadBack, text
from models.errors import OrderRefused
from models.remedy import Action

_VALUES = frozenset({"0", "1", "2"})


class SetSysctl:
    """Writes one sysctl of the list and reads it back."""

    def __init__(self, place: NodePlace) -> None:
        self._place = place
        self._allowed = allowed(place)

    def _name(self, action: Action) -> str:
        name = text(action, "name")
        if name not in self._allowed:
            raise OrderRefused(f"sysctl {name} is not on the list of this node")
        return name

    def _value(self, action: Action) -> str:
        value = str(action.arguments.get("value"))
        if value not in _VALUES:
            raise OrderRefused(f"{action.verb} wants value 0, 1 or 2, not {value!r}")
        return value

    def _touched(self, name: str) -> tuple[str, ...]:
        """Return the sysctls that writing `name` writes, itself first."""
        if name not in SWITCHES:
            return (name,)
        return (name, *(one for one in self._allowed if one.endswith(".forwarding") and one != name))

    def target(self, action: Action) -> str:
        """Name the sysctl."""
        return f"sysctl:{self._name(action)}"

    def check(self, action: Action) -> None:
        """Refuse names off the list, values other than 0..2, and sysctls this kernel lacks."""
        self._value(action)
        path = path_of(self._name(action))
        if not path.exists():
            raise OrderRefused(f"{path} does not exist on {self._place.node}")

    def capture(self, action: Action) -> str:
        """Return what the write will touch, as JSON name -> value."""
        return json.dumps({name: path_of(name).read_text().strip() for name in self._touched(self._name(action))})

    def apply(self, action: Action) -> None:
        """Write it."""
        path_of(self._name(action)).write_text(self._value(action))

    def read_back(self, action: Action) -> ReadBack:
        """Compare the kernel's value."""
        name = self._name(action)
        return ReadBack(matches=path_of(name).read_text().strip() == self._value(action), state=self.capture(action))

    def undo(self, action: Action, before: str) -> ReadBack:
        """Write back every value the change touched, the switch first because it overwrites the rest."""
        if self.capture(action) != before:
            for name, value in json.loads(before).items():
                path_of(name).write_text(value)
        now = self.capture(action)
        return ReadBack(matches=now == before, state=now)
