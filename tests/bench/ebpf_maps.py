"""How long it takes to read a large map: ours, bcc's two ways, and bpftool, all on the same map."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from ebpf.bcc_backend import kernel_headers
from ebpf.elf import MapDefinition
from ebpf.libbpf import LIBRARY
from ebpf.maps import HashTable
from models.errors import KernelRefused
from tests.bench.report import Row

OURS, BATCH, ITEMS, BPFTOOL = "ours", "bcc items_lookup_batch", "bcc items", "bpftool -j"
SIZES = (10_000, 100_000)
# A fifth of bcc's best, at the larger size. From the issue that asked for it.
_RATIO_GOAL = 0.2
KEY_BYTES, VALUE_BYTES = 16, 32
_LRU_HASH = 9
# Room to spare: an LRU map whose free list runs dry throws entries out before it is full.
_SPARE = 1.3
DEBIANS_BCC = Path("/usr/lib/python3/dist-packages/bcc/__init__.py")
_BCC_MAP = """
struct key {{ u64 words[2]; }};
struct value {{ u64 words[4]; }};
BPF_TABLE("lru_hash", struct key, struct value, flows, {capacity});
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """How long one map took to read.

    Attributes:
        entries: In the map.
        milliseconds: By reader, the least of its rounds; None where it is not installed.
        rounds: By reader.
    """

    entries: int
    milliseconds: Mapping[str, float | None]
    rounds: Mapping[str, int]

    def rows(self) -> tuple[Row, ...]:
        """Return the time, and the ratio to bcc's best."""
        case = f"{self.entries} entries"
        ours, batch = self.milliseconds[OURS], self.milliseconds[BATCH]
        ratio = None if ours is None or batch is None else ours / batch
        return (
            Row(
                case=case,
                metric="read_ms",
                unit="ms",
                value=ours,
                n=self.rounds[OURS],
                peers={name: value for name, value in self.milliseconds.items() if name != OURS},
            ),
            Row(
                case=case,
                metric="read_ratio_to_bcc_batch",
                unit="share",
                value=ratio,
                n=self.rounds[OURS],
                # Without bcc there is nothing to measure by.
                goal=_RATIO_GOAL if self.entries == max(SIZES) and batch is not None else None,
            ),
        )


def bcc_module() -> ModuleType | None:
    """Import Debian's bcc and nothing else of the system's packages; None where it is not installed."""
    if not DEBIANS_BCC.is_file():
        return None
    spec = importlib.util.spec_from_file_location(
        "bcc", DEBIANS_BCC, submodule_search_locations=[str(DEBIANS_BCC.parent)]
    )
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    spec.loader.exec_module(module)
    return module


def measure(entries: int, *, rounds: int, slow_rounds: int) -> Reading:
    """Fill a map with so many entries and read it by each reader in turns.

    Args:
        entries: How many.
        rounds: Of the readers that take milliseconds.
        slow_rounds: Of those that take seconds.

    Raises:
        KernelRefused: the map cannot be made, or a reader did not find every entry.
    """
    capacity = int(entries * _SPARE)
    bcc = bcc_module()
    if bcc is None:
        table, descriptor = None, _made(capacity)
    else:
        with kernel_headers():
            table = bcc.BPF(text=_BCC_MAP.format(capacity=capacity).encode())[b"flows"]
        descriptor = table.map_fd
    _fill(descriptor, entries)
    ours = HashTable(descriptor, MapDefinition(_LRU_HASH, KEY_BYTES, VALUE_BYTES, capacity))
    readers: dict[str, tuple[Callable[[], int], int] | None] = {
        OURS: (lambda: len(ours.read()[0]), rounds),
        BATCH: (lambda: len(list(table.items_lookup_batch())), rounds) if table is not None else None,
        ITEMS: (lambda: len(table.items()), slow_rounds) if table is not None else None,
        BPFTOOL: (lambda: _dumped(descriptor), slow_rounds) if shutil.which("bpftool") else None,
    }
    least: dict[str, float | None] = dict.fromkeys(readers)
    for number in range(max(rounds, slow_rounds)):
        for name, reader in readers.items():
            if reader is None or number >= reader[1]:
                continue
            took = _timed(reader[0], entries, name)
            least[name] = min(took, least[name] or took)
    return Reading(entries, least, {name: 0 if one is None else one[1] for name, one in readers.items()})


def _timed(read: Callable[[], int], entries: int, name: str) -> float:
    start = time.perf_counter_ns()
    found = read()
    took = (time.perf_counter_ns() - start) / 1e6
    if found != entries:
        raise KernelRefused(f"reading a map by {name}", f"{found} of {entries} entries came back")
    return took


def _dumped(descriptor: int) -> int:
    """Count the entries that bpftool prints; reading its JSON is part of using it."""
    info = dict(line.split(":\t") for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines())
    command = ["bpftool", "-j", "map", "dump", "id", info["map_id"].strip()]
    return len(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def _made(capacity: int) -> int:
    library = ctypes.CDLL(LIBRARY, use_errno=True)
    descriptor: int = library.bpf_map_create(_LRU_HASH, b"x0_bench", KEY_BYTES, VALUE_BYTES, capacity, None)
    if descriptor < 0:
        raise KernelRefused("making a map", str(OSError(-descriptor, "")))
    return descriptor


def _fill(descriptor: int, entries: int) -> None:
    keys = np.zeros((entries, KEY_BYTES // 8), dtype=np.uint64)
    keys[:, 0] = np.arange(entries)
    values = np.ones((entries, VALUE_BYTES // 8), dtype=np.uint64)
    library = ctypes.CDLL(LIBRARY, use_errno=True)
    count = ctypes.c_uint32(entries)
    result = library.bpf_map_update_batch(
        descriptor,
        keys.ctypes.data_as(ctypes.c_void_p),
        values.ctypes.data_as(ctypes.c_void_p),
        ctypes.byref(count),
        None,
    )
    if result < 0 or count.value != entries:
        raise KernelRefused("filling a map", f"{count.value} of {entries} entries went in (error {-result})")
