"""What the tracing programs' maps held at one instant, in a recording, and read again where there is no kernel.

Peers' addresses are not recorded, only how many there were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat

from ebpf.drops import by_class
from ebpf.latency import SLOTS, WAITING, quantile_us
from ebpf.tracing import MapFill, NetworkCounts, SyscallCounts
from ebpf.tracing_exposition import Traced
from models.telemetry import KernelReading

_Counter = Annotated[int, Field(ge=0, lt=2**64)]
_Slot = Annotated[int, Field(ge=0, lt=SLOTS)]
_P99 = 0.99


class TracedSignals(Traced, Protocol):
    """What is recorded: `ebpf.tracing.Tracing`, for one."""

    def missing(self) -> frozenset[str]:
        """Name the signals that are not measured."""


class TracingDump(BaseModel):
    """The tracing maps at one instant; a signal that was not measured is absent.

    Attributes:
        missing: Names of those.
        drops: Reason -> packets.
        retransmits: Segments.
        states: TCP state entered -> times.
        events: Kind -> events seen.
        lost: Kind -> events the ring had no room for.
        syscalls: Name, seconds, and the slots of its histogram that are not empty, as (slot, calls).
        fills: Map, entries, capacity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    missing: tuple[str, ...] = ()
    drops: dict[str, _Counter] | None = None
    retransmits: _Counter | None = None
    states: dict[str, _Counter] | None = None
    events: dict[str, _Counter] = Field(default_factory=dict)
    lost: dict[str, _Counter] = Field(default_factory=dict)
    syscalls: tuple[tuple[str, NonNegativeFloat, tuple[tuple[_Slot, _Counter], ...]], ...] | None = None
    fills: tuple[tuple[str, _Counter, _Counter], ...] = ()


def dumped(traced: TracedSignals) -> TracingDump:
    """Read all maps once."""
    network, syscalls = traced.network(), traced.syscalls()
    return TracingDump(
        missing=tuple(sorted(traced.missing())),
        drops=None if network is None or network.drops is None else dict(network.drops),
        retransmits=None if network is None else network.retransmits,
        states=None if network is None or network.states is None else dict(network.states),
        events={} if network is None else dict(network.events),
        lost={} if network is None else dict(network.lost),
        syscalls=None if syscalls is None else _calls(syscalls),
        fills=tuple((one.name, one.entries, one.capacity) for one in traced.fills()),
    )


class ReplayedTracing:
    """Tracing signals that read a recording. Implements `models.ports.KernelSignals`, and what the page shows.

    Each `read` is the next dump; after the last one it stays at that. Everything else tells of the dump read last, and
    of the first before any was.

    Args:
        dumps: In order, at least one.
    """

    def __init__(self, dumps: Sequence[TracingDump]) -> None:
        self._dumps = tuple(dumps)
        self._at = -1
        self._is_open = True
        self._before = np.zeros(SLOTS, dtype=np.uint64)

    def read(self) -> KernelReading:
        """Return the next dump's signals; system calls since the dump before."""
        if not self._is_open:
            return KernelReading()
        self._at = min(self._at + 1, len(self._dumps) - 1)
        dump = self._now()
        return KernelReading(
            drops=None if dump.drops is None else by_class(dump.drops),
            retransmits=dump.retransmits,
            syscall_p99_us=self._p99_us(),
        )

    def missing(self) -> frozenset[str]:
        """Name what the recording node did not measure."""
        return frozenset(self._now().missing)

    def network(self) -> NetworkCounts | None:
        """Return what was counted; None when none of its signals was."""
        dump = self._now()
        if dump.drops is None and dump.retransmits is None and dump.states is None:
            return None
        return NetworkCounts(dump.drops, dump.retransmits, dump.states, dump.events, dump.lost)

    def syscalls(self) -> SyscallCounts | None:
        """Return the histograms; None when they were not measured."""
        calls = self._now().syscalls
        if calls is None:
            return None
        slots = np.zeros((len(calls), SLOTS), dtype=np.uint64)
        for row, (_, _, filled) in enumerate(calls):
            for slot, count in filled:
                slots[row, slot] = count
        return SyscallCounts(tuple(one[0] for one in calls), np.array([one[1] for one in calls], dtype=float), slots)

    def fills(self) -> tuple[MapFill, ...]:
        """Tell how full the maps were."""
        return tuple(MapFill(*one) for one in self._now().fills)

    def close(self) -> None:
        """Read nothing any more. Safe to call twice."""
        self._is_open = False

    def _now(self) -> TracingDump:
        return self._dumps[max(self._at, 0)]

    def _p99_us(self) -> float | None:
        counts = self.syscalls()
        if counts is None:
            return None
        is_prompt = np.array([one not in WAITING for one in counts.names], dtype=bool)
        now = counts.slots[is_prompt].sum(axis=0, dtype=np.uint64)
        passed, self._before = now - self._before, now
        return quantile_us(passed, _P99)


def _calls(counts: SyscallCounts) -> tuple[tuple[str, float, tuple[tuple[int, int], ...]], ...]:
    return tuple(
        (
            name,
            float(counts.seconds[row]),
            tuple((int(one), int(counts.slots[row, one])) for one in np.flatnonzero(counts.slots[row])),
        )
        for row, name in enumerate(counts.names)
    )
