"""A node's counters in Prometheus' form. Labels are closed sets; interfaces are those the node was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ebpf.collector import ProgramState
from models.ports import InterfaceCounters
from models.telemetry import InterfaceReading


def no_programs() -> tuple[ProgramState, ...]:
    """Stand in for `programs` where the counters come without any."""
    return ()


def nothing_missing() -> frozenset[str]:
    """Stand in for `missing` where the interface counters are all there is."""
    return frozenset()


class CountersExposition(Collector):
    """Read the counters at each scrape. Register it with a `prometheus_client` registry.

    Args:
        counters: Whose readings are shown; it must allow `read` from the scraping thread.
        programs: Tells which programs are attached now.
        missing: Names signals of others, next to those of the counters, that this node cannot measure.
    """

    def __init__(
        self,
        counters: InterfaceCounters,
        *,
        programs: Callable[[], tuple[ProgramState, ...]] = no_programs,
        missing: Callable[[], frozenset[str]] = nothing_missing,
    ) -> None:
        self._counters, self._programs, self._others = counters, programs, missing

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without reading: registering must not touch the kernel."""
        yield from self._interfaces(())
        yield from _programs(())
        yield _missing(frozenset())

    def collect(self) -> Iterator[Metric]:
        """Read once and yield every metric."""
        yield from self._interfaces(self._counters.read())
        yield from _programs(self._programs())
        yield _missing(self._counters.missing() | self._others())

    @staticmethod
    def _interfaces(readings: tuple[InterfaceReading, ...]) -> Iterator[Metric]:
        kinds = ["interface", "direction", "traffic", "size", "protocol"]
        packets = CounterMetricFamily(
            "ebpf_packets", "Packets counted; a GSO packet counts as its segments.", labels=kinds
        )
        size = CounterMetricFamily("ebpf_bytes", "Bytes of frames counted, headers of every segment in.", labels=kinds)
        carrier = GaugeMetricFamily("ebpf_interface_carrier", "1 while the link layer is up.", labels=["interface"])
        changes = CounterMetricFamily("ebpf_interface_carrier_changes", "Carrier transitions.", labels=["interface"])
        mtu = GaugeMetricFamily("ebpf_interface_mtu_bytes", "Largest packet the interface takes.", labels=["interface"])
        for reading in readings:
            for row in reading.counts:
                labels = [reading.name, row.direction, row.traffic, row.size, row.protocol]
                packets.add_metric(labels, row.packets)
                size.add_metric(labels, row.bytes)
            carrier.add_metric([reading.name], float(reading.has_carrier))
            changes.add_metric([reading.name], reading.carrier_changes)
            mtu.add_metric([reading.name], reading.mtu)
        yield from (packets, size, carrier, changes, mtu)


def _programs(programs: tuple[ProgramState, ...]) -> Iterator[Metric]:
    labels = ["program", "interface"]
    attached = GaugeMetricFamily("ebpf_program_attached", "1 while the kernel runs the program there.", labels=labels)
    time = CounterMetricFamily(
        "ebpf_program_run_time_seconds", "Time in the program; with kernel.bpf_stats_enabled=1 only.", labels=labels
    )
    runs = CounterMetricFamily(
        "ebpf_program_runs", "Runs of the program; with kernel.bpf_stats_enabled=1 only.", labels=labels
    )
    for one in programs:
        where = [one.program, one.interface]
        attached.add_metric(where, float(one.is_attached))
        if one.runs is not None:
            time.add_metric(where, one.runs.seconds)
            runs.add_metric(where, one.runs.count)
    yield from (attached, time, runs)


def _missing(signals: frozenset[str]) -> Metric:
    missing = GaugeMetricFamily("ebpf_signal_missing", "1 for what this node cannot measure.", labels=["signal"])
    for signal in sorted(signals):
        missing.add_metric([signal], 1)
    return missing
