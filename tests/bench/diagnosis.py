"""Which element broke, and what: the rules, the engines and their blends on the same recorded faults of the lab.

    x0tta6bl4 bench diagnosis --json FILE --record DIR [--rounds 5] [--parallel 2]     # record (root), then judge
    x0tta6bl4 bench diagnosis --json FILE --from DIR [--side develop]                  # judge what is recorded

Finished recordings lie in DIR and are not repeated; what was judged at the same commit is read from FILE.judged.jsonl.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import track

from infra.log import configure
from infra.shipped import shipped_weights
from models.causalengine import CausalEngine
from models.diagnosing import Engine
from models.errors import ConfigurationInvalid, MeshError
from tests.bench import house, recording
from tests.bench.diagnosis_cells import EVERY, Side, plan
from tests.bench.diagnosis_summary import lead, notes, rows
from tests.bench.healing import chosen
from tests.bench.recorders import record_all, voids
from tests.bench.replay import LearnedEngine, Method, Replayed, replay
from tests.bench.report import Run, commit, show
from tests.bench.seen import seen_of

_REPLAYED = TypeAdapter(tuple[str, Replayed])


def main(
    *,
    json: Annotated[Path, typer.Option(help="The report.")],
    record: Annotated[Path | None, typer.Option(help="Record what is wanting into this folder first (root).")] = None,
    source: Annotated[Path | None, typer.Option("--from", help="Judge the recordings in this folder only.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Of each case, to be recorded.")] = 10,
    parallel: Annotated[int, typer.Option(min=1, max=6, help="Meshes side by side.")] = 2,
    cases: Annotated[str, typer.Option(help="Comma-separated; empty: all.")] = "",
    side: Annotated[Side, typer.Option(help="Even numbers to develop on; odd ones are held out.")] = Side.ALL,
    seed: Annotated[int, typer.Option(min=0, help="Of meshes, places and moments.")] = 1,
) -> None:
    """Judge diagnoses on recorded faults."""
    configure(least=logging.ERROR)
    if (record is None) == (source is None):
        raise ConfigurationInvalid("there is nothing to judge", "give --record DIR, or --from DIR, and not both")
    who = chosen(cases, known=EVERY, otherwise=EVERY)
    run, console = Run.begin("diagnosis", seed=seed), Console(soft_wrap=True)
    folder = record or source or Path()
    if record is not None:
        code = house.run(_record(who, record, rounds=rounds, parallel=parallel, seed=seed, console=console))
        if code:
            raise typer.Exit(code)
    judged = _judged(_chosen(folder, who, side), json, commit=run.commit, console=console)
    told = notes(judged, commit=run.commit, side=side.value)
    told += [f"no recording: {one['case']} #{one['number']}: {one['reason']}" for one in voids(folder)]
    for method in (Method.CAUSAL, Method.LEARNED):
        interval = lead(judged, method, seed=seed)
        if interval is not None:
            told.append(f"right elements, {method} minus rules: 95 % in [{interval[0]:+.2f}, {interval[1]:+.2f}]")
    report = run.report(rows(judged, seed=seed), told)
    report.write(json)
    show(report, console)
    raise typer.Exit(0 if report.is_met else 1)


async def _record(
    cases: Sequence[str], folder: Path, *, rounds: int, parallel: int, seed: int, console: Console
) -> int:
    cells = plan(cases, rounds, seed=seed)
    await record_all(cells, folder, seed=seed, parallel=parallel, commit=commit(), tell=console.print)
    return 0


def _chosen(folder: Path, cases: Sequence[str], side: Side) -> list[Path]:
    """Return the recordings of these cases and this side.

    Raises:
        ConfigurationInvalid: there is none.
    """
    found = []
    for path in sorted(folder.glob(f"*{recording.SUFFIX}")):
        case, _, number = path.name.removesuffix(recording.SUFFIX).rpartition("-")
        if case in cases and number.isdigit() and side.holds(int(number)):
            found.append(path)
    if not found:
        raise ConfigurationInvalid(f"{folder} holds no recording of these", "record some with --record DIR")
    return found


def _judged(paths: Sequence[Path], json: Path, *, commit: str, console: Console) -> list[Replayed]:
    """Replay what was not judged at this commit yet; with uncommitted changes, everything."""
    kept = json.with_name(f"{json.name}.judged.jsonl")
    known = {} if commit.endswith("-changed") else _known(kept, commit)
    engines = _engines()
    found = []
    with kept.open("a") as file:
        for path in track(paths, description="judged", console=console):
            name = path.name.removesuffix(recording.SUFFIX)
            if name not in known:
                known[name] = asyncio.run(replay(*seen_of(path), engines))
                file.write(_REPLAYED.dump_json((commit, known[name])).decode() + "\n")
                file.flush()
            found.append(known[name])
    return found


def _known(kept: Path, commit: str) -> dict[str, Replayed]:
    lines = kept.read_text().splitlines(keepends=True) if kept.exists() else []
    # A last line without its end was cut short by a crash.
    read = [_REPLAYED.validate_json(line) for line in lines if line.endswith("\n")]
    return {one.recording: one for of, one in read if of == commit}


def _engines() -> Mapping[Method, Engine]:
    raw, digest = shipped_weights()
    return {Method.CAUSAL: CausalEngine(), Method.LEARNED: LearnedEngine(raw, digest=digest)}


if __name__ == "__main__":
    try:
        typer.run(main)
    except MeshError as error:
        sys.stderr.write(f"x0tta6bl4 bench diagnosis: {error}\n")
        sys.exit(2)
