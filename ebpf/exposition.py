"""A node's counters in Prometheus' form. Labels are closed sets; interfaces are those the node was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ebpf.collector import ProgramState
from models.ports import InterfaceCounters


def no_programs() -> tuple[ProgramState, ...]:
    """Stand in for `programs` where the counters come without any."""
    return ()


class CountersExposition(Collector):
    """Read the counters at each scrape. Register it with a `prometheus_client` registry.

    Args:
        counters: Whose readings are shown; it must allow `read` from the scraping thread.
        programs: Tells which programs are attached now.
    """

    def __init__(
        self, counters: InterfaceCounters, *, programs: Callable[[], tuple[ProgramState, ...]] = no_programs
    ) -> None:
        self._counters, self._programs = counters, programs

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without reading: registering must not touch the kernel."""
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        """Read once and yield every metric."""
        packets, size, attached, carrier, changes, mtu, missing = self._families()
        for reading in self._counters.read():
            for row in reading.counts:
                labels = [reading.name, row.direction, row.traffic, row.size, row.protocol]
                packets.add_metric(labels, row.packets)
                size.add_metric(labels, row.bytes)
            carrier.add_metric([reading.name], float(reading.has_carrier))
            changes.add_metric([reading.name], reading.carrier_changes)
            mtu.add_metric([reading.name], reading.mtu)
        for program in self._programs():
            attached.add_metric([program.program, program.interface], float(program.is_attached))
        for signal in sorted(self._counters.missing()):
            missing.add_metric([signal], 1)
        yield from (packets, size, attached, carrier, changes, mtu, missing)

    @staticmethod
    def _families() -> tuple[
        CounterMetricFamily,
        CounterMetricFamily,
        GaugeMetricFamily,
        GaugeMetricFamily,
        CounterMetricFamily,
        GaugeMetricFamily,
        GaugeMetricFamily,
    ]:
        kinds = ["interface", "direction", "traffic", "size", "protocol"]
        return (
            CounterMetricFamily("ebpf_packets", "Packets counted; a GSO packet counts as its segments.", labels=kinds),
            CounterMetricFamily("ebpf_bytes", "Bytes of frames counted, headers of every segment in.", labels=kinds),
            GaugeMetricFamily(
                "ebpf_program_attached", "1 while the kernel runs the program there.", labels=["program", "interface"]
            ),
            GaugeMetricFamily("ebpf_interface_carrier", "1 while the link layer is up.", labels=["interface"]),
            CounterMetricFamily("ebpf_interface_carrier_changes", "Carrier transitions.", labels=["interface"]),
            GaugeMetricFamily("ebpf_interface_mtu_bytes", "Largest packet the interface takes.", labels=["interface"]),
            GaugeMetricFamily("ebpf_signal_missing", "1 for what this node cannot measure.", labels=["signal"]),
        )
