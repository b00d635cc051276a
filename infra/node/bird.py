"""BIRD over its control socket: costs are edited in its configuration file, then put in force by `configure`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from infra.node.control import ask_in_turn, read_configuration
from infra.node.place import Daemon
from models.errors import ConfigurationInvalid, SourceUnavailable

# `0003 Reconfigured`: four digits and a blank end an answer, a minus goes on.
_END = re.compile(r"^\d{4} [^\n]*\n\Z", re.MULTILINE)
_DONE_CODES = ("0003", "0004")
_OSPF_USABLE = ("Full", "2-Way")
# OSPF's own default hello; two hellos to be seen, and the exchange of the database after it.
_DEFAULT_HELLO_S, _HELLOS, _SLACK_S = 10.0, 2.5, 3.0


def _is_complete(answer: str) -> bool:
    """Tell whether an answer ended."""
    return _END.search(answer) is not None


def with_cost(config: str, interface: str, cost: int) -> str:
    """Return the configuration with another cost on one interface.

    OSPF calls it `cost`, Babel `rxcost`; which one is told by the protocol block around the interface.

    Raises:
        ConfigurationInvalid: no OSPF or Babel block names the interface on its own.
    """
    pattern = re.compile(rf'(interface\s+"{re.escape(interface)}"\s*\{{)([^{{}}]*)\}}')
    for found in pattern.finditer(config):
        protocols = re.findall(r"\bprotocol\s+(ospf|babel|bfd|[a-z]+)", config[: found.start()])
        if not protocols or protocols[-1] not in {"ospf", "babel"}:
            continue
        word = "cost" if protocols[-1] == "ospf" else "rxcost"
        options, changed = re.subn(rf"\b{word}\s+\d+\s*;", f"{word} {cost};", found[2])
        if not changed:
            options = f" {word} {cost};{found[2]}"
        return f"{config[: found.start()]}{found[1]}{options}}}{config[found.end() :]}"
    mend = f'give it a block `interface "{interface}" {{ cost N; }};`'
    raise ConfigurationInvalid(f"BIRD's configuration names no interface {interface}", mend)


def cost_in_answer(ospf: str, babel: str, interface: str) -> int | None:
    """Read the cost from `show ospf interface` or `show babel interfaces`; None when neither knows the interface."""
    block = re.search(rf"Interface {re.escape(interface)} \(.*?\n(.*?)(?=\nInterface |\Z)", ospf, re.DOTALL)
    if block and (cost := re.search(r"Cost:\s+(\d+)", block[1])):
        return int(cost[1])
    # Columns: interface, state, auth, rx cost; the code of the line may stand before them.
    row = re.search(rf"^[\d\s-]*{re.escape(interface)}\s+Up\s+\S+\s+(\d+)\s", babel, re.MULTILINE)
    return int(row[1]) if row else None


class Bird:
    """Implements DaemonControl."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        hellos = [
            float(one) for one in re.findall(r"\bhello\s+(?:interval\s+)?(\d+)", read_configuration(self._daemon))
        ]
        self.patience_s = _HELLOS * max(hellos, default=_DEFAULT_HELLO_S) + _SLACK_S

    def _ask(self, *commands: str) -> list[str]:
        return ask_in_turn(self._daemon, _is_complete, *commands)

    def cost(self, interface: str) -> int | None:
        """Return the cost BIRD says is in force."""
        ospf, babel = self._ask("show ospf interface", "show babel interfaces")
        return cost_in_answer(ospf, babel, interface)

    def set_cost(self, interface: str, cost: int) -> None:
        """Edit the file (so that a restart keeps the cost) and reconfigure softly."""
        _replace(self._daemon.config, with_cost(read_configuration(self._daemon), interface, cost))
        answer = self._ask("configure soft")[0]
        if not answer.splitlines()[-1].startswith(_DONE_CODES):
            raise SourceUnavailable("BIRD", f"it would not reconfigure: {answer.splitlines()[-1]}")

    def neighbours(self) -> int:
        """Count OSPF neighbours in a usable state, and Babel neighbours with a finite metric."""
        ospf, babel = self._ask("show ospf neighbors", "show babel neighbors")
        usable = sum(any(state in line for state in _OSPF_USABLE) for line in ospf.splitlines())
        heard = re.findall(r"^[\d\s-]*fe80\S+\s+\S+\s+(\d+)\s", babel, re.MULTILINE)
        return usable + sum(int(metric) < 65535 for metric in heard)  # noqa: PLR2004 - Babel's infinity


def _replace(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old one or the new one, with the old one's owner and mode."""
    old = path.stat()
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.chmod(old.st_mode)
    os.chown(fresh, old.st_uid, old.st_gid)
    fresh.replace(path)
