"""Keeps one core busy for so long and no longer: `python -m tests.bench.workers.spin CORE SECONDS`."""

from __future__ import annotations

import os
import sys
import time


def main() -> None:
    """Spin on that core."""
    core, seconds = int(sys.argv[1]), float(sys.argv[2])
    os.sched_setaffinity(0, {core})
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


if __name__ == "__main__":
    main()
