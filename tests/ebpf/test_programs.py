"""The programs themselves: what they make of every kind of packet, really sent and run inside the kernel."""

import socket
import struct
import threading
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ebpf.btf import Kind
from ebpf.collector import EbpfInterfaceCounters
from ebpf.elf import read_object
from ebpf.flows import FLOW, largest
from ebpf.layout import COUNT_BYTES, ROWS, decode
from ebpf.libbpf import libbpf
from ebpf.loader import EBPFLoader
from ebpf.maps import HashTable, PerCpuArray
from infra.node.netns import entered
from models.telemetry import Direction, Protocol, SizeClass, TrafficClass
from tests.ebpf.conftest import eventually, inside
from tests.ebpf.frames import CASES, IPV4, TCP, UDP, ethernet, ipv4, sort, tcp, udp

_TC_NEXT = 2**32 - 1  # -1, as the kernel reports it
_XDP_PASS = 2


@pytest.mark.parametrize(
    ("name", "members", "last"),
    [
        ("direction", Direction, "DIRECTIONS"),
        ("traffic_class", TrafficClass, "TRAFFIC_CLASSES"),
        ("size_class", SizeClass, "SIZE_CLASSES"),
        ("protocol", Protocol, "PROTOCOLS"),
    ],
)
def test_c_enums_are_in_the_order_of_the_domain(objects, name, members, last):
    found = read_object((objects / "tc_classifier.o").read_bytes(), "x").btf.named(name, kind=Kind.ENUM)
    prefix = name.split("_")[0].upper()
    assert [(one.name, one.value) for one in found.members] == [
        *((f"{prefix}_{member.name}", index) for index, member in enumerate(members)),
        (last, len(members)),
    ]


def test_c_struct_has_the_size_and_fields_that_the_decoder_reads(objects):
    for file in ("tc_classifier.o", "xdp_counter.o"):
        counted = read_object((objects / file).read_bytes(), file).btf.named("count", kind=Kind.STRUCT)
        assert counted.size == COUNT_BYTES
        assert [(one.name, one.value) for one in counted.members] == [("packets", 0), ("bytes", 64)]


def test_maps_have_a_row_for_every_kind(objects):
    classifier = read_object((objects / "tc_classifier.o").read_bytes(), "x").maps["traffic"]
    assert (classifier.max_entries, classifier.value) == (len(ROWS), COUNT_BYTES)
    assert read_object((objects / "xdp_counter.o").read_bytes(), "x").maps["frames"].max_entries == len(Protocol)


@pytest.mark.parametrize("name", CASES)
def test_the_tests_own_reading_of_the_rules_agrees_with_the_table(name):
    frame, expected = CASES[name]
    assert sort(frame) == expected


class Trial:
    """One loaded copy of the programs, to run packets through without any interface."""

    def __init__(self, loader):
        classifier, counter = loader.load_program("tc_classifier.o"), loader.load_program("xdp_counter.o")
        self.programs = classifier.programs
        self.xdp = counter.programs["count_frames"]
        self._rows = PerCpuArray(classifier.maps["traffic"], entries=len(ROWS), value_bytes=COUNT_BYTES)
        self._frames = PerCpuArray(counter.maps["frames"], entries=len(Protocol), value_bytes=COUNT_BYTES)

    def classify(self, frame, *, direction=Direction.RX, context=None):
        """Run one frame; return (return value, the one kind of row that grew, packets, bytes)."""
        program = self.programs["count_ingress" if direction is Direction.RX else "count_egress"]
        before = self._rows.read()
        result, _ = libbpf().trial_run(program, frame, context=context)
        (grown,) = decode(self._rows.read() - before)
        assert grown.direction is direction
        return result, (grown.traffic, grown.size, grown.protocol), grown.packets, grown.bytes

    def count(self, frame):
        before = self._frames.read()
        result, _ = libbpf().trial_run(self.xdp, frame)
        grown = self._frames.read() - before
        (row,) = grown[:, 0].nonzero()[0]
        return result, list(Protocol)[row], *grown[row].tolist()


def _is_runnable(frame):
    """Tell whether the kernel makes a trial packet of it: newer ones refuse an IP packet cut within its header."""
    return len(frame) >= 14 + {0x0800: 20, 0x86DD: 40}.get(int.from_bytes(frame[12:14], "big"), 1)


@pytest.fixture(scope="module")
def trial(kernel):
    with EBPFLoader() as loader:
        yield Trial(loader)


@pytest.mark.kernel
@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("name", [name for name, (frame, _) in CASES.items() if _is_runnable(frame)])
def test_every_kind_of_frame_is_sorted_as_the_table_says(trial, name, direction):
    frame, expected = CASES[name]
    assert trial.classify(frame, direction=direction) == (_TC_NEXT, expected, 1, len(frame))


@pytest.mark.kernel
@pytest.mark.parametrize("name", CASES)
def test_xdp_counts_every_kind_of_frame_by_protocol(trial, name):
    frame, (_, _, protocol) = CASES[name]
    assert trial.count(frame) == (_XDP_PASS, protocol, 1, len(frame))


