"""Growing columns: a row a reading, an array a quantity, NaN where a reading lacks it. Arrays only."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_FIRST_ROWS = 64


class Columns:
    """Arrays that grow together, a row at a time at the end, and forget together at the beginning."""

    def __init__(self) -> None:
        self._rows = 0
        self._arrays: dict[Hashable, FloatArray] = {}

    def __len__(self) -> int:
        return self._rows

    def begin_row(self) -> None:
        """Begin another row, of which nothing is known yet."""
        self._rows += 1
        for key, array in self._arrays.items():
            if self._rows > len(array):
                self._arrays[key] = np.concatenate((array, np.full_like(array, np.nan)))

    def put(self, key: Hashable, value: ArrayLike) -> None:
        """Write a value into the newest row; a quantity never seen before gets a column of the value's shape."""
        array = self._arrays.get(key)
        if array is None:
            rows = max(_FIRST_ROWS, *(len(one) for one in self._arrays.values()), self._rows)
            array = self._arrays[key] = np.full((rows, *np.shape(value)), np.nan)
        array[self._rows - 1] = value

    def find(self, key: Hashable) -> FloatArray | None:
        """Return a column, (rows, ...), to be read and not written; None where no row ever had it."""
        array = self._arrays.get(key)
        return None if array is None else array[: self._rows]

    def forget(self, rows: int) -> None:
        """Drop the oldest rows."""
        left = self._rows - rows
        for array in self._arrays.values():
            array[:left] = array[rows : self._rows].copy()
            array[left:] = np.nan
        self._rows = left
