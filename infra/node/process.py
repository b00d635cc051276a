"""The routing daemon's process: finding it, ending it by its verified pid, starting it detached."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from infra.node.place import Daemon, NodePlace
from models.errors import SourceUnavailable, ToolMissing
from models.telemetry import DaemonState

# babeld says goodbye to its neighbours and leaves within some milliseconds; a daemon that needs longer is hung.
_TERM_S = 2.0
_KILL_S = 2.0
# A daemon opens its control socket within milliseconds; a loaded machine may take seconds.
_START_S = 5.0
_LOOK_S = 0.02


def state_of(pid: int) -> str:
    """Return the process's state letter (`S`, `T`, `Z`, ...); empty when there is no such process."""
    try:
        # The name in parentheses may hold blanks; the state follows the last parenthesis.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _is_daemon(pid: int, daemon: Daemon) -> bool:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return tuple(line.decode(errors="replace").split("\0")[:-1]) == daemon.command


def recorded_pid(daemon: Daemon) -> int | None:
    """Return the pid in the pidfile, if a process with exactly the daemon's command has it."""
    try:
        pid = int(daemon.pidfile.read_text())
    except (OSError, ValueError):
        return None
    return pid if _is_daemon(pid, daemon) and state_of(pid) not in {"Z", "X", ""} else None


def look(daemon: Daemon) -> DaemonState:
    """Tell whether the daemon runs, is stopped (hung), or is gone. Two small reads; cheap enough for every sample."""
    pid = recorded_pid(daemon)
    if pid is None:
        return DaemonState.ABSENT
    return DaemonState.STOPPED if state_of(pid) in {"T", "t"} else DaemonState.RUNNING


def find(daemon: Daemon) -> int | None:
    """Return the daemon's pid, also when its pidfile was lost: the command, which names its own files, tells it."""
    pid = recorded_pid(daemon)
    if pid is not None:
        return pid
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _is_daemon(int(folder.name), daemon) and state_of(int(folder.name)) != "Z":
            return int(folder.name)
    return None


def _send(pid: int, number: signal.Signals, daemon: Daemon) -> None:
    if _is_daemon(pid, daemon):
        os.kill(pid, number)


def _ended(pid: int, daemon: Daemon, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _is_daemon(pid, daemon) and state_of(pid) not in {"Z", ""}:
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def end(daemon: Daemon) -> None:
    """End the daemon: TERM, wake it if it was stopped, wait, KILL.

    Raises:
        SourceUnavailable: it outlived even KILL (stuck in the kernel).
    """
    pid = find(daemon)
    if pid is None:
        return
    _send(pid, signal.SIGTERM, daemon)
    _send(pid, signal.SIGCONT, daemon)
    if _ended(pid, daemon, _TERM_S):
        return
    _send(pid, signal.SIGKILL, daemon)
    if not _ended(pid, daemon, _KILL_S):
        raise SourceUnavailable(f"routing daemon, pid {pid}", "it does not die")


def _listens(path: Path) -> bool:
    """Tell whether a connection is taken; the file alone is there a moment before anybody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
        attempt.settimeout(_LOOK_S)
        return attempt.connect_ex(str(path)) == 0


def start(place: NodePlace, daemon: Daemon) -> int:
    """Start the daemon in this thread's namespace, detached, and return its pid once its socket takes connections.

    Raises:
        SourceUnavailable: it did not come up; its words are in daemon.out in the node's folder.
        ToolMissing: the program is not installed.
    """
    # babeld will not start over a dead one's pidfile.
    daemon.pidfile.unlink(missing_ok=True)
    daemon.socket.unlink(missing_ok=True)
    with (place.folder / "daemon.out").open("ab") as out:
        try:
            # setsid --fork: nobody's zombie here, and no signal to our group reaches it.
            subprocess.run(
                ["setsid", "--fork", *daemon.command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=True
            )
        except FileNotFoundError as error:
            raise ToolMissing("setsid", "apt install util-linux") from error
        except subprocess.CalledProcessError as error:
            raise SourceUnavailable(f"routing daemon of {place.node}", str(error)) from error
    deadline = time.monotonic() + _START_S
    while (pid := find(daemon)) is None or not _listens(daemon.socket):
        if time.monotonic() > deadline:
            raise SourceUnavailable(f"routing daemon of {place.node}", f"not started, see {place.folder}/daemon.out")
        time.sleep(_LOOK_S)
    if recorded_pid(daemon) is None:
        daemon.pidfile.write_text(f"{pid}\n")
    return pid
