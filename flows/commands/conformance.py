"""`x0tta6bl4 conformance payments DIR`: cases that are data, run against what takes the money."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.desk import out

if TYPE_CHECKING:
    from flows.conformance import Verdict
    from infra.lab.casefile import Case

conformance = typer.Typer(no_args_is_help=True, help="Does this installation's code keep its promises, case by case.")


@conformance.callback()
def _cases() -> None:
    """Keep `payments` a command of its own while it is the only one."""


@conformance.command()
def payments(
    folder: Annotated[Path, typer.Argument(help="Folder of *.yaml cases; docs/conformance.md tells the format.")],
    *,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the results for a machine.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Run only the case of this id; may be given often.")] = None,
) -> None:
    """Run payment cases on a private Postgres and made-up chains; exit 0 when all pass, 1 when one does not."""
    from infra.lab.casefile import load_cases  # noqa: PLC0415 - `--help` needs none of it
    from infra.log import configure  # noqa: PLC0415 - as above

    configure(least=logging.CRITICAL)
    cases = [case for case in load_cases(folder) if not only or case.id in only]
    verdicts = asyncio.run(run_all(cases))
    show(verdicts)
    if json_file is not None:
        json_file.write_text(json.dumps(summary(verdicts), indent=1) + "\n", encoding="utf-8")
    if not all(one.passed for one in verdicts):
        raise typer.Exit(1)


async def run_all(cases: list[Case]) -> list[Verdict]:
    """Run cases one after the other on one private cluster.

    Raises:
        ToolMissing: Postgres is not installed.
    """
    from flows.conformance import run_case  # noqa: PLC0415 - `--help` needs none of it
    from infra.lab.casebase import case_base  # noqa: PLC0415 - as above

    verdicts = []
    async with case_base() as base:
        for case in cases:
            await base.empty()
            verdicts.append(await run_case(case, base.open))
    return verdicts


def show(verdicts: list[Verdict]) -> None:
    """Print a line a case, what went wrong below it, and the count."""
    for one in verdicts:
        mark = "pass" if one.passed else "FAIL"
        out.print(f"{one.case.id}  {mark}  {one.seconds:5.1f} s  {one.case.title}", markup=False, highlight=False)
        for problem in one.problems:
            out.print(f"           {problem}", markup=False, highlight=False)
    passed = sum(one.passed for one in verdicts)
    out.print(f"{passed} of {len(verdicts)} cases pass", markup=False)


def summary(verdicts: list[Verdict]) -> dict[str, object]:
    """Return the results for a machine."""
    return {
        "what": "payments",
        "passed": sum(one.passed for one in verdicts),
        "failed": sum(not one.passed for one in verdicts),
        "cases": [
            {
                "id": one.case.id,
                "title": one.case.title,
                "passed": one.passed,
                "problems": list(one.problems),
                "seconds": round(one.seconds, 3),
                "provider_calls": one.calls,
            }
            for one in verdicts
        ],
    }
