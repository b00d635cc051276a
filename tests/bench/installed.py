"""A whole installation for a benchmark: on the disk, as an operator's is, and gone with the body."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.bench.house import need_root
from tests.e2e.house import House, make_state, sweep


@asynccontextmanager
async def installed(name: str, *, also: Mapping[str, str] | None = None) -> AsyncIterator[House]:
    """Give an installation that nobody started yet, and take it down afterwards, whatever became of it.

    Args:
        name: What the name of its mesh begins with; short, for it stands in names of interfaces.
        also: What its environment holds beside a test house's.

    Raises:
        ConfigurationInvalid: not root.
    """
    need_root()
    await asyncio.to_thread(sweep)
    house = House(make_state(Path(tempfile.gettempdir())), mesh=f"{name}{os.getpid()}", also=also)
    try:
        yield house
    finally:
        await asyncio.to_thread(house.clean)
