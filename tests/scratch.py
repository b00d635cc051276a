"""Where tests put databases, which are thousands of small files made and removed."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")  # noqa: S108 - what is made there gets a name of its own from mkdtemp
# Four workers' clusters, or three installations, with the write-ahead logs of a whole session.
ROOM = 4 << 30


def scratch() -> Path:
    """Return a folder in memory where there is room for it, else the usual temporary one.

    Each test has a fresh database, and most of what that costs on a disk is creating its files; no test is about what
    a disk keeps when the machine loses power.
    """
    if MEMORY.is_mount() and min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) >= ROOM:
        return MEMORY
    return Path(tempfile.gettempdir())
