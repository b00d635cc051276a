"""A recording runs the whole way from the map to the sample, with no kernel.

`dumps/ping-and-probes.jsonl` was recorded with `x0tta6bl4 ebpf record` on one end of a veth pair: after two seconds
five pings of 56 bytes, three of 1,300, twenty datagrams to the probes' port and seven to babeld's, to a silent host.
`dumps/traced.jsonl` was recorded on a busy machine's loopback with the tracing programs beside it.
"""

import io
import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from typer.testing import CliRunner

from ebpf.bcc_backend import is_installed
from ebpf.exposition import CountersExposition
from ebpf.latency import SLOTS
from ebpf.layout import ROWS, decode
from ebpf.replay import Head, Recorder, ReplayedInterfaceCounters, encode, replayed_tracing
from ebpf.replay_tracing import ReplayedTracing, TracingDump, dumped
from ebpf.tracing import MapFill, NetworkCounts, SyscallCounts
from ebpf.tracing_exposition import TracingExposition
from flows.cli import app
from models.errors import ConfigurationInvalid
from models.telemetry import Direction, InterfaceReading, Protocol, SizeClass, TrafficClass, TrafficCount
from tests.contracts.interface_counters import InterfaceCountersContract
from tests.ebpf.test_exposition import READING, FixedCounters
from tests.fakes.node import FakeClock
from tests.tasks.virtual_time import LoopClock, virtual_time
from tests.tasks.world import ring, station

DUMP = Path(__file__).parent / "dumps" / "ping-and-probes.jsonl"
TRACED = DUMP.with_name("traced.jsonl")
SENT = {
    ("data", "small", "icmp"): (5, 5 * 98),
    ("data", "large", "icmp"): (3, 3 * 1342),
    ("probe", "medium", "udp"): (20, 20 * 642),
    ("routing", "small", "udp"): (7, 7 * 102),
}
_NUMBER = st.integers(0, 2**64 - 1)
_COUNTS = st.dictionaries(st.sampled_from(ROWS), st.tuples(st.integers(1, 2**64 - 1), _NUMBER)).map(
    lambda rows: tuple(TrafficCount(*ROWS[row], *rows[ROWS[row]]) for row in range(len(ROWS)) if ROWS[row] in rows)
)


def _last(counters):
    for _ in counters.dumps():
        readings = counters.read()
    return {one.name: one for one in readings}


def _sent(reading):
    return {
        (row.traffic, row.size, row.protocol): (row.packets, row.bytes)
        for row in reading.counts
        if row.direction is Direction.TX and (row.traffic, row.size, row.protocol) in SENT
    }


@given(_COUNTS)
def test_decoding_inverts_encoding(counts):
    assert decode(encode(counts)) == counts


def test_the_file_says_how_many_rows_the_map_has():
    assert Head().entries == len(ROWS) == encode(()).shape[0]


@given(_COUNTS, st.booleans(), st.integers(0, 2**32), st.integers(0, 65536))
def test_what_was_recorded_is_what_is_replayed(tmp_path_factory, counts, has_carrier, changes, mtu):
    reading = InterfaceReading("a", has_carrier=has_carrier, carrier_changes=changes, mtu=mtu, counts=counts)
    path = tmp_path_factory.mktemp("dumps") / "one.jsonl"
    with path.open("w") as file:
        recorder = Recorder(FixedCounters(reading, missing=frozenset({"xdp:a"})), file, clock=FakeClock())
        assert recorder.read() == (reading,)
    replayed = ReplayedInterfaceCounters(path)
    assert replayed.read() == (reading,)
    assert replayed.missing() == recorder.missing() == {"xdp:a"}


def test_each_dump_keeps_its_instant(tmp_path):
    clock, path = FakeClock(datetime(2026, 3, 1, tzinfo=UTC)), tmp_path / "two.jsonl"
    with path.open("w") as file:
        recorder = Recorder(FixedCounters(READING), file, clock=clock)
        recorder.read()
        clock.advance(timedelta(seconds=0.5))
        recorder.read()
    first, second = ReplayedInterfaceCounters(path).dumps()
    assert second.at - first.at == timedelta(seconds=0.5)


def test_a_dump_of_a_real_kernel_is_decoded_to_what_was_sent():
    last = _last(ReplayedInterfaceCounters(DUMP))
    assert sorted(last) == ["lo", "to-n1"]
    assert _sent(last["to-n1"]) == SENT
    assert last["lo"].counts == ()


