"""What a node shows to Prometheus."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ebpf.collector import ProgramState
from ebpf.exposition import CountersExposition
from ebpf.runs import Runs
from models.telemetry import Direction, InterfaceReading, Protocol, SizeClass, TrafficClass, TrafficCount


class FixedCounters:
    """Counters that always read the same."""

    def __init__(self, *readings, missing=frozenset()):
        self._readings, self._missing = readings, missing
        self.reads = 0

    def read(self):
        self.reads += 1
        return self._readings

    def missing(self):
        return self._missing

    def close(self):
        """Hold nothing."""


BABEL = TrafficCount(Direction.RX, TrafficClass.ROUTING, SizeClass.SMALL, Protocol.UDP, packets=7, bytes=700)
READING = InterfaceReading("to-n1", has_carrier=True, carrier_changes=3, mtu=1500, counts=(BABEL,))


def _samples(exposition):
    registry = CollectorRegistry()
    registry.register(exposition)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples}


def test_shows_every_count_with_its_kind():
    kind = (
        ("direction", "rx"),
        ("interface", "to-n1"),
        ("protocol", "udp"),
        ("size", "small"),
        ("traffic", "routing"),
    )
    shown = _samples(CountersExposition(FixedCounters(READING)))
    assert shown["ebpf_packets_total", *kind] == 7
    assert shown["ebpf_bytes_total", *kind] == 700
    assert shown["ebpf_interface_carrier", ("interface", "to-n1")] == 1
    assert shown["ebpf_interface_carrier_changes_total", ("interface", "to-n1")] == 3
    assert shown["ebpf_interface_mtu_bytes", ("interface", "to-n1")] == 1500


def test_shows_a_program_that_was_detached_and_a_signal_that_is_missing():
    programs = (ProgramState("count_ingress", "to-n1", is_attached=False),)
    counters = FixedCounters(READING, missing=frozenset({"xdp:to-n1"}))
    shown = _samples(CountersExposition(counters, programs=lambda: programs))
    assert shown["ebpf_program_attached", ("interface", "to-n1"), ("program", "count_ingress")] == 0
    assert shown["ebpf_signal_missing", ("signal", "xdp:to-n1")] == 1


def test_a_tracing_program_belongs_to_no_interface_and_names_of_others_are_missing_too():
    programs = (ProgramState("drop__tp_btf", "", is_attached=True),)
    exposition = CountersExposition(FixedCounters(), programs=lambda: programs, missing=lambda: frozenset({"syscalls"}))
    shown = _samples(exposition)
    assert shown["ebpf_program_attached", ("interface", ""), ("program", "drop__tp_btf")] == 1
    assert shown["ebpf_signal_missing", ("signal", "syscalls")] == 1


def test_runs_are_shown_only_where_the_kernel_counts_them():
    programs = (
        ProgramState("count_ingress", "to-n1", is_attached=True, runs=Runs(seconds=0.5, count=7)),
        ProgramState("count_egress", "to-n1", is_attached=True),
    )
    shown = _samples(CountersExposition(FixedCounters(READING), programs=lambda: programs))
    where = ("interface", "to-n1"), ("program", "count_ingress")
    assert shown["ebpf_program_run_time_seconds_total", *where] == 0.5
    assert shown["ebpf_program_runs_total", *where] == 7
    assert ("ebpf_program_runs_total", ("interface", "to-n1"), ("program", "count_egress")) not in shown


def test_reads_once_a_scrape_and_not_at_all_when_it_is_registered():
    counters = FixedCounters(READING)
    registry = CollectorRegistry()
    registry.register(CountersExposition(counters))
    assert counters.reads == 0
    generate_latest(registry)
    assert counters.reads == 1


def test_a_node_without_interfaces_still_announces_its_metrics():
    registry = CollectorRegistry()
    registry.register(CountersExposition(FixedCounters()))
    assert b"# TYPE ebpf_packets_total counter" in generate_latest(registry)
