"""babeld over its read-write local socket.

Found by trying, 1.12.1: `interface X rxcost N` on a live interface answers ok and moves nothing; `flush interface X`
and adding it again does. The old neighbour lingers in `dump` with its old cost until its reach runs dry; the list is
newest first, so the first line of an interface is the one in force. rxcost 65535 means "not heard often enough yet".

Price, measured on a six-node ring with a chord and hello 1 s: the link is out of use from the flush until two hellos
were heard (1.0 to 1.7 s), and where babeld's feasibility condition bars the way round, its two ends have no route to
each other for up to a second, until a sequence number request is answered.
"""

from __future__ import annotations

from infra.node.control import ask_in_turn, read_configuration
from infra.node.place import Daemon
from models.errors import SourceUnavailable

_INFINITY = 65535
# babeld's own default, where the configuration names no interval.
_DEFAULT_HELLO_S = 4.0
# A wired neighbour counts again after two hellos; half a hello and a second more for a busy machine.
_HELLOS, _SLACK_S = 2.5, 1.0
_OPTION_WORDS = 2


def _is_complete(answer: str) -> bool:
    """Tell whether an answer ended: its last line is ok, no or bad."""
    lines = answer.splitlines()
    return answer.endswith("\n") and lines[-1].split(" ")[0] in {"ok", "no", "bad"}


def interface_options(config: str, interface: str) -> dict[str, str]:
    """Return an interface's options as the configuration file has them; empty when it names none."""
    for line in config.splitlines():
        words = line.split("#")[0].split()
        if len(words) >= _OPTION_WORDS and words[:2] == ["interface", interface]:
            return dict(zip(words[2::2], words[3::2], strict=False))
    return {}


def interface_line(config: str, interface: str, cost: int) -> str:
    """Write the statement that adds the interface with this cost and its other options unchanged."""
    options = {"type": "wired", **interface_options(config, interface), "rxcost": str(cost)}
    return " ".join(["interface", interface, *(word for option in options.items() for word in option)])


def cost_in_dump(dump: str, interface: str) -> int | None:
    """Return the rxcost of the newest neighbour on an interface; None when none is heard."""
    for line in dump.splitlines():
        words = line.split()
        if words[:2] == ["add", "neighbour"] and words[words.index("if") + 1] == interface:
            cost = int(words[words.index("rxcost") + 1])
            return cost if cost < _INFINITY else None
    return None


class Babeld:
    """Implements DaemonControl."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        hellos = [
            float(words[words.index("hello-interval") + 1])
            for words in (line.split("#")[0].split() for line in read_configuration(self._daemon).splitlines())
            if "hello-interval" in words[:-1]
        ]
        self.patience_s = _HELLOS * max(hellos, default=_DEFAULT_HELLO_S) + _SLACK_S

    def _ask(self, *commands: str) -> list[str]:
        return ask_in_turn(self._daemon, _is_complete, *commands)

    def cost(self, interface: str) -> int | None:
        """Return the cost its newest neighbour is heard at."""
        return cost_in_dump(self._ask("dump")[0], interface)

    def set_cost(self, interface: str, cost: int) -> None:
        """Flush the interface and add it again with the cost; its neighbour is heard again within two hellos."""
        added = self._ask(
            f"flush interface {interface}", interface_line(read_configuration(self._daemon), interface, cost)
        )[1]
        # A flush of an interface it does not have answers "no", which is as good as flushed; the adding must be ok.
        if not added.startswith("ok"):
            raise SourceUnavailable("babeld", f"it would not add {interface}: {added.strip()}")

    def neighbours(self) -> int:
        """Count interfaces on which a neighbour is heard."""
        dump = self._ask("dump")[0]
        words = (line.split() for line in dump.splitlines() if line.startswith("add interface"))
        return sum(cost_in_dump(dump, one[2]) is not None for one in words)
