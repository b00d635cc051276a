"""`x0tta6bl4 bench NAME ...`: hand over to the benchmark of that name, which lives with the tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).parents[2]
RUNNABLE = 'if __name__ == "__main__":'
_HELP = "Which: ebpf, healing, payments, quiet, ...; `bench NAME -- --help` tells its own options."


def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=_HELP)],
) -> None:
    """Measure the system: print a table, write --json FILE; exit 0 when every goal is met, 1 when one is not."""
    python, *arguments = command(name, context.args)
    # Replaces this process, so that Ctrl-C, signals and the exit code are the benchmark's own. The tests are not
    # installed as packages; the folder they lie in is named for this process and those it starts.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    os.execve(python, [python, *arguments], environment)  # noqa: S606 - no shell, and the program is this interpreter


def command(name: str, arguments: list[str], *, root: Path = ROOT) -> list[str]:
    """Return the command that runs a benchmark.

    Raises:
        ConfigurationInvalid: there is none of that name here.
    """
    from models.errors import ConfigurationInvalid  # noqa: PLC0415 - `--help` needs none of it

    # A benchmark is a module of this folder that can be run; what several of them share cannot.
    known = sorted(path.stem for path in (root / "tests/bench").glob("*.py") if RUNNABLE in path.read_text())
    if not known:
        raise ConfigurationInvalid(f"no benchmarks in {root}", "run this from a clone; an image ships none")
    if name not in known:
        raise ConfigurationInvalid(f"there is no benchmark {name}", f"choose one of {', '.join(known)}")
    return [sys.executable, "-m", f"tests.bench.{name}", *arguments]
