"""A line a test as soon as it ends, and none run twice: `pytest -p tests.ebpf.progress`, for kernels that take long.

What it is told, by the environment:
    X0_PROGRESS: where lines go: `X0 OUTCOME | SECONDS | TEST | REASON`, the reason of a skip or failure alone.
    X0_DONE: a file of tests, one a line, that are not to be run again; it may lack.
    X0_SHARE: `0/2` and `1/2` are the halves of what is left, for two processes side by side.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def share(names: list[str], done: set[str], part: str) -> list[str]:
    """Return which tests are this process's: of those left, each of so many takes every so-manyth."""
    number, of = (int(one) for one in part.split("/"))
    return [name for name in names if name not in done][number::of]


def line(report: pytest.TestReport) -> str | None:
    """Return what to say of a report, None where the call is still to come or all went well after it."""
    if report.passed and report.when != "call":
        return None
    reason = ""
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
    elif report.failed:
        reason = report.longreprtext
        # The last line that says what was wrong; below it stands only where.
        reason = next((one[1:].strip() for one in reason.splitlines() if one.startswith("E ")), reason)
    return f"X0 {report.outcome} | {report.duration:.1f} s | {report.nodeid} | {' '.join(reason.split())[:200]}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is done, and what is the other process's."""
    file = Path(os.environ.get("X0_DONE", os.devnull))
    done = set(file.read_text().splitlines()) if file.exists() else set()
    mine = set(share([item.nodeid for item in items], done, os.environ.get("X0_SHARE", "0/1")))
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in mine])
    items[:] = [item for item in items if item.nodeid in mine]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell it in one write, so that two processes' lines do not mix."""
    told = line(report)
    if told is not None:
        with Path(os.environ["X0_PROGRESS"]).open("a") as out:
            out.write(told + "\n")
