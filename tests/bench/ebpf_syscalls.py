"""What a system call pays for its latency histogram: none, the least pair of programs that could do it, and ours."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import repeat, starmap
from pathlib import Path

import numpy as np

from ebpf.loader import EBPFLoader
from models.errors import BrokenError
from tests.bench.ebpf_packets import build
from tests.bench.report import Row

OURS, BARE, NONE = "ours", "bare tp_btf pair", "none"
CASE = "getppid"
# Ours also tells the calls apart; that may cost a fifth of the least there is. From the issue that asked for it.
_SHARE = 1.2


def measure(folder: Path, *, rounds: int, calls: int, rng: np.random.Generator) -> tuple[dict[str, float], list[str]]:
    """Time a cheap system call with and without programs, in turns.

    Returns:
        Nanoseconds a call, the least of all rounds, of those that could be attached (Python's own loop included); and
        notes on those that could not.
    """
    with EBPFLoader() as loader:
        arms: dict[str, Callable[[], object]] = {NONE: _nothing}
        notes = []
        for name, file in ((BARE, build("bare_pair", folder)), (OURS, Path("kprobe_syscall_latency.o"))):
            try:
                loaded = loader.load_program(file)
                loader.attach(loaded)
                loader.detach(loaded)
            except BrokenError as error:
                notes.append(f"{name} could not be attached: {error}")
                continue
            if name == OURS:
                kinds = sorted({loaded.kinds[one] for one in loaded.programs})
                notes.append(f"the syscall programs attached here are {', '.join(kinds)}")
            arms[name] = partial(_attached, loader, loaded)
        least = dict.fromkeys(arms, float("inf"))
        for _ in range(rounds):
            for name in rng.permutation(list(arms)).tolist():
                with arms[name]():
                    least[name] = min(least[name], _timed(calls))
        return least, notes


def rows(least: Mapping[str, float], *, rounds: int) -> tuple[Row, ...]:
    """Return what each arm adds to a call without programs; null where it could not be attached."""
    over = {name: least[name] - least[NONE] if name in least else None for name in (BARE, OURS)}
    bare = over[BARE]
    return (
        Row(
            case=CASE,
            metric="ns_per_syscall_over_none",
            unit="ns",
            value=over[OURS],
            n=rounds if OURS in least else 0,
            peers={BARE: bare},
            # Without its peer there is nothing to measure by.
            goal=None if bare is None else _SHARE * bare,
        ),
    )


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _attached(loader: EBPFLoader, loaded: object) -> Iterator[None]:
    loader.attach(loaded)
    try:
        yield
    finally:
        loader.detach(loaded)


def _timed(calls: int) -> float:
    """Return nanoseconds a call; the loop runs in C."""
    deque(starmap(os.getppid, repeat((), 1000)), maxlen=0)  # the first calls find everything cold
    start = time.perf_counter_ns()
    deque(starmap(os.getppid, repeat((), calls)), maxlen=0)
    return (time.perf_counter_ns() - start) / calls
