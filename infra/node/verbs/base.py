"""What every verb promises, and how its arguments are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from infra.node.place import LinkEnd, NodePlace
from models.errors import OrderRefused
from models.remedy import Action


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What the kernel or the daemon says now, and whether that is what was wanted.

    Attributes:
        matches: The state is the wanted one.
        state: The state in the captured form, so that it can be compared with `before`.
        note: What a person should know beside it; empty when nothing.
    """

    matches: bool
    state: str
    note: str = ""


class VerbHandler(Protocol):
    """One closed verb. All methods block; none is called twice at a time.

    Errors are those of models.errors or OSError; anything but OrderRefused makes the operation undo itself.
    """

    def target(self, action: Action) -> str:
        """Name the setting this action writes; two operations on one target never overlap."""

    def check(self, action: Action) -> None:
        """Refuse arguments and states that the verb is not for.

        Raises:
            OrderRefused: with the reason.
        """

    def capture(self, action: Action) -> str:
        """Return the present state, enough to put it back exactly."""

    def apply(self, action: Action) -> None:
        """Change it. Doing it twice is doing it once."""

    def read_back(self, action: Action) -> ReadBack:
        """Ask the kernel or the daemon, waiting as long as the change may honestly take."""

    def undo(self, action: Action, before: str) -> ReadBack:
        """Put `before` back and read back; where it stands already, touch nothing."""


def integer(action: Action, name: str, low: int, high: int) -> int:
    """Return an integer argument within low..high; OrderRefused otherwise."""
    value = action.arguments.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise OrderRefused(f"{action.verb} wants {name} from {low} to {high}, not {value!r}")
    return value


def text(action: Action, name: str) -> str:
    """Return a string argument; OrderRefused when it is missing or no string."""
    value = action.arguments.get(name)
    if not isinstance(value, str):
        raise OrderRefused(f"{action.verb} wants {name} as text, not {value!r}")
    return value


def link_end(place: NodePlace, action: Action) -> LinkEnd:
    """Return the mesh link whose interface the action names; OrderRefused for any other interface of the node."""
    name = text(action, "interface")
    for link in place.links:
        if link.interface == name:
            return link
    raise OrderRefused(f"{name!r} is no mesh interface of {place.node}")
