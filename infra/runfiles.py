"""What runs, on disk: one file a process, so that `status` can tell and a crash can be cleaned up after."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import structlog

from infra.process import Identity, end, group_of, is_alive, look, marked
from models.errors import ConfigurationInvalid, RefusedError

log = structlog.get_logger()

SWEEP_GRACE_SECONDS = 5.0  # what was left behind gets as long as a process gets by default
GROUP_GRACE_SECONDS = 1.0  # the members of a group whose leader has gone have nothing left to finish


class Phase(StrEnum):
    """Where a process stands."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DOWN = "down"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run file says: enough for `status`, and to end the process after a crash of its supervisor."""

    name: str
    identity: Identity
    phase: Phase
    restarts: int
    order: int
    log: str
    stop_signal: int
    stop_seconds: float


def write(run: Path, record: RunRecord) -> None:
    """Put a record in place at once: a reader sees the old one or the new one."""
    written = run / f".{record.name}.new"
    written.write_text(json.dumps(asdict(record)))
    written.replace(run / f"{record.name}.json")


def recorded(run: Path) -> list[RunRecord]:
    """Read every run file of a folder, in order of start; the processes may be dead by now."""
    records = []
    for path in sorted(run.glob("*.json")):
        try:
            facts = json.loads(path.read_text())
            facts["identity"] = Identity(**facts["identity"])
            facts["phase"] = Phase(facts["phase"])
            records.append(RunRecord(**facts))
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationInvalid(f"{path} is no run file ({error})", "remove it") from error
    return sorted(records, key=lambda one: (one.order, one.name))


async def end_recorded(run: Path, *, mark: str) -> int:
    """End every process that the run files name, last started first, then all that carry `mark`.

    Works for a living supervisor and after the crash of one. Removes the run files.

    Returns:
        How many processes were ended.
    """
    records = recorded(run)
    count = 0
    for order in sorted({one.order for one in records}, reverse=True):
        level = [one for one in records if one.order == order]
        count += sum(await asyncio.gather(*(_end_group(one) for one in level)))
    left = marked(mark)
    await end(left, grace_seconds=SWEEP_GRACE_SECONDS)
    for one in records:
        (run / f"{one.name}.json").unlink(missing_ok=True)
    return count + len(left)


async def _end_group(record: RunRecord) -> int:
    """Signal the leader politely, give the whole group its time, kill what stays."""
    leader = record.identity
    members = group_of(leader)
    first = signal.Signals(record.stop_signal)
    if is_alive(leader):
        # The leader knows best how to end its own children; they get no signal of their own until it is gone.
        await end([leader], first=first, grace_seconds=record.stop_seconds)
    killed = await end(group_of(leader), first=signal.SIGTERM, grace_seconds=GROUP_GRACE_SECONDS)
    if killed:
        log.warning("process had to be killed", process=record.name, pids=[one.pid for one in killed])
    return len(members)


@contextlib.contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Hold the state folder's lock; it is given back with the process, however that ends.

    Raises:
        RefusedError: another supervisor runs on this folder.
    """
    state.mkdir(parents=True, exist_ok=True)
    with (state / "up.lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _name_holder(state)
        except BlockingIOError as error:
            raise RefusedError(f"{state} is in use: `x0tta6bl4 up` runs already; stop it or choose X0_STATE") from error
        yield


def _name_holder(state: Path) -> None:
    me = look(os.getpid())
    if me is not None:
        (state / "up.json").write_text(json.dumps(asdict(me.identity)))


def lock_holder(state: Path) -> Identity | None:
    """Return who supervises this state folder now; None when nobody does."""
    path = state / "up.json"
    if not path.exists():
        return None
    try:
        holder = Identity(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ConfigurationInvalid(f"{path} names no process ({error})", "remove it") from error
    return holder if is_alive(holder) else None
