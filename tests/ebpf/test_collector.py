"""The two ways of counting, against one contract; and what only the eBPF one can do."""

import fcntl
import json
import socket
import struct
import subprocess
import sys
import time

import pytest

from ebpf.collector import EbpfInterfaceCounters, PsutilInterfaceCounters
from infra.node.netns import entered
from models.errors import ConfigurationInvalid
from models.telemetry import Direction, Protocol, SizeClass, TrafficClass
from tests.contracts.interface_counters import InterfaceCountersContract
from tests.ebpf.conftest import eventually, inside, run


def _send_datagrams(count=5):
    """Send over this namespace's loopback, where a packet is sent and received before `send` returns or soon after."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        for _ in range(count):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(bytes(100), receiver.getsockname())
                receiver.recv(200)


def _send_one_of_a_flow_of_its_own():
    """Wait for no answer: while a clsact comes or goes (before TCX) the kernel drops what is just being sent."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        sender.sendto(bytes(100), receiver.getsockname())
        time.sleep(0.001)


class TestPsutilInterfaceCounters(InterfaceCountersContract):
    @pytest.fixture
    def interfaces(self):
        return ["lo"]

    @pytest.fixture
    def counters(self, interfaces):
        opened = PsutilInterfaceCounters(interfaces)
        yield opened
        opened.close()

    @pytest.fixture
    def send(self):
        return _send_datagrams

    # The machine's own loopback is not ours alone: others may send between opening and reading.
    def test_counts_begin_at_zero_and_grow_with_traffic(self, counters, send):
        before = sum(row.packets for reading in counters.read() for row in reading.counts)
        send()
        assert sum(row.packets for reading in counters.read() for row in reading.counts) >= before + 10

    def test_names_what_it_cannot_tell_apart_and_calls_everything_one_kind(self, counters, send):
        send()
        assert counters.missing() == {"traffic-class", "size-class", "protocol"}
        kinds = {(row.traffic, row.size, row.protocol) for reading in counters.read() for row in reading.counts}
        assert kinds == {(TrafficClass.DATA, SizeClass.MEDIUM, Protocol.OTHER)}
        assert counters.programs() == ()

    def test_an_interface_that_is_not_there_is_left_out(self):
        opened = PsutilInterfaceCounters(["nothing", "lo"])
        assert [one.name for one in opened.read()] == ["lo"]
        opened.close()


