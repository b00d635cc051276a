"""Records as a run would have written them."""

from __future__ import annotations

from typing import Any, Literal

from infra.lab.verdict import TrialResult
from models.incident import FaultKind
from tests.bench.cells import CASES, Arm, Cell
from tests.bench.records import Record

SEED = 1


def record(
    cell: Cell, *, end: Literal["counts", "void", "error"] = "counts", commit: str = "c0ffee", **found: Any
) -> Record:
    """Return a finished attempt; `found` are fields of its result."""
    told: dict[str, Any] = {
        "trial": str(cell),
        "lab": "b1",
        "healed_by": "controller" if cell.arm.heals else "routing alone",
        "faults": (FaultKind(CASES[cell.case]["kind"]),),
        "element": "link:n0--n1",
        "outage_s": 1.0,
        "never_recovered": False,
        "void": "the path moved" if end == "void" else None,
    }
    if cell.arm.heals:
        told |= {"detect_s": 0.5, "right_element": True, "right_cause": True}
    return Record(
        case=cell.case,
        arm=cell.arm,
        number=cell.number,
        seed=SEED,
        commit=commit,
        end=end,
        error="it broke" if end == "error" else "",
        result=None if end == "error" else TrialResult.model_validate(told | found),
        wall_s=40,
        load=1.5,
    )


def series(case: str, arm: Arm, outages: list[float], **found: Any) -> list[Record]:
    """Return one counted attempt for each outage, numbered from zero."""
    return [record(Cell(case, arm, number), outage_s=one, **found) for number, one in enumerate(outages)]
