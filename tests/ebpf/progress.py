"""A line a test as soon as it ends, and none run twice: `pytest -p tests.ebpf.progress`, for kernels that take long.

What it is told, by the environment:
    X0_PROGRESS: where lines go: `X0 OUTCOME | SECONDS | TEST | REASON`, the reason of a skip or failure alone.
    X0_DONE: a file of tests, one a line, that are not to be run again; it may lack.
    X0_PROCESSES: so many run what is left side by side, forked when all is imported: that is half of the time there.
        Give pytest `--capture=sys`: a file that captures would be shared.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

_others: list[int] = []


def split(of: int) -> int:
    """Become so many processes, and return which this is; number 0 is the one that began and waits for the others."""
    sys.stdout.flush()
    for number in range(1, of):
        other = os.fork()
        if other == 0:
            _others.clear()
            return number
        _others.append(other)
    return 0


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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is done, and what is another process's: each takes every so-manyth."""
    file = Path(os.environ.get("X0_DONE", os.devnull))
    done = set(file.read_text().splitlines()) if file.exists() else set()
    left = [item for item in items if item.nodeid not in done]
    of = int(os.environ.get("X0_PROCESSES", "1"))
    mine = left[split(of) :: of]
    taken = {item.nodeid for item in mine}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in taken])
    items[:] = mine


def pytest_unconfigure() -> None:
    """Wait for the others."""
    while _others:
        os.waitpid(_others.pop(), 0)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell it in one write, so that two processes' lines do not mix."""
    told = line(report)
    if told is not None:
        with Path(os.environ["X0_PROGRESS"]).open("a") as out:
            out.write(told + "\n")
