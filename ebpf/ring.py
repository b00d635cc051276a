"""Reading a BPF ring buffer of records of one length: all that has come in at once, as one array.

libbpf would call back for every record. The ring is mapped memory and its data is mapped twice in a row
(Documentation/bpf/ringbuf.rst), so records of one length are an array that only has to be copied.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import KernelRefused

# include/uapi/linux/bpf.h: a record's first word holds its length and these flags; eight bytes precede its content.
_BUSY, _DISCARDED = 1 << 31, 1 << 30
_HEADER = 8


class RingBuffer:
    """One BPF_MAP_TYPE_RINGBUF. One reader only; not safe for two threads at once.

    The position is read before the data without a barrier of our own: in order on x86-64; on machines that reorder
    loads it rests on the thousands of instructions that lie between the two in Python.

    Args:
        descriptor: The map's.
        size: Its bytes (`max_entries`).
        record: What each record holds; with `align=True` as C lays it out.

    Raises:
        KernelRefused: the ring cannot be mapped.
    """

    def __init__(self, descriptor: int, *, size: int, record: np.dtype[Any]) -> None:
        self._size, self._record = size, record
        self._stride = _HEADER + -(-record.itemsize // _HEADER) * _HEADER
        padding = self._stride - _HEADER - record.itemsize
        self._framed = np.dtype([("head", "<u4"), ("page", "<u4"), ("record", record), ("padding", f"V{padding}")])
        page = mmap.PAGESIZE
        try:
            self._taken = mmap.mmap(descriptor, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
            self._given = mmap.mmap(descriptor, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        except (OSError, ValueError) as error:
            raise KernelRefused("mapping a ring buffer", str(error)) from error

    def read(self) -> NDArray[Any]:
        """Return the records that are complete, oldest first, and give their room back."""
        start = int.from_bytes(self._taken[:8], "little")
        end = int.from_bytes(self._given[:8], "little")
        at = mmap.PAGESIZE + start % self._size
        content = self._given[at : at + end - start]
        framed = np.frombuffer(content, dtype=self._framed, count=len(content) // self._stride)
        unfinished = np.flatnonzero(framed["head"] & _BUSY)
        if unfinished.size:
            framed = framed[: unfinished[0]]
        self._taken[:8] = (start + len(framed) * self._stride).to_bytes(8, "little")
        records: NDArray[Any] = framed["record"][framed["head"] & _DISCARDED == 0]
        return records

    def close(self) -> None:
        """Give the mapping back. Safe to call twice."""
        self._taken.close()
        self._given.close()
