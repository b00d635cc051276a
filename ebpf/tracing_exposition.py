"""What the tracing programs tell, in Prometheus' form. Labels are closed sets: no address, port or process is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ebpf.latency import EDGES_S, SLOTS
from ebpf.tracing import MapFill, NetworkCounts, SyscallCounts

# A machine makes some 40 kinds of system calls in earnest. A call keeps its label once it has one, or its counters
# would seem to restart; whatever comes later is summed as `other`. 33 histograms of 32 lines take 5 ms a scrape.
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
    """Read the tracing programs' maps at each scrape. Register it with a `prometheus_client` registry.

    A signal that is not measured has no lines; `ebpf_signal_missing` names it.

    Args:
        traced: Whose readings are shown; it must allow reading from the scraping thread.
    """

    def __init__(self, traced: Traced) -> None:
        self._traced = traced
        self._labelled: set[str] = set()

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without reading: registering must not touch the kernel."""
        yield from _network(None)
        yield self._syscalls(None)
        yield from _fills(())

    def collect(self) -> Iterator[Metric]:
        """Read once and yield every metric."""
        yield from _network(self._traced.network())
        yield self._syscalls(self._traced.syscalls())
        yield from _fills(self._traced.fills())

    def _syscalls(self, counts: SyscallCounts | None) -> Metric:
        family = HistogramMetricFamily(
            "ebpf_syscall_duration_seconds", "Duration of the machine's system calls.", labels=["syscall"]
        )
        if counts is None:
            return family
        calls = counts.slots.sum(axis=1)
        for row in np.argsort(calls)[::-1].tolist():
            if len(self._labelled) < MAX_SYSCALLS:
                self._labelled.add(counts.names[row])
        rest, rest_s = np.zeros(SLOTS, dtype=np.uint64), 0.0
        for row, name in enumerate(counts.names):
            if name in self._labelled:
                _add(family, name, counts.slots[row], float(counts.seconds[row]))
            else:
                rest, rest_s = rest + counts.slots[row], rest_s + float(counts.seconds[row])
        if rest.any():
            _add(family, _OTHER, rest, rest_s)
        return family


def _add(
    family: HistogramMetricFamily, name: str, slots: np.ndarray[tuple[int], np.dtype[np.uint64]], s: float
) -> None:
    upto = np.cumsum(slots).tolist()
    family.add_metric([name], list(zip(_EDGES, upto, strict=True)), s)


def _network(counts: NetworkCounts | None) -> Iterator[Metric]:
    retransmits = CounterMetricFamily("ebpf_tcp_retransmits", "TCP segments sent again.")
    if counts is not None and counts.retransmits is not None:
        retransmits.add_metric([], counts.retransmits)
    yield retransmits
    empty: Mapping[str, int] = {}
    for name, text, label, values in (
        ("ebpf_drops", "Packets dropped, by the kernel's own reason.", "reason", counts.drops if counts else None),
        ("ebpf_tcp_state_changes", "TCP sockets that entered a state.", "state", counts.states if counts else None),
        ("ebpf_events", "Events seen by the tracing programs.", "kind", counts.events if counts else None),
        ("ebpf_events_lost", "Events that the ring had no room for.", "kind", counts.lost if counts else None),
    ):
        family = CounterMetricFamily(name, text, labels=[label])
        for kind, value in (values or empty).items():
            family.add_metric([kind], value)
        yield family


def _fills(fills: tuple[MapFill, ...]) -> Iterator[Metric]:
    entries = GaugeMetricFamily("ebpf_map_entries", "Entries in a map that forgets the oldest.", labels=["map"])
    capacity = GaugeMetricFamily("ebpf_map_capacity_entries", "Entries the map has room for.", labels=["map"])
    for one in fills:
        entries.add_metric([one.name], one.entries)
        capacity.add_metric([one.name], one.capacity)
    yield from (entries, capacity)
