"""Every case of `tests/conformance/payments`, against a real Postgres and the stand-in over real HTTP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.conformance import run_case
from infra.db.cluster import find_programs
from infra.lab.casebase import CaseBase, case_base
from infra.lab.casefile import Case, load_cases
from models.errors import ToolMissing

CASES = load_cases(Path(__file__).parent / "payments")


@pytest.fixture(scope="module")
def base() -> Iterator[CaseBase]:
    """One private cluster for all cases; its own loop only makes and removes it."""
    try:
        find_programs()
    except ToolMissing as missing:
        pytest.skip(str(missing))
    with asyncio.Runner() as runner:
        made = case_base()
        yield runner.run(made.__aenter__())
        runner.run(made.__aexit__(None, None, None))


@pytest.mark.postgres
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_case(case: Case, base: CaseBase, monkeypatch: pytest.MonkeyPatch):
    for name in [one for one in os.environ if one.startswith("X0_") or one.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    await base.empty()
    verdict = await run_case(case, base.open)
    assert verdict.problems == (), case.title