def test_after_its_last_dump_a_recording_stands_still():
    replayed = ReplayedInterfaceCounters(DUMP)
    last = _last(replayed)
    assert {one.name: one for one in replayed.read()} == last


def test_a_recording_is_shown_to_prometheus():
    replayed = ReplayedInterfaceCounters(DUMP)
    _last(replayed)
    registry = CollectorRegistry()
    registry.register(CountersExposition(replayed))
    kind = 'direction="tx",interface="to-n1",protocol="udp",size="medium",traffic="probe"'
    assert f"ebpf_packets_total{{{kind}}} 20.0" in generate_latest(registry).decode()


@virtual_time
async def test_a_recording_becomes_samples():
    mesh, clock = ring(), LoopClock()
    one = station(mesh, mesh.nodes[1].id, None, clock)
    one.counters = ReplayedInterfaceCounters(DUMP)
    samples = [one.sample() for _ in one.counters.dumps()]
    before, after = (samples[number].interfaces[1] for number in (0, -1))
    assert before.counts == ()
    assert _sent(after) == SENT
    assert [sample.sequence for sample in samples] == list(range(len(samples)))


def test_the_command_prints_what_prometheus_would_see():
    ended = CliRunner().invoke(app, ["ebpf", "replay", str(DUMP)])
    assert ended.exit_code == 0
    assert 'protocol="icmp",size="large",traffic="data"} 3.0' in ended.output


class FixedTracing:
    """Signals that stand still; the first call is none a customer waits for."""

    slots = np.zeros((2, SLOTS), dtype=np.uint64)
    slots[0, 3], slots[1, [5, SLOTS - 1]] = 7, (100, 1)

    def missing(self):
        return frozenset({"tcp-states"})

    def network(self):
        return NetworkCounts({"no_socket": 3}, 2, None, {"drop": 3}, {"drop": 1})

    def syscalls(self):
        return SyscallCounts(("epoll_wait", "openat"), np.array([1.5, 0.25]), self.slots)

    def fills(self):
        return (MapFill("peers", 4, 4096),)


def test_what_was_traced_is_what_is_replayed(tmp_path):
    path, traced = tmp_path / "traced.jsonl", FixedTracing()
    with path.open("w") as file:
        Recorder(FixedCounters(READING), file, clock=FakeClock(), tracing=traced).read()
    replayed = replayed_tracing(path)
    assert replayed.missing() == traced.missing()
    assert (replayed.network(), replayed.fills()) == (traced.network(), traced.fills())
    before, after = traced.syscalls(), replayed.syscalls()
    assert after.names == before.names
    assert after.seconds.tolist() == before.seconds.tolist()
    assert after.slots.tolist() == before.slots.tolist()
    assert ReplayedInterfaceCounters(path).read() == (READING,)


def test_system_calls_are_of_the_time_since_the_dump_before():
    replayed = ReplayedTracing([dumped(FixedTracing()), dumped(FixedTracing())])
    first, second = replayed.read(), replayed.read()
    assert first.syscall_p99_us is not None
    assert (second.syscall_p99_us, second.retransmits) == (None, 2)
    replayed.close()
    assert replayed.read().retransmits is None


def test_what_was_not_measured_is_absent_and_not_zero():
    replayed = ReplayedTracing([TracingDump(missing=("drops", "retransmits", "syscalls", "tcp-states"))])
    reading = replayed.read()
    assert (reading.drops, reading.retransmits, reading.syscall_p99_us) == (None, None, None)
    assert replayed.network() is replayed.syscalls() is None


def test_a_recording_without_tracing_has_none():
    assert replayed_tracing(DUMP) is None


def test_a_traced_recording_is_shown_to_prometheus_whole():
    ended = CliRunner().invoke(app, ["ebpf", "replay", str(TRACED)])
    assert ended.exit_code == 0
    shown = {line.split("{")[0].split(" ")[0] for line in ended.output.splitlines() if not line.startswith("#")}
    assert shown >= {
        "ebpf_packets_total",
        "ebpf_drops_total",
        "ebpf_tcp_retransmits_total",
        "ebpf_tcp_state_changes_total",
        "ebpf_syscall_duration_seconds_bucket",
        "ebpf_events_total",
        "ebpf_map_entries",
    }
    replayed = replayed_tracing(TRACED)
    assert all(one.split("{")[0] in ended.output for one in _pages(replayed))


def _pages(tracing):
    registry = CollectorRegistry()
    registry.register(TracingExposition(tracing))
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


