"""The node's own memory of operations: JSON lines, each on the disk before the step that it announces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from models.errors import ConfigurationInvalid
from models.remedy import DUTIES, ActionReport, ActionState, OperationId, Order

# Long enough that any order of a forgotten operation expired long ago, so that it can never act a second time.
FORGET_AFTER = timedelta(days=1)


class Phase(StrEnum):
    """How far an operation came. ACCEPTED and UNDOING are unfinished business: a restart must undo them."""

    ACCEPTED = "accepted"
    APPLIED = "applied"
    COMMITTED = "committed"
    UNDOING = "undoing"
    UNDONE = "undone"
    REFUSED = "refused"
    FAILED = "failed"


_STATES = {
    Phase.ACCEPTED: ActionState.REQUESTED,
    Phase.APPLIED: ActionState.APPLIED,
    Phase.COMMITTED: ActionState.COMMITTED,
    # Until the undo was read back the change stands, and whoever asks must see that.
    Phase.UNDOING: ActionState.APPLIED,
    Phase.UNDONE: ActionState.UNDONE,
    Phase.REFUSED: ActionState.REFUSED,
    Phase.FAILED: ActionState.FAILED,
}
STANDING = frozenset({Phase.APPLIED, Phase.COMMITTED, Phase.UNDOING})
UNFINISHED = frozenset({Phase.ACCEPTED, Phase.UNDOING})


@dataclass(frozen=True, slots=True)
class Entry:
    """The whole of an operation as of one moment; the last line of an operation is the truth.

    Attributes:
        operation: Which.
        phase: How far it came.
        at: Aware UTC of this phase.
        order: None when a closing order arrived before its order.
        target: The setting it writes (`cost:to-n1`): one writer at a time.
        before: Captured state that the undo restores.
        after: Read-back.
        message: One sentence.
        lease_until: Set while APPLIED.
    """

    operation: OperationId
    phase: Phase
    at: datetime
    order: Order | None = None
    target: str = ""
    before: str = ""
    after: str = ""
    message: str = ""
    lease_until: datetime | None = None

    def moved(
        self,
        phase: Phase,
        at: datetime,
        *,
        message: str,
        after: str | None = None,
        lease_until: datetime | None = None,
    ) -> Entry:
        """Return this operation in its next phase."""
        kept = self.after if after is None else after
        return replace(self, phase=phase, at=at, message=message, after=kept, lease_until=lease_until)

    def report(self) -> ActionReport:
        """Say it as the port says it."""
        return ActionReport(
            operation=self.operation,
            state=_STATES[self.phase],
            before=self.before,
            after=self.after,
            message=self.message,
            at=self.at,
            lease_until=self.lease_until,
        )


def _is_over(entry: Entry, instant: datetime) -> bool:
    """Tell a duty that holds nothing any more: an address expelled, or admitted until an hour that has passed."""
    if entry.order is None or entry.order.action.verb not in DUTIES:
        return False
    return int(entry.order.action.arguments.get("until", 0)) < instant.timestamp()


@dataclass(frozen=True, slots=True)
class _Line:
    epoch: int
    entry: Entry | None = None


_LINE = TypeAdapter(_Line)


class Journal:
    """Operations and the newest epoch, surviving kill -9 at any instruction."""

    def __init__(self, path: Path, now: datetime) -> None:
        """Read what is there, drop what is too old to matter, and open for appending.

        Raises:
            ConfigurationInvalid: a line in the middle cannot be read (a torn last line is what a crash leaves, and
                was never acted on).
        """
        self._path = path
        self._entries: dict[OperationId, Entry] = {}
        self.epoch = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._replay()
        self._forget(now - FORGET_AFTER)
        self._rewrite()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)

    def _replay(self) -> None:
        lines = self._path.read_bytes().split(b"\n") if self._path.exists() else []
        for number, text in enumerate(lines, start=1):
            # What follows the last newline was torn off while being written.
            if number == len(lines):
                break
            try:
                line = _LINE.validate_json(text)
            except ValidationError as error:
                mend = "move it away after checking the node's settings by hand"
                raise ConfigurationInvalid(f"{self._path} line {number} is no journal entry", mend) from error
            self.epoch = max(self.epoch, line.epoch)
            if line.entry is not None:
                self._entries[line.entry.operation] = line.entry

    def _forget(self, instant: datetime) -> None:
        last = {entry.target: entry.operation for entry in self if entry.phase in STANDING}
        for entry in tuple(self):
            needed = entry.phase in UNFINISHED or entry.phase is Phase.APPLIED
            standing = entry.phase is Phase.COMMITTED and last.get(entry.target) == entry.operation
            if entry.at < instant and not needed and (not standing or _is_over(entry, instant)):
                del self._entries[entry.operation]

    def _rewrite(self) -> None:
        fresh = self._path.with_suffix(".new")
        lines = [_Line(self.epoch), *(_Line(self.epoch, entry) for entry in self)]
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(b"".join(_LINE.dump_json(line) + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def _append(self, line: _Line) -> None:
        os.write(self._descriptor, _LINE.dump_json(line) + b"\n")
        os.fsync(self._descriptor)

    def __iter__(self) -> Iterator[Entry]:
        """Yield the latest entry of every operation, in the order in which the operations arrived."""
        return iter(self._entries.values())

    def get(self, operation: OperationId) -> Entry | None:
        """Return the latest entry of one operation."""
        return self._entries.get(operation)

    def write(self, entry: Entry) -> Entry:
        """Put the entry on the disk, then into memory, and return it."""
        self._append(_Line(self.epoch, entry))
        self._entries[entry.operation] = entry
        return entry

    def see(self, epoch: int) -> None:
        """Remember a newer epoch; an older one changes nothing."""
        if epoch > self.epoch:
            self._append(_Line(epoch))
            self.epoch = epoch

    def close(self) -> None:
        """Give the file back. Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
