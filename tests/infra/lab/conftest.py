import asyncio
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from infra.lab import build
from infra.lab.topology import Shape, mesh

LAB = f"t{os.getpid()}"


def pytest_collection_modifyitems(items):
    lacks = [
        tool for tool in ("babeld", "nft", "ip") if shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin:/bin") is None
    ]
    reason = "needs root" if os.geteuid() != 0 else f"not installed: {', '.join(lacks)}" if lacks else ""
    for item in items:
        if reason and item.get_closest_marker("kernel") and "tests/infra/lab" in str(item.path):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def lab_state():
    """A short path: a unix socket's address holds a hundred bytes."""
    folder = Path(tempfile.mkdtemp(prefix="x0lab"))
    yield folder
    asyncio.run(build.clean(None, state=folder))
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def lab(lab_state):
    """Four nodes in a ring with a chord, routing settled; every test leaves it as it found it."""

    async def bring_up():
        made = await build.up(mesh(Shape.RING_CHORD, 4, name=LAB), state=lab_state)
        await made.settled(timeout_s=90)
        return made

    made = asyncio.run(bring_up())
    yield made
    asyncio.run(made.down())