@pytest.mark.kernel
class TestEbpfInterfaceCounters(InterfaceCountersContract):
    @pytest.fixture
    def interfaces(self):
        return ["lo", "end"]

    @pytest.fixture
    def counters(self, pair, interfaces):
        opened = inside(pair.a, lambda: EbpfInterfaceCounters(interfaces))
        yield opened
        opened.close()

    @pytest.fixture
    def send(self, pair):
        return lambda: inside(pair.a, _send_datagrams)

    def test_reads_and_closes_from_any_namespace(self, pair, counters, send):
        send()
        with entered(pair.b):
            rows = {
                (reading.name, row.direction): (row.packets, row.bytes, row.traffic, row.size, row.protocol)
                for reading in counters.read()
                for row in reading.counts
            }
            expected = (5, 5 * 142, TrafficClass.DATA, SizeClass.SMALL, Protocol.UDP)
            assert rows == {("lo", Direction.RX): expected, ("lo", Direction.TX): expected}
            counters.close()

    def test_the_largest_flow_of_an_interface_is_told_first(self, pair):
        opened = inside(pair.a, lambda: EbpfInterfaceCounters(["lo", "end"], flow_sampling=1))
        inside(pair.a, lambda: _send_datagrams(5))
        found = opened.largest_flows("lo", 20)
        assert len(found) == 10  # each datagram from a port of its own, seen in both directions
        assert {(str(one.source), one.packets, one.bytes) for one in found} == {("127.0.0.1", 1, 142)}
        assert len(opened.largest_flows("lo", 3)) == 3
        assert opened.largest_flows("end", 3) == opened.largest_flows("nothing", 3) == ()
        opened.close()

    def test_sees_the_carrier_go_and_come_back(self, pair, counters):
        def end():
            return next(one for one in counters.read() if one.name == "end")

        before = end()
        run("ip", "-n", pair.b, "link", "set", "end", "down")
        eventually(lambda: not end().has_carrier)
        assert end().carrier_changes > before.carrier_changes
        run("ip", "-n", pair.b, "link", "set", "end", "up")
        eventually(lambda: end().has_carrier)

    def test_sees_the_mtu_change(self, pair, counters):
        run("ip", "-n", pair.a, "link", "set", "end", "mtu", "1280")
        assert {one.name: one.mtu for one in counters.read()}["end"] == 1280

    def test_a_vanished_interface_is_left_out_and_its_namesake_is_not_taken_for_it(self, pair, counters):
        run("ip", "-n", pair.a, "link", "del", "end")
        assert [one.name for one in counters.read()] == ["lo"]
        assert {one.interface for one in counters.programs() if not one.is_attached} == {"end"}
        run("ip", "-n", pair.a, "link", "add", "end", "type", "veth", "peer", "name", "other")
        assert [one.name for one in counters.read()] == ["lo"]

    def test_one_interface_that_cannot_be_counted_takes_no_other_down(self, pair):
        opened = inside(pair.a, lambda: EbpfInterfaceCounters(["lo", "nothing"]))
        assert [one.name for one in opened.read()] == ["lo"]
        assert opened.missing() == {"counters:nothing"}
        opened.close()

    def test_nothing_to_count_is_an_error_that_says_why(self, pair):
        with entered(pair.a), pytest.raises(ConfigurationInvalid, match="no interface nothing"):
            EbpfInterfaceCounters(["nothing"])

    def test_a_counter_that_xdp_refuses_is_named_and_the_rest_counts(self, pair):
        first = inside(pair.a, lambda: EbpfInterfaceCounters(["end"], with_xdp=True))
        second = inside(pair.a, lambda: EbpfInterfaceCounters(["end"], with_xdp=True))
        assert first.missing() == frozenset()
        assert second.missing() == {"xdp:end"}
        assert [one.name for one in second.read()] == ["end"]
        second.close()
        first.close()


@pytest.mark.kernel
def test_packets_without_an_ethernet_header_are_sorted_all_the_same(pair):
    """On a tun device a packet begins with its IP header."""
    run("ip", "-n", pair.a, "tuntap", "add", "bare", "mode", "tun")
    for command in (["addr", "add", "10.8.0.1/24", "dev", "bare"], ["link", "set", "bare", "up"]):
        run("ip", "-n", pair.a, *command)
    opened = inside(pair.a, lambda: EbpfInterfaceCounters(["bare"]))
    with open("/dev/net/tun", "rb+", buffering=0) as device:  # noqa: PTH123  # a device, and it must not be buffered
        inside(pair.a, lambda: _hold(device))
        with entered(pair.a), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(bytes(10), ("10.8.0.2", 6700))
        (reading,) = opened.read()
        assert [(row.traffic, row.protocol, row.packets, row.bytes) for row in reading.counts] == [
            (TrafficClass.PROBE, Protocol.UDP, 1, 38)
        ]
    opened.close()


def _hold(device):
    """Make an open /dev/net/tun the other side of `bare` (TUNSETIFF, without packet information)."""
    fcntl.ioctl(device, 0x400454CA, struct.pack("16sH14x", b"bare", 0x0001 | 0x1000))


@pytest.mark.kernel
def test_the_command_tells_who_talked_most_while_it_looked(pair):
    """Over the loopback of a namespace of our own, so that nobody else talks."""
    command = [sys.executable, "-m", "flows", "ebpf", "flows", "--interface", "lo", "--sampling", "1", "--json"]
    with entered(pair.a), subprocess.Popen([*command, "--seconds", "1"], stdout=subprocess.PIPE) as looking:
        while looking.poll() is None:
            _send_one_of_a_flow_of_its_own()
        told = json.loads(looking.stdout.read())
    assert looking.returncode == 0
    assert {(one["source"], one["protocol"], one["bytes"]) for one in told["lo"]} == {("127.0.0.1", 17, 142)}
    assert len(told["lo"]) == 10