_KINDS = st.sampled_from([0x0800, 0x86DD, 0x8100, 0x88A8, 0x0806, 0x1234])
_RANDOM = st.builds(ethernet, _KINDS, st.binary(max_size=1500))


@st.composite
def _damaged(draw):
    """Take a good frame, overwrite a few bytes behind the addresses and cut it somewhere."""
    frame = bytearray(draw(st.sampled_from([one for one, _ in CASES.values()])))
    for _ in range(draw(st.integers(0, 6))):
        frame[draw(st.integers(12, min(len(frame), 80) - 1))] = draw(st.integers(0, 255))
    return bytes(frame[: draw(st.integers(14, len(frame)))])


@pytest.mark.kernel
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frame=_RANDOM | _damaged())
def test_whatever_the_bytes_both_programs_agree_with_the_rules_and_let_the_packet_pass(trial, frame):
    expected = sort(frame)
    if _is_runnable(frame):
        assert trial.classify(frame) == (_TC_NEXT, expected, 1, len(frame))
    assert trial.count(frame) == (_XDP_PASS, expected[2], 1, len(frame))


def _context(*, segments, segment_bytes):
    """Build a struct __sk_buff with only the fields of a GSO packet set (include/uapi/linux/bpf.h)."""
    context = bytearray(192)
    struct.pack_into("=I", context, 164, segments)
    struct.pack_into("=I", context, 176, segment_bytes)
    return bytes(context)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("frame", "segment", "segments", "size"),
    [
        (ethernet(IPV4, ipv4(TCP, tcp(2896))), 1448, 2, "large"),  # a trial packet must fit into one page
        (ethernet(IPV4, ipv4(TCP, tcp(2500))), 500, 5, "medium"),
        (ethernet(IPV4, ipv4(UDP, udp(9, 9, 1000))), 100, 10, "small"),
    ],
)
def test_a_gso_packet_counts_as_its_segments_each_with_its_headers(trial, frame, segment, segments, size):
    headers = len(frame) - segment * segments
    for told in (segments, 0):  # a tap may leave the kernel without the number
        _, kind, packets, counted = trial.classify(frame, context=_context(segments=told, segment_bytes=segment))
        assert (kind[1], packets) == (size, segments)
        assert counted == segments * (headers + segment)


@pytest.fixture
def flows(kernel):
    """Run the classifier with every packet looked at; return (loaded, a function that reads its flows)."""
    with EBPFLoader() as loader:
        loaded = loader.load_program("tc_classifier.o", constants={"flow_sampling": 1})
        table = HashTable(loaded.maps["flows"], loaded.definitions["flows"])
        yield loaded, lambda: largest(*table.read(), 2000)


def _conversation(number, *, protocol=UDP, size=100):
    return ethernet(IPV4, ipv4(protocol, udp(1000 + number, 2000, size) if protocol == UDP else tcp(size)))


@pytest.mark.kernel
def test_flows_are_told_apart_by_addresses_ports_protocol_and_direction(flows):
    loaded, read = flows
    before = {one: (one.packets, one.bytes) for one in read()}
    frame, six = _conversation(1), CASES["babel"][0]
    for times, (name, packet) in enumerate(
        [("count_ingress", frame), ("count_egress", frame), ("count_ingress", six)], start=2
    ):
        libbpf().trial_run(loaded.programs[name], packet, repeat=times)
    assert not before
    found = {(one.direction, str(one.source), one.source_port, one.protocol): one for one in read()}
    assert found[Direction.RX, "10.9.0.1", 1001, UDP].packets == 2
    assert found[Direction.TX, "10.9.0.1", 1001, UDP].bytes == 3 * len(frame)
    assert found[Direction.RX, "::", 6696, UDP].packets == 4
    assert len(found) == 3
    assert [one.bytes for one in read()] == sorted((one.bytes for one in read()), reverse=True)


@pytest.mark.kernel
def test_one_packet_in_sixteen_stands_for_all_of_them(kernel):
    with EBPFLoader() as loader:
        loaded = loader.load_program("tc_classifier.o", constants={"flow_sampling": 16})
        libbpf().trial_run(loaded.programs["count_ingress"], _conversation(1), repeat=400_000)
        (found,) = largest(*HashTable(loaded.maps["flows"], loaded.definitions["flows"]).read(), 10)
        # The gaps between 25,000 samples vary by 8.9: their sum by 0.4 %. Ten of those is no chance.
        assert found.packets == pytest.approx(400_000, rel=0.04)


@pytest.mark.kernel
def test_more_flows_than_there_is_room_for_push_out_the_oldest(flows):
    loaded, read = flows
    for number in range(1500):
        libbpf().trial_run(loaded.programs["count_ingress"], _conversation(number))
    assert 100 < len(read()) <= 1024
    assert any(one.source_port == 1000 + 1499 for one in read())


@pytest.mark.kernel
def test_no_flow_is_kept_unless_asked_for(trial, pair):
    with EBPFLoader() as loader:
        loaded = loader.load_program("tc_classifier.o")
        libbpf().trial_run(loaded.programs["count_ingress"], _conversation(1), repeat=100)
        assert largest(*HashTable(loaded.maps["flows"], loaded.definitions["flows"]).read(), 10) == ()


