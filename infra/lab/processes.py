"""Processes of a lab: starting routing daemons detached, finding and ending whatever lives in our namespaces."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog

from infra.node.netns import entered
from infra.node.place import NodePlace
from models.errors import NodeUnavailable

log = structlog.get_logger()
START_SECONDS = 5.0  # a daemon writes its pidfile in milliseconds; a loaded machine may take a second
TERM_SECONDS = 2.0  # babeld says goodbye to its neighbours at once; a stopped one never will
LOOK_SECONDS = 0.02  # between two looks at the process table
SECOND_LOOK_SECONDS = 0.05  # a process that enters a namespace for one call is gone from it by then


def start_daemon(place: NodePlace) -> int:
    """Start the node's routing daemon in its namespace, detached from this process, and return its pid.

    Raises:
        NodeUnavailable: it did not write its pidfile in time; its log says why.
    """
    return start_daemons((place,))[0]


def start_daemons(places: Sequence[NodePlace]) -> tuple[int, ...]:
    """Start several nodes' daemons at once; as `start_daemon`."""
    for place in places:
        _launch(place)
    deadline = time.monotonic() + START_SECONDS
    pids = []
    for place in places:
        while (pid := daemon_pid(place)) is None:
            if time.monotonic() > deadline:
                raise NodeUnavailable(place.node, f"its routing daemon did not start, see {place.folder}/daemon.out")
            time.sleep(LOOK_SECONDS)
        pids.append(pid)
    return tuple(pids)


def _launch(place: NodePlace) -> None:
    if place.daemon is None:
        raise NodeUnavailable(place.node, "it has no routing daemon")
    place.daemon.pidfile.unlink(missing_ok=True)  # babeld refuses to start over a dead one's file
    place.daemon.socket.unlink(missing_ok=True)
    # setsid --fork: the daemon outlives whoever builds the lab, and is nobody's zombie here.
    command = ["setsid", "--fork", *place.daemon.command]
    with (place.folder / "daemon.out").open("ab") as out, entered(place.netns):
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=True)


def daemon_pid(place: NodePlace) -> int | None:
    """Return the pid of the node's routing daemon; None unless a live process with exactly its command has it."""
    if place.daemon is None:
        return None
    try:
        pid = int(place.daemon.pidfile.read_text())
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if tuple(line.decode().split("\0")[:-1]) == place.daemon.command else None


def living_in(namespaces: Iterable[Path]) -> frozenset[int]:
    """Return the pids of processes whose network namespace is one of these files, ourselves left out."""
    inodes = {path.stat().st_ino for path in namespaces}
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                inode = (folder / "ns/net").stat().st_ino
            except OSError:
                continue  # it ended while we looked, or is a zombie: either way it holds no namespace
            if inode in inodes:
                found.add(int(folder.name))
    return frozenset(found)


def end_all_in(namespaces: Iterable[Path]) -> None:
    """End every process that lives in these namespaces: TERM, then KILL; a stopped one is woken to hear it."""
    paths = tuple(namespaces)
    first = living_in(paths)
    if not first:
        return
    time.sleep(SECOND_LOOK_SECONDS)
    doomed = first & living_in(paths)
    _signal(doomed, signal.SIGTERM)
    _signal(doomed, signal.SIGCONT)
    if not _gone(paths, doomed):
        log.info("processes did not end by themselves", pids=sorted(doomed))
        _signal(doomed & living_in(paths), signal.SIGKILL)
        _gone(paths, doomed)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue  # it ended by itself, which is what we want


def _gone(paths: tuple[Path, ...], pids: frozenset[int]) -> bool:
    deadline = time.monotonic() + TERM_SECONDS
    while pids & living_in(paths):
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True
