"""Reading eBPF maps straight into numpy arrays: one call per map, nothing per entry in Python."""

from __future__ import annotations

import errno

import numpy as np
from numpy.typing import NDArray

from ebpf.elf import MapDefinition
from ebpf.libbpf import ENOTSUPP, libbpf
from models.errors import KernelRefused

# Kernels before 5.13 have no batch reading of per-CPU arrays; anything else that goes wrong is an error.
_NO_BATCH = frozenset({errno.EINVAL, errno.EOPNOTSUPP, ENOTSUPP})
_WORD = 8
# enum bpf_map_type: BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH.
_PER_CPU_HASHES = frozenset({5, 10})


class PerCpuArray:
    """A BPF_MAP_TYPE_PERCPU_ARRAY whose values are 64-bit counters, read as their sums over all CPUs.

    The buffers are made once and used again by every `read`; not safe for two threads at once.
    """

    def __init__(self, descriptor: int, *, entries: int, value_bytes: int) -> None:
        self._descriptor, self._entries = descriptor, entries
        self._has_batch = True
        cpus = libbpf().possible_cpus()
        self._keys = np.empty(entries, dtype=np.uint32)
        self._values = np.empty((entries, cpus, value_bytes // _WORD), dtype=np.uint64)

    def read(self) -> NDArray[np.uint64]:
        """Return (entries, words of a value), each summed over all CPUs.

        Entries are read one after another while the kernel goes on counting: each is right, together they are not one
        instant (microseconds apart).

        Raises:
            KernelRefused: the map cannot be read.
        """
        try:
            if self._has_batch:
                try:
                    self._read_batch()
                except OSError as error:
                    if error.errno not in _NO_BATCH:
                        raise
                    self._has_batch = False
            if not self._has_batch:
                self._read_singly()
        except OSError as error:
            raise KernelRefused("reading a map", str(error)) from error
        summed: NDArray[np.uint64] = self._values.sum(axis=1)
        return summed

    def _read_batch(self) -> None:
        found = libbpf().lookup_batch(
            self._descriptor, keys_at=self._keys.ctypes.data, values_at=self._values.ctypes.data, count=self._entries
        )
        if found != self._entries:
            raise OSError(errno.EIO, f"{found} of {self._entries} entries came back")

    def _read_singly(self) -> None:
        start, step = self._values.ctypes.data, self._values.strides[0]
        for index in range(self._entries):
            libbpf().lookup(self._descriptor, index, start + index * step)


class HashTable:
    """A hash map, LRU or not, per CPU or not, whose values are 64-bit counters.

    The buffers are made once, for as many entries as the map may hold, and used again by every `read`; not safe for two
    threads at once. Pages that no entry ever reached cost no memory.
    """

    def __init__(self, descriptor: int, definition: MapDefinition) -> None:
        self._descriptor, self.capacity = descriptor, definition.max_entries
        copies = libbpf().possible_cpus() if definition.type in _PER_CPU_HASHES else 1
        self._keys = np.empty((self.capacity, definition.key), dtype=np.uint8)
        self._values = np.empty((self.capacity, copies, definition.value // _WORD), dtype=np.uint64)

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
        """Return keys (entries, bytes of a key) and values (entries, words of a value), summed over CPUs; both copies.

        Raises:
            KernelRefused: the map cannot be read.
        """
        try:
            count = libbpf().lookup_batch(
                self._descriptor,
                keys_at=self._keys.ctypes.data,
                values_at=self._values.ctypes.data,
                count=self.capacity,
            )
        except OSError as error:
            raise KernelRefused("reading a map", str(error)) from error
        values: NDArray[np.uint64] = self._values[:count].sum(axis=1)
        return self._keys[:count].copy(), values