def test_c_flow_is_laid_out_as_the_decoder_reads_it(objects):
    found = read_object((objects / "tc_classifier.o").read_bytes(), "x").btf.named("flow", kind=Kind.STRUCT)
    assert found.size == FLOW.itemsize
    assert [(one.name, one.value // 8) for one in found.members] == [
        (name, FLOW.fields[name][1]) for name in FLOW.names
    ]


@pytest.mark.kernel
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frame=_RANDOM | _damaged())
def test_whatever_the_bytes_flows_are_looked_at_and_the_packet_passes(flows, frame):
    loaded, _ = flows
    if _is_runnable(frame):
        for name in ("count_ingress", "count_egress"):
            assert libbpf().trial_run(loaded.programs[name], frame)[0] == _TC_NEXT


def _sum(counters, direction):
    """Sum packets and bytes by kind over what one namespace's counters read."""
    return {
        (row.traffic.value, row.size.value, row.protocol.value): (row.packets, row.bytes)
        for reading in counters.read()
        for row in reading.counts
        if row.direction is direction
    }


@pytest.mark.kernel
def test_frames_really_sent_are_counted_exactly_at_both_ends(pair):
    here = inside(pair.a, lambda: EbpfInterfaceCounters(["end"]))
    there = inside(pair.b, lambda: EbpfInterfaceCounters(["end"], with_xdp=True))
    # The receiving kernel lifts the outermost tag out of the frame, so that three become two, which can be read.
    cases = [case for name, case in CASES.items() if name != "three tags"]
    expected, total = {}, 0
    sender = inside(pair.a, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    try:
        with entered(pair.a):
            sender.bind(("end", 0))
        for times, (frame, kind) in enumerate(cases, start=3):  # a number of its own for each
            for _ in range(times):
                sender.send(frame)
            packets, size = expected.get(kind, (0, 0))
            expected[kind] = packets + times, size + times * len(frame)
            total += times
            # A veth's receiving ring holds 256 frames: never more than one kind is under way.
            eventually(lambda least=total: _received(there) >= least)
        assert _sum(here, Direction.TX) == expected
        # The lifted tag is no longer part of the bytes.
        assert {kind: packets for kind, (packets, _) in _sum(there, Direction.RX).items()} == {
            kind: packets for kind, (packets, _) in expected.items()
        }
        assert _sum(here, Direction.RX) == {}
        assert {one.program for one in there.programs()} == {"count_ingress", "count_egress", "count_frames"}
    finally:
        sender.close()
        here.close()
        there.close()


def _received(counters):
    return sum(packets for packets, _ in _sum(counters, Direction.RX).values())


def _send_tcp(pair, size):
    """Send `size` bytes over TCP from a to b, with windows so small that no queue between them can overflow."""
    with entered(pair.b):
        listener = socket.create_server(("10.9.0.2", 0))
    with entered(pair.a):
        client = socket.socket()
    received = Counter()

    def receive():
        connection, _ = listener.accept()
        with connection:
            while chunk := connection.recv(1 << 16):
                received["bytes"] += len(chunk)

    for one in (listener, client):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
    thread = threading.Thread(target=receive)
    thread.start()
    with listener, client:
        client.connect(listener.getsockname())
        client.sendall(bytes(size))
        client.shutdown(socket.SHUT_WR)
        thread.join()
    assert received["bytes"] == size


@pytest.mark.kernel
def test_a_tcp_transfer_with_segmentation_offload_is_counted_alike_at_both_ends(pair):
    here = inside(pair.a, lambda: EbpfInterfaceCounters(["end"]))
    there = inside(pair.b, lambda: EbpfInterfaceCounters(["end"]))
    size = 8 << 20
    try:
        _send_tcp(pair, size)

        def settled():
            return _sum(here, Direction.TX) == _sum(there, Direction.RX) and _sum(here, Direction.RX) == _sum(
                there, Direction.TX
            )

        eventually(settled)
        sent = _sum(here, Direction.TX)
        assert {protocol for _, _, protocol in sent} <= {"tcp", "other"}  # and ARP
        segments = sum(packets for (_, _, protocol), (packets, _) in sent.items() if protocol == "tcp")
        counted = sum(length for (_, _, protocol), (_, length) in sent.items() if protocol == "tcp")
        assert segments >= size // 1448  # the wire's packets of a 1500-byte link
        assert counted >= size + segments * 66  # 14 Ethernet, 20 IP, 32 TCP with its timestamps
        # and the kernel handed them over in far fewer pieces: that is why segments are counted
        pieces = inside(pair.a, _packets_sent_by_the_kernels_own_count)
        assert pieces < segments / 2
    finally:
        here.close()
        there.close()


def _packets_sent_by_the_kernels_own_count():
    with open("/proc/thread-self/net/dev") as file:  # noqa: PTH123  # psutil reads the process's namespace, not ours
        line = next(one for one in file if one.strip().startswith("end:"))
    return int(line.split(":")[1].split()[9])
