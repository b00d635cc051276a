"""Where a benchmark lives while it runs: a state folder of its own, a database in it, and how it is told to stop."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from infra.db.cluster import Cluster, cluster_folder
from infra.lab import build
from infra.process import look
from infra.settings import Settings
from models.errors import ConfigurationInvalid

PREFIX = "x0bench-"
INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended


def need_root() -> None:
    """Raise ConfigurationInvalid unless this is root, for a benchmark that makes a lab."""
    if os.geteuid() != 0:
        raise ConfigurationInvalid("a lab needs root", "run the benchmark with sudo")


@asynccontextmanager
async def housed(given: Path | None) -> AsyncIterator[tuple[Settings, str]]:
    """Give settings with a state folder and a migrated database, for the body's time.

    Args:
        given: The state folder, which is kept; None: a temporary one, which is not. What killed benchmarks left in
            temporary ones is cleaned up first.

    Raises:
        ConfigurationInvalid: not root.
    """
    need_root()
    from flows.trial import database  # noqa: PLC0415 - Prefect takes seconds; whoever only asks for --help need not wait

    await _sweep()
    state = given or Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    state.mkdir(parents=True, exist_ok=True)
    # Postgres runs as its own user and must get through.
    state.chmod(0o755)
    settings = Settings(state=state).model_copy(update={"database_url": None})
    try:
        async with database(settings) as url:
            yield settings, url
    finally:
        await asyncio.shield(build.clean(None, state=state) if given is None else asyncio.sleep(0))
        if given is None:
            shutil.rmtree(state)


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a benchmark until it ends, or until TERM or Ctrl-C; return its exit code."""

    async def stoppable() -> int:
        task = asyncio.ensure_future(main)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            return INTERRUPTED

    return asyncio.run(stoppable())


async def _sweep() -> None:
    """Remove what a killed benchmark left: its labs, its database server, its folder."""
    for folder in await asyncio.to_thread(_orphans):
        await build.clean(None, state=folder)
        await asyncio.to_thread(Cluster(cluster_folder(Settings(state=folder))).stop_orphan)
        shutil.rmtree(folder)


def _orphans() -> list[Path]:
    found = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        number = folder.name.removeprefix(PREFIX).partition("-")[0]
        if folder.stat().st_uid == os.geteuid() and number.isdigit() and look(int(number)) is None:
            found.append(folder)
    return found
