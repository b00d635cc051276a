"""How tc_classifier numbers its rows, and back again. Pure; the orders are those of models/telemetry.py."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from models.telemetry import Direction, Protocol, SizeClass, TrafficClass, TrafficCount

# Row index -> what is counted there: direction is the slowest, protocol the fastest.
ROWS = tuple(product(Direction, TrafficClass, SizeClass, Protocol))
# struct count: packets, bytes, 64 bits each.
COUNT_BYTES = 16


def decode(counts: NDArray[np.uint64]) -> tuple[TrafficCount, ...]:
    """Turn a map's sums into counts; rows without packets are left out.

    Args:
        counts: (90, 2) packets and bytes, in the order of `ROWS`.
    """
    return tuple(
        TrafficCount(*ROWS[row], packets=int(counts[row, 0]), bytes=int(counts[row, 1]))
        for row in np.flatnonzero(counts[:, 0]).tolist()
    )