@virtual_time
async def test_a_traced_recording_becomes_samples():
    mesh, clock = ring(), LoopClock()
    one = station(mesh, mesh.nodes[1].id, None, clock)
    one.counters, one.kernel = ReplayedInterfaceCounters(TRACED), replayed_tracing(TRACED)
    samples = [one.sample() for _ in one.counters.dumps()]
    readings = [sample.host.kernel for sample in samples]
    assert all(one.drops and one.retransmits is not None and one.syscall_p99_us > 0 for one in readings)
    dropped = [sum(kind.packets for kind in one.drops) for one in readings]
    assert dropped == sorted(dropped)


@pytest.mark.kernel
@pytest.mark.parametrize("options", [[], ["--bcc"]])
def test_what_is_recorded_here_can_be_replayed_here(pair, tmp_path, options):
    if options and not is_installed():
        pytest.skip("bcc's library is not installed (apt install libbpfcc)")
    path = tmp_path / "own.jsonl"
    command = [sys.executable, "-m", "flows", "ebpf", "record", str(path), "--interface", "lo", "--seconds", "0.2"]
    subprocess.run(
        ["ip", "netns", "exec", pair.a, *command, *options],
        check=True,
        capture_output=True,
        cwd=Path(__file__).parents[2],
    )
    last = _last(ReplayedInterfaceCounters(path))
    assert list(last) == ["lo"]
    assert last["lo"].mtu == 65536
    traced = replayed_tracing(path)
    assert (traced.syscalls() is None) == ("syscalls" in traced.missing())
    if not options:
        assert traced.syscalls().slots.sum() > 0


def _line(**changes):
    interface = {"name": "a", "has_carrier": True, "carrier_changes": 0, "mtu": 1500, "traffic": [[0, 1, 2]]} | changes
    return json.dumps({"at": "2026-01-01T00:00:00Z", "interfaces": [interface]})


HEAD = Head().model_dump_json()


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "line 1"),
        ([HEAD], "holds no dump"),
        (['{"format": "something else"}', _line()], "line 1: format"),
        ([HEAD.replace('"version":1', '"version":2'), _line()], "line 1: version"),
        ([HEAD, _line(), _line()[:-9]], "line 3"),
        ([HEAD, _line(traffic=[[90, 1, 2]])], "line 2: interfaces.0.traffic.0.0"),
        ([HEAD, _line(traffic=[[1, 2**64, 2]])], "line 2: interfaces.0.traffic.0.1"),
        ([HEAD, _line(traffic=[[1, -1, 2]])], "line 2: interfaces.0.traffic"),
    ],
)
def test_what_is_no_recording_is_refused_with_its_line(tmp_path, lines, reason):
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigurationInvalid, match=reason) as caught:
        ReplayedInterfaceCounters(path)
    assert "x0tta6bl4 ebpf record" in str(caught.value)


def test_a_file_that_is_not_there_or_is_no_text_is_refused(tmp_path):
    (tmp_path / "binary").write_bytes(np.arange(128, 256, dtype=np.uint8).tobytes())
    for name in ("binary", "nothing"):
        with pytest.raises(ConfigurationInvalid, match="cannot be read"):
            ReplayedInterfaceCounters(tmp_path / name)


class GrowingCounters(FixedCounters):
    """Counters that see one more packet in each direction of every interface at each reading."""

    def read(self):
        packets, self.reads = self.reads, self.reads + 1
        counts = tuple(
            TrafficCount(direction, TrafficClass.DATA, SizeClass.SMALL, Protocol.UDP, packets, 100 * packets)
            for direction in Direction
            if packets
        )
        return tuple(replace(one, counts=counts) for one in self._readings)


@pytest.fixture
def growing(tmp_path, interfaces):
    path = tmp_path / "growing.jsonl"
    with path.open("w") as file:
        recorder = Recorder(
            GrowingCounters(*(replace(READING, name=one) for one in interfaces)), file, clock=FakeClock()
        )
        for _ in range(5):
            recorder.read()
    return ReplayedInterfaceCounters(path)


class TestReplayedInterfaceCounters(InterfaceCountersContract):
    @pytest.fixture
    def interfaces(self):
        return ["to-n1", "to-n2"]

    @pytest.fixture
    def counters(self, growing):
        return growing

    @pytest.fixture
    def send(self, counters):
        return counters.read


class TestRecorder(TestReplayedInterfaceCounters):
    """Recording changes nothing: what passes through it keeps the contract."""

    @pytest.fixture
    def counters(self, growing):
        return Recorder(growing, io.StringIO(), clock=FakeClock())
