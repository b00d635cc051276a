"""Who a process is, so that a signal never reaches a stranger: a pid is reused, a pid with its start time is not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

MARK = "X0_SUPERVISED"
"""Environment variable that everything started by a supervisor carries and hands down to what it starts itself."""

_LOOK_AGAIN_SECONDS = 0.05  # a stop is noticed at once by people; twenty looks a second cost nothing


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, now and for ever.

    Attributes:
        pid: Its number.
        started: Clock ticks since boot at its start (field 22 of /proc/<pid>/stat).
        boot: The kernel's boot id; ticks begin again with every boot.
    """

    pid: int
    started: int
    boot: str


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What /proc says of a process at one moment."""

    identity: Identity
    parent: int
    group: int
    is_zombie: bool


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def look(pid: int) -> ProcessState | None:
    """Read one process; None when there is none of that number."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in brackets may itself hold brackets and blanks: fields are counted from the last one.
    fields = text[text.rindex(")") + 2 :].split()
    identity = Identity(pid, int(fields[19]), boot_id())
    return ProcessState(identity, parent=int(fields[1]), group=int(fields[2]), is_zombie=fields[0] in "ZX")


def everyone() -> Iterator[ProcessState]:
    """Yield every process of this machine that is there to be seen."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (state := look(int(entry.name))) is not None:
            yield state


def is_alive(identity: Identity) -> bool:
    """Say whether that very process still runs; a zombie does not."""
    state = look(identity.pid)
    return state is not None and state.identity == identity and not state.is_zombie


def environment(pid: int) -> dict[str, str]:
    """Return the environment a process was started with; empty when it is gone or not ours to read."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return {}
    pairs = (item.partition("=") for item in raw.decode(errors="replace").split("\0") if item)
    return {name: value for name, _, value in pairs}


def group_of(leader: Identity) -> list[Identity]:
    """Return the living members of the process group that `leader` founded, also after the leader's death.

    A group's number cannot be given away while anyone is in it; once the number belongs to another leader, none of its
    members are ours.
    """
    holder = look(leader.pid)
    if holder is not None and holder.identity != leader:
        return []
    return [one.identity for one in everyone() if one.group == leader.pid and not one.is_zombie]


def marked(mark: str) -> list[Identity]:
    """Return every living process whose environment carries `mark`, this one left out."""
    return [
        one.identity
        for one in everyone()
        if one.identity.pid != os.getpid() and not one.is_zombie and environment(one.identity.pid).get(MARK) == mark
    ]


def send(identity: Identity, signal_number: signal.Signals) -> bool:
    """Signal that very process, through a pidfd so that no stranger can slip in; False when it is gone."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(identity):
            return False
        signal.pidfd_send_signal(handle, signal_number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


async def end(
    processes: Collection[Identity], *, first: signal.Signals = signal.SIGTERM, grace_seconds: float
) -> list[Identity]:
    """End processes: `first`, then a wait of at most `grace_seconds`, then KILL.

    Returns:
        Those that had to be killed.
    """
    waiting = [one for one in processes if send(one, first)]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + grace_seconds
    while waiting and loop.time() < deadline:
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        waiting = [one for one in waiting if is_alive(one)]
    killed = [one for one in waiting if send(one, signal.SIGKILL)]
    left = killed
    while left:
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        left = [one for one in left if is_alive(one)]
    return killed
