"""What a benchmark writes: one JSON object with a row per figure, and the same as a table for people."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Table

from infra.clock import SystemClock

ROOT = Path(__file__).parents[2]
Better = Literal["lower", "higher"]


class Machine(BaseModel):
    """Where it was measured."""

    model_config = ConfigDict(frozen=True)

    cpu: str
    cores: int
    kernel: str
    python: str


class Row(BaseModel):
    """One figure.

    Attributes:
        case: What was done: a fault, a phase.
        metric: What was measured; its unit stands beside it.
        unit: `s`, `share`, `runs`, ...
        value: None where something did not finish: never a guess.
        n: How many measurements it rests on.
        interval: 95 %, where one can be given.
        peers: The same figure of what ours is compared with, measured interleaved with it.
        peer_intervals: Theirs.
        goal: What was promised; None: this figure only informs.
        better: Which way is better.
    """

    model_config = ConfigDict(frozen=True)

    case: str
    metric: str
    unit: str
    value: float | None
    n: int = Field(ge=0)
    interval: tuple[float, float] | None = None
    peers: dict[str, float | None] = {}
    peer_intervals: dict[str, tuple[float, float]] = {}
    goal: float | None = None
    better: Better = "lower"

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None without a goal. What was not measured meets nothing."""
        if self.goal is None:
            return None
        if self.value is None:
            return False
        return self.value <= self.goal if self.better == "lower" else self.value >= self.goal


class Report(BaseModel):
    """Everything one benchmark found."""

    model_config = ConfigDict(frozen=True)

    bench: str
    commit: str
    machine: Machine
    seed: int
    started: datetime
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_met(self) -> bool:
        """Whether every goal is met."""
        return all(row.is_met is not False for row in self.rows)

    def write(self, path: Path) -> None:
        """Write the one object; a reader never sees half of it."""
        growing = path.with_name(f"{path.name}.new")
        growing.write_text(self.model_dump_json(indent=1) + "\n")
        growing.replace(path)


@dataclass(frozen=True, slots=True)
class Run:
    """A benchmark that has begun; its report says where and of what it was.

    Attributes:
        commit: What is measured; taken at the beginning, for whoever changes the tree meanwhile.
        started: Aware UTC.
    """

    bench: str
    seed: int
    commit: str
    started: datetime

    @classmethod
    def begin(cls, bench: str, *, seed: int) -> Run:
        """Note when and of what."""
        return cls(bench, seed, commit(), SystemClock().now())

    def report(self, rows: Iterable[Row], notes: Iterable[str] = ()) -> Report:
        """Return what was found, of this machine."""
        return Report(
            bench=self.bench,
            commit=self.commit,
            machine=machine(),
            seed=self.seed,
            started=self.started,
            rows=tuple(rows),
            notes=tuple(notes),
        )


def machine() -> Machine:
    """Say what this machine is."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return Machine(
        cpu=names[0] if names else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        kernel=platform.release(),
        python=platform.python_version(),
    )


def commit() -> str:
    """Return the commit that is measured; `-changed` behind it when files differ from it, `unknown` outside git."""
    asked = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        return "unknown"
    differs = subprocess.run(["git", "-C", str(ROOT), "diff", "--quiet", "HEAD"], capture_output=True, check=False)
    return asked.stdout.strip() + ("-changed" if differs.returncode else "")


def show(report: Report, console: Console) -> None:
    """Print the table, the notes, and a line per goal."""
    peers = list(dict.fromkeys(name for row in report.rows for name in row.peers))
    table = Table(title=f"{report.bench} at {report.commit[:12]}, seed {report.seed}", title_justify="left")
    for name in ("case", "metric", "n"):
        table.add_column(name)
    for name in ("value", *peers, "goal"):
        table.add_column(name, justify="right")
    for row in report.rows:
        wish = "" if row.goal is None else f"{'<=' if row.better == 'lower' else '>='} {row.goal:g}"
        shown = [_figure(row.value, row.interval)]
        shown += [_figure(row.peers[name], row.peer_intervals.get(name)) if name in row.peers else "" for name in peers]
        colour = {None: "", True: "green", False: "red"}[row.is_met]
        table.add_row(row.case, f"{row.metric} ({row.unit})", str(row.n), *shown, wish, style=colour)
    console.print(table)
    for note in report.notes:
        console.print(f"note: {note}", markup=False)
    for line in goal_lines(report.rows):
        console.print(line, markup=False)


def goal_lines(rows: Sequence[Row]) -> list[str]:
    """Say of each goal whether it is met, by how much, and on how many measurements."""
    lines = []
    for row in rows:
        if row.goal is not None:
            verdict = "met    " if row.is_met else "NOT MET"
            wish = f"{'<=' if row.better == 'lower' else '>='} {row.goal:g}"
            found = "not measured" if row.value is None else f"{row.value:.3g}"
            lines.append(f"{verdict}  {row.case} {row.metric}: {found} {row.unit}, goal {wish}, n={row.n}")
    return lines


def _figure(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" + (f" [{interval[0]:.3g}, {interval[1]:.3g}]" if interval else "")
