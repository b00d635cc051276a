"""A node's counters in Prometheus' form. Labels are closed sets; interfaces are those the node was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ebpf.collector import ProgramState
from ebpf.page import Family, metric
from models.ports import InterfaceCounters
from models.telemetry import InterfaceReading


def no_programs() -> tuple[ProgramState, ...]:
    """Stand in for `programs` where the counters come without any."""
    return ()


def nothing_missing() -> frozenset[str]:
    """Stand in for `missing` where the interface counters are all there is."""
    return frozenset()


class CountersExposition(Collector):
    """Read the counters at each scrape: write `families` by `ebpf.page`, or register it with `prometheus_client`.

    Args:
        counters: Whose readings are shown; it must allow `read` from the scraping thread.
        programs: Tells which programs are attached now.
        missing: Names signals of others, next to those of the counters, that this node cannot measure.
        now: Tells the instant, to show when the counters were read; None: it is not shown.
    """

    def __init__(
        self,
        counters: InterfaceCounters,
        *,
        programs: Callable[[], tuple[ProgramState, ...]] = no_programs,
        missing: Callable[[], frozenset[str]] = nothing_missing,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._counters, self._programs, self._others, self._now = counters, programs, missing, now

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without reading: registering must not touch the kernel."""
        yield from map(metric, (*_interfaces(()), *_programs(()), _missing(frozenset()), _read_at(None)))

    def collect(self) -> Iterator[Metric]:
        """Read once and yield every metric."""
        yield from map(metric, self.families())

    def families(self) -> Iterator[Family]:
        """Read once and yield every metric."""
        yield _read_at(None if self._now is None else self._now())
        yield from _interfaces(self._counters.read())
        yield from _programs(self._programs())
        yield _missing(self._counters.missing() | self._others())


def _read_at(instant: datetime | None) -> Family:
    time = Family("ebpf_read_time_seconds", "gauge", "When the interfaces' counters of this page were read.")
    if instant is not None:
        time.add((), instant.timestamp())
    return time


def _interfaces(readings: tuple[InterfaceReading, ...]) -> tuple[Family, ...]:
    kinds, name = ("interface", "direction", "traffic", "size", "protocol"), ("interface",)
    packets = Family("ebpf_packets_total", "counter", "Packets counted; a GSO packet counts as its segments.", kinds)
    size = Family("ebpf_bytes_total", "counter", "Bytes of frames counted, headers of every segment in.", kinds)
    carrier = Family("ebpf_interface_carrier", "gauge", "1 while the link layer is up.", name)
    changes = Family("ebpf_interface_carrier_changes_total", "counter", "Carrier transitions.", name)
    mtu = Family("ebpf_interface_mtu_bytes", "gauge", "Largest packet the interface takes.", name)
    for reading in readings:
        for row in reading.counts:
            labels = (reading.name, row.direction, row.traffic, row.size, row.protocol)
            packets.add(labels, row.packets)
            size.add(labels, row.bytes)
        carrier.add((reading.name,), int(reading.has_carrier))
        changes.add((reading.name,), reading.carrier_changes)
        mtu.add((reading.name,), reading.mtu)
    return packets, size, carrier, changes, mtu


def _programs(programs: tuple[ProgramState, ...]) -> tuple[Family, ...]:
    labels = ("program", "interface")
    attached = Family("ebpf_program_attached", "gauge", "1 while the kernel runs the program there.", labels)
    time = Family(
        "ebpf_program_run_time_seconds_total",
        "counter",
        "Time in the program; with kernel.bpf_stats_enabled=1 only.",
        labels,
    )
    runs = Family(
        "ebpf_program_runs_total", "counter", "Runs of the program; with kernel.bpf_stats_enabled=1 only.", labels
    )
    for one in programs:
        where = (one.program, one.interface)
        attached.add(where, int(one.is_attached))
        if one.runs is not None:
            time.add(where, one.runs.seconds)
            runs.add(where, one.runs.count)
    return attached, time, runs


def _missing(signals: frozenset[str]) -> Family:
    missing = Family("ebpf_signal_missing", "gauge", "1 for what this node cannot measure.", ("signal",))
    for signal in sorted(signals):
        missing.add((signal,), 1)
    return missing
