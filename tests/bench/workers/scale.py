"""One part of `bench scale` in a process of its own: `python -m tests.bench.workers.scale KIND SIZE SEED ANSWER.json`.

So one part's memory is not another's, and one that fails takes none with it. TERM ends it like Ctrl-C does.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from infra.log import configure
from models.errors import MeshError
from tests.bench import house
from tests.bench.scale_parts import Kind

FAILED = 1


class Answer(BaseModel):
    """What a part found: figures by metric, and what a reader of them should know."""

    model_config = ConfigDict(frozen=True)

    figures: dict[str, float | None]
    notes: tuple[str, ...] = ()


async def measured(kind: Kind, size: int, *, seed: int) -> Answer:
    """Measure a part."""
    # What only one kind of part needs (Prefect, a Prometheus) is no part of the others' memory.
    if kind is Kind.LAB:
        from tests.bench import scale_lab  # noqa: PLC0415 - as above

        figures, notes = await scale_lab.measured(size, seed=seed)
        return Answer(figures=figures, notes=notes)
    if kind is Kind.TELEMETRY:
        from tests.bench import scale_telemetry  # noqa: PLC0415 - as above

        return Answer(figures=await scale_telemetry.measured(size, seed=seed))
    from tests.bench import scale_watch  # noqa: PLC0415 - as above

    made_up = scale_watch.reported if kind is Kind.REPORTED else scale_watch.in_regions
    return Answer(figures=await asyncio.to_thread(made_up, size, seed=seed))


async def _answered(kind: Kind, size: int, seed: int, path: Path) -> int:
    try:
        answer = await measured(kind, size, seed=seed)
    except (MeshError, OSError) as failure:
        sys.stderr.write(f"{type(failure).__name__}: {failure}\n")
        return FAILED
    await asyncio.to_thread(path.write_text, answer.model_dump_json())
    return 0


def main() -> int:
    """Read, measure, answer."""
    kind, size, seed, path = sys.argv[1:]
    configure(least=logging.WARNING)
    return house.run(_answered(Kind(kind), int(size), int(seed), Path(path)))


if __name__ == "__main__":
    sys.exit(main())
