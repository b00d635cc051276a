"""Talking to a routing daemon: what both kinds can be asked, and the socket behind it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Protocol

from infra.node.place import Daemon
from models.errors import ConfigurationInvalid, SourceUnavailable

# A living daemon answers in a millisecond; a hung one (SIGSTOP) accepts the connection and never answers.
_ANSWER_S = 1.0
_CHUNK = 65536


class DaemonControl(Protocol):
    """A routing daemon's control socket. Every method raises SourceUnavailable when the daemon does not answer."""

    patience_s: float
    """How long a neighbour may honestly need to be heard again after a change, in seconds."""

    def cost(self, interface: str) -> int | None:
        """Return the cost in force on an interface; None while the daemon cannot tell (nobody heard there)."""

    def set_cost(self, interface: str, cost: int) -> None:
        """Put a cost in force on an interface, keeping its other options. Twice is once."""

    def neighbours(self) -> int:
        """Count the neighbours that routing could use now."""


class ControlSocket:
    """One connection to a daemon's control socket: a greeting, then a command and its answer, in turns."""

    def __init__(self, path: Path, is_complete: Callable[[str], bool]) -> None:
        """Connect and read the greeting.

        Args:
            path: The daemon's unix socket.
            is_complete: Tells from the text so far whether an answer has ended.

        Raises:
            SourceUnavailable: nobody listens or nobody answers.
        """
        self._path = path
        self._is_complete = is_complete
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_ANSWER_S)
        try:
            self._socket.connect(str(path))
            self._read()
        except (OSError, SourceUnavailable) as error:
            self._socket.close()
            raise SourceUnavailable(f"routing daemon at {path}", str(error)) from error

    def _read(self) -> str:
        answer = ""
        while not self._is_complete(answer):
            received = self._socket.recv(_CHUNK)
            if not received:
                raise SourceUnavailable(f"routing daemon at {self._path}", "it closed the connection")
            answer += received.decode(errors="replace")
        return answer

    def ask(self, command: str) -> str:
        """Send one command and return its whole answer."""
        try:
            self._socket.sendall(command.encode() + b"\n")
            return self._read()
        except OSError as error:
            raise SourceUnavailable(f"routing daemon at {self._path}", str(error)) from error

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def read_configuration(daemon: Daemon) -> str:
    """Return the text of a daemon's configuration file.

    Raises:
        ConfigurationInvalid: it cannot be read.
    """
    try:
        return daemon.config.read_text()
    except OSError as error:
        mend = "mend daemon.config in node.json"
        raise ConfigurationInvalid(f"{daemon.kind}'s configuration cannot be read ({error})", mend) from error


def ask_in_turn(daemon: Daemon, is_complete: Callable[[str], bool], *commands: str) -> list[str]:
    """Send commands over one connection and return their answers. Arguments and errors as ControlSocket."""
    with closing(ControlSocket(daemon.socket, is_complete)) as connection:
        return [connection.ask(command) for command in commands]
