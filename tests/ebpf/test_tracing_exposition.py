"""What the tracing programs show to Prometheus."""

import subprocess
from itertools import pairwise

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ebpf.latency import SLOTS
from ebpf.page import page
from ebpf.tracing import MapFill, NetworkCounts, SyscallCounts
from ebpf.tracing_exposition import MAX_SYSCALLS, TracingExposition
from tests.infra.deploy.tools import tool

NETWORK = NetworkCounts(
    drops={"no_socket": 4},
    retransmits=2,
    states={"close": 9},
    events={"drop": 4, "retransmit": 2, "state": 9},
    lost={"drop": 1, "retransmit": 0, "state": 0},
)


class FixedTracing:
    """Programs that always read the same, until told otherwise."""

    def __init__(self, network=None, calls=None):
        self._network, self.calls = network, calls

    def network(self):
        return self._network

    def syscalls(self):
        if self.calls is None:
            return None
        slots = np.zeros((len(self.calls), SLOTS), dtype=np.uint64)
        slots[:, 3] = list(self.calls.values())
        return SyscallCounts(tuple(self.calls), np.array(list(self.calls.values())) * 1e-6, slots)

    def fills(self):
        return (MapFill("peers", 3, 4096),) if self._network else ()


def _registry(traced):
    registry = CollectorRegistry()
    registry.register(TracingExposition(traced))
    return registry


def _samples(registry):
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples}


def test_shows_every_count_under_its_name():
    shown = _samples(_registry(FixedTracing(NETWORK)))
    assert shown["ebpf_drops_total", ("reason", "no_socket")] == 4
    assert shown[("ebpf_tcp_retransmits_total",)] == 2
    assert shown["ebpf_tcp_state_changes_total", ("state", "close")] == 9
    assert shown["ebpf_events_total", ("kind", "state")] == 9
    assert shown["ebpf_events_lost_total", ("kind", "drop")] == 1
    assert shown["ebpf_map_entries", ("map", "peers")] == 3
    assert shown["ebpf_map_capacity_entries", ("map", "peers")] == 4096


def test_promtool_finds_nothing_to_mend():
    text = page([*TracingExposition(FixedTracing(NETWORK, calls={"write": 5})).families()])
    done = subprocess.run([tool("promtool"), "check", "metrics"], check=False, input=text, capture_output=True)
    assert b"ebpf_syscall_duration_seconds_bucket" in text
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_a_signal_that_is_not_measured_has_no_line_and_never_a_zero():
    assert _samples(_registry(FixedTracing())) == {}
    partly = NetworkCounts(drops=None, retransmits=None, states={"close": 0}, events={}, lost={})
    assert {name for name, *_ in _samples(_registry(FixedTracing(partly)))} == {
        "ebpf_tcp_state_changes_total",
        "ebpf_map_entries",
        "ebpf_map_capacity_entries",
    }


def test_a_histogram_has_steps_that_double_and_add_up():
    shown = _samples(_registry(FixedTracing(calls={"write": 5})))
    buckets = {
        dict(labels)["le"]: value for (name, *labels), value in shown.items() if name.endswith("_seconds_bucket")
    }
    edges = [float(one) for one in buckets]
    assert len(edges) == SLOTS
    assert all(after == 2 * before for before, after in pairwise(edges[:-1]))
    assert edges[-1] == float("inf")
    assert list(buckets.values()) == [0, 0, 0, *[5] * (SLOTS - 3)]
    assert shown["ebpf_syscall_duration_seconds_count", ("syscall", "write")] == 5
    assert shown["ebpf_syscall_duration_seconds_sum", ("syscall", "write")] == pytest.approx(5e-6)


def test_labels_are_bounded_and_a_call_keeps_its_own():
    traced = FixedTracing(calls={f"call{n}": 100 - n for n in range(MAX_SYSCALLS + 10)})
    registry = _registry(traced)

    def counted():
        shown = _samples(registry)
        return {
            dict(labels)["syscall"]: value
            for (name, *labels), value in shown.items()
            if name.endswith("_seconds_count")
        }

    first = counted()
    assert len(first) == MAX_SYSCALLS + 1
    assert first["other"] == sum(100 - n for n in range(MAX_SYSCALLS, MAX_SYSCALLS + 10))
    traced.calls["call41"] = 10_000  # busier than all, but late
    assert counted().keys() == first.keys()


def test_registering_touches_no_map():
    class Untouchable:
        def __getattr__(self, name):
            raise AssertionError(name)

    _registry(Untouchable())
