"""What the tracing programs tell, in Prometheus' form. Labels are closed sets: no address, port or process is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ebpf.latency import EDGES_S, SLOTS
from ebpf.page import Family, metric
from ebpf.tracing import MapFill, NetworkCounts, SyscallCounts

# A machine makes some 40 kinds of system calls in earnest. A call keeps its label once it has one, or its counters
# would seem to restart; whatever comes later is summed as `other`.
MAX_SYSCALLS = 32
_OTHER = "other"
_EDGES = (*(str(edge) for edge in EDGES_S.tolist()), "+Inf")


class Traced(Protocol):
    """Where the numbers come from: `ebpf.tracing.Tracing`, or a recording."""

    def network(self) -> NetworkCounts | None:
        """Return what tracepoint_net counted."""

    def syscalls(self) -> SyscallCounts | None:
        """Return the histograms of system calls."""

    def fills(self) -> tuple[MapFill, ...]:
        """Tell how full the maps are."""


class TracingExposition(Collector):
    """Read the tracing programs' maps at each scrape: write `families` by `ebpf.page`, or register it.

    A signal that is not measured has no lines; `ebpf_signal_missing` names it.

    Args:
        traced: Whose readings are shown; it must allow reading from the scraping thread.
    """

    def __init__(self, traced: Traced) -> None:
        self._traced = traced
        self._labelled: set[str] = set()

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without reading: registering must not touch the kernel."""
        yield from map(metric, (*_network(None), self._syscalls(None), *_fills(())))

    def collect(self) -> Iterator[Metric]:
        """Read once and yield every metric."""
        yield from map(metric, self.families())

    def families(self) -> Iterator[Family]:
        """Read once and yield every metric."""
        yield from _network(self._traced.network())
        yield self._syscalls(self._traced.syscalls())
        yield from _fills(self._traced.fills())

    def _syscalls(self, counts: SyscallCounts | None) -> Family:
        name, text = "ebpf_syscall_duration_seconds", "Duration of the machine's system calls."
        family = Family(name, "histogram", text, ("syscall",), _EDGES)
        if counts is None:
            return family
        calls = counts.slots.sum(axis=1)
        for row in np.argsort(calls)[::-1].tolist():
            if len(self._labelled) >= MAX_SYSCALLS:
                break
            self._labelled.add(counts.names[row])
        upto, seconds = np.cumsum(counts.slots, axis=1), counts.seconds.tolist()
        rest, rest_s = np.zeros(SLOTS, dtype=np.uint64), 0.0
        for row, call in enumerate(counts.names):
            if call in self._labelled:
                family.add((call,), *upto[row].tolist(), seconds[row])
            else:
                rest, rest_s = rest + upto[row], rest_s + seconds[row]
        if rest.any():
            family.add((_OTHER,), *rest.tolist(), rest_s)
        return family


def _network(counts: NetworkCounts | None) -> tuple[Family, ...]:
    retransmits = Family("ebpf_tcp_retransmits_total", "counter", "TCP segments sent again.")
    if counts is not None and counts.retransmits is not None:
        retransmits.add((), counts.retransmits)
    empty: Mapping[str, int] = {}
    families = [retransmits]
    for name, text, label, values in (
        ("ebpf_drops", "Packets dropped, by the kernel's own reason.", "reason", counts.drops if counts else None),
        ("ebpf_tcp_state_changes", "TCP sockets that entered a state.", "state", counts.states if counts else None),
        ("ebpf_events", "Events seen by the tracing programs.", "kind", counts.events if counts else None),
        ("ebpf_events_lost", "Events that the ring had no room for.", "kind", counts.lost if counts else None),
    ):
        family = Family(f"{name}_total", "counter", text, (label,))
        for kind, value in (values or empty).items():
            family.add((kind,), value)
        families.append(family)
    return tuple(families)


def _fills(fills: tuple[MapFill, ...]) -> tuple[Family, ...]:
    entries = Family("ebpf_map_entries", "gauge", "Entries in a map that forgets the oldest.", ("map",))
    capacity = Family("ebpf_map_capacity_entries", "gauge", "Entries the map has room for.", ("map",))
    for one in fills:
        entries.add((one.name,), one.entries)
        capacity.add((one.name,), one.capacity)
    return entries, capacity
