"""Made-up incidents whose truth is known: one element breaks and drags others along, or nothing does."""

from __future__ import annotations

import math
from typing import Any

ROOT = "store"
# Milliseconds that each service gets slower by: the callee most, whoever waits for it a little less.
SLOWER = {"frontend": 33.0, "checkout": 36.0, ROOT: 40.0, "cart": 0.0, "search": 0.0}
CALLS = (("frontend", "checkout"), ("checkout", ROOT), ("frontend", "cart"), ("frontend", "search"))
ROWS, SPLIT = 40, 30
_CALM_MS = 10.0


def snapshot(*, broken: bool) -> dict[str, Any]:
    """Return the body of POST /api/v1/causal/analyze: forty seconds of five services, the last ten perhaps ill."""

    def latency(row: int, column: int, extra: float) -> float:
        # A ripple of its own for each service: a past without any spread would judge every change infinite.
        ripple = math.sin(1.7 * row + column) + 0.5 * math.sin(0.6 * row * (column + 1))
        return round(_CALM_MS + ripple + (extra if broken and row >= SPLIT else 0.0), 3)

    return {
        "snapshot": {
            "elements": [{"id": name} for name in SLOWER],
            "dependencies": [{"element": caller, "depends_on": callee} for caller, callee in CALLS],
            "signals": [{"name": "latency", "unit": "ms", "kind": "latency"}],
            "times": list(range(ROWS)),
            "values": [
                [[latency(row, column, extra)] for column, extra in enumerate(SLOWER.values())] for row in range(ROWS)
            ],
            "split": SPLIT,
            "target": "frontend",
        }
    }
