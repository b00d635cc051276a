"""Finished attempts at trials, a line of JSON each: what makes a benchmark resumable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Generic, Literal, Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.lab.verdict import TrialResult
from models.errors import ConfigurationInvalid
from tests.bench.cells import Arm, Cell

ATTEMPTS = 4  # a place that voids its trial so often will again


class Line(Protocol):
    """Whatever a benchmark keeps a line of."""

    @property
    def seed(self) -> int:
        """The benchmark's."""

    def model_dump_json(self) -> str:
        """Return it as one line."""

    @classmethod
    def model_validate_json(cls, json_data: str) -> Self:
        """Read a line back; ValidationError where it is none."""


Kept = TypeVar("Kept", bound=Line)


class Record(BaseModel):
    """One attempt at a cell.

    Attributes:
        case: Of the cell, as are arm and number.
        seed: The benchmark's.
        commit: What was measured.
        end: `counts`, `void` (the trial proves nothing, `result.void` says why) or `error`.
        error: The reason; empty unless it failed.
        result: None where it failed.
        wall_s: The attempt took, lab and all.
        cpu_s: Processor time of the controller's own process and the children it waited for; None where unknown.
        load: The machine's load average of a minute, at the end.
    """

    model_config = ConfigDict(frozen=True)

    case: str
    arm: Arm
    number: int
    seed: int
    commit: str
    end: Literal["counts", "void", "error"]
    error: str = ""
    result: TrialResult | None = None
    wall_s: float
    cpu_s: float | None = None
    load: float

    @property
    def cell(self) -> Cell:
        """Which cell it was an attempt at."""
        return Cell(self.case, self.arm, self.number)


class Lines(Generic[Kept]):
    """The file beside a report. Lines are only ever added; one that a crash cut short is left out."""

    def __init__(self, path: Path, of: type[Kept], *, seed: int) -> None:
        self._path = path
        self._of = of
        self._seed = seed

    def read(self) -> list[Kept]:
        """Return what was finished, oldest first.

        Raises:
            ConfigurationInvalid: the file belongs to a run with another seed, or is damaged before its last line.
        """
        lines = self._path.read_text().splitlines(keepends=True) if self._path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        try:
            records = [self._of.model_validate_json(line) for line in whole]
        except ValidationError as error:
            raise ConfigurationInvalid(f"{self._path} is damaged ({error})", "move it away to begin anew") from error
        for other in {record.seed for record in records} - {self._seed}:
            raise ConfigurationInvalid(
                f"{self._path} was begun with seed {other}", f"give --seed {other}, or another --json FILE"
            )
        return records

    def add(self, record: Kept) -> None:
        """Add a line; a last line without its end is cut off first, so that it spoils no other."""
        text = self._path.read_bytes() if self._path.exists() else b""
        if text and not text.endswith(b"\n"):
            self._path.write_bytes(text[: text.rfind(b"\n") + 1])
        with self._path.open("a") as file:
            file.write(record.model_dump_json() + "\n")


class Records(Lines[Record]):
    """Finished attempts at trials."""

    def __init__(self, path: Path, *, seed: int) -> None:
        super().__init__(path, Record, seed=seed)


def wanting(plan: Sequence[Cell], records: Iterable[Record]) -> list[Cell]:
    """Return the cells that still need an attempt, in the plan's order: no trial that counts, and attempts left."""
    counted: set[Cell] = set()
    attempts: dict[Cell, int] = {}
    for record in records:
        attempts[record.cell] = attempts.get(record.cell, 0) + 1
        if record.end == "counts":
            counted.add(record.cell)
    return [cell for cell in plan if cell not in counted and attempts.get(cell, 0) < ATTEMPTS]
