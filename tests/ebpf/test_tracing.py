"""Tracing programs on a real kernel: what they count, by each way of attaching, and how they do without one."""

import os
import socket
import subprocess
import sys
from contextlib import closing
from ipaddress import IPv6Address
from pathlib import Path

import numpy as np
import pytest

from ebpf.btf import Kind
from ebpf.elf import read_object
from ebpf.latency import HISTOGRAM_BYTES
from ebpf.libbpf import libbpf, network_namespace
from ebpf.loader import EBPFLoader, _Source
from ebpf.maps import HashTable, PerCpuArray
from ebpf.page import page
from ebpf.tracing import EVENT, EVENT_KINDS, NETWORK, PEER_WORDS, SYSCALLS, Tracing, syscall_names
from ebpf.tracing_exposition import TracingExposition
from ebpf.variants import PREFERENCE, variants
from infra.node.netns import entered
from models.errors import KernelRefused, ProgramInvalid
from models.telemetry import DropClass
from tests.contracts.kernel_signals import KernelSignalsContract
from tests.ebpf.conftest import eventually, inside, run, running
from tests.fakes.kernel_signals import FakeKernelSignals

KINDS = ("tp_btf", "raw_tp")


def _send_to_nobody(times=1):
    """Send to ports of this namespace's loopback where nobody listens: dropped for NO_SOCKET before `send` returns."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(times):
            sender.sendto(b"x", ("127.0.0.1", 9))


def _refused_connection():
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", 9)) != 0


class TestFakeKernelSignals(KernelSignalsContract):
    @pytest.fixture
    def signals(self):
        return FakeKernelSignals()

    @pytest.fixture
    def disturb(self, signals):
        return signals.drop


@pytest.mark.kernel
class TestTracing(KernelSignalsContract):
    @pytest.fixture(params=KINDS)
    def signals(self, pair, request):
        def make():
            return Tracing(namespace=network_namespace(), loader=EBPFLoader(kinds=(request.param,)))

        with closing(inside(pair.a, make)) as opened:
            yield opened

    @pytest.fixture
    def follows_calls(self, request):
        if running() < (5, 11) and "tp_btf" in request.node.callspec.id:
            pytest.skip("this kernel has no task storage to follow a call with (5.11 was the first)")

    @pytest.fixture
    def disturb(self, pair, since_5_17):
        return lambda: inside(pair.a, _send_to_nobody)

    def test_everything_is_measured_here(self, signals, since_5_17):
        assert signals.missing() == frozenset()

    def test_drops_are_counted_exactly_and_named_as_this_kernel_names_them(self, pair, signals, since_5_17):
        before = signals.network().drops.get("no_socket", 0)
        inside(pair.a, lambda: _send_to_nobody(7))
        inside(pair.b, lambda: _send_to_nobody(5))  # another namespace's
        # The ICMP answer to each finds our socket gone or not listening for it: those are other reasons.
        assert signals.network().drops["no_socket"] - before in {7, 14}
        assert {one.reason for one in signals.read().drops} >= {DropClass.SOCKET}

    def test_states_and_peers_of_a_connection_are_counted_with_its_events(self, pair, signals):
        signals.events()
        inside(pair.a, _refused_connection)
        states = signals.network().states
        assert (states["syn_sent"], states["established"], states["close"]) == (1, 0, 1)
        addresses, counts = signals.peers()
        assert [IPv6Address(one.tobytes()).ipv4_mapped.compressed for one in addresses] == ["127.0.0.1"]
        assert dict(zip(PEER_WORDS, counts[0].tolist(), strict=True)) == {
            "retransmits": 0,
            "established": 0,
            "closed": 1,
        }
        events = signals.events()
        told = [int(one["detail"]) for one in events if EVENT_KINDS[one["kind"]] == "state"]
        assert told == [2, 7]
        assert (np.diff(events["at_ns"].astype(np.int64)) >= 0).all()
        assert len(signals.events()) == 0
        assert [(one.name, one.entries) for one in signals.fills()] == [("peers", 1)]
        shown = page(TracingExposition(signals).families())
        assert b'ebpf_map_entries{map="peers"} 1\n' in shown
        assert b"127.0.0.1" not in shown  # a peer is counted, and never told of

    def test_a_segment_nobody_answers_is_counted_as_sent_again(self, pair, signals):
        inside(
            pair.b,
            lambda: run(
                "nft",
                "add table ip x0; add chain ip x0 c { type filter hook input priority 0; }; "
                "add rule ip x0 c tcp dport 4000 drop",
            ),
        )
        with entered(pair.a):
            client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("10.9.0.2", 4000))
        eventually(lambda: signals.read().retransmits >= 1)
        client.close()
        addresses, counts = signals.peers()
        assert [IPv6Address(one.tobytes()).ipv4_mapped.compressed for one in addresses] == ["10.9.0.2"]
        assert counts[0, PEER_WORDS.index("retransmits")] >= 1

    def test_system_calls_are_counted_by_name_and_duration(self, signals, follows_calls):
        def made():
            counts = signals.syscalls()
            return {
                name: (row.sum(), s) for name, row, s in zip(counts.names, counts.slots, counts.seconds, strict=True)
            }

        before = made().get("getppid", (0, 0.0))
        for _ in range(1000):
            os.getppid()
        after = made()["getppid"]
        assert after[0] - before[0] >= 1000
        assert 0 < (after[1] - before[1]) / (after[0] - before[0]) < 1e-3

    def test_a_nap_lands_where_its_duration_belongs(self, signals, follows_calls):
        def naps():
            counts = signals.syscalls()
            made = dict(zip(counts.names, counts.slots, strict=True))
            # 0.3 s lies between 2^-2 and 2^-1 s; on a busy machine it may end later.
            return sum(int(made[one][22:].sum()) for one in ("select", "pselect6") if one in made)

        before = naps()
        run(sys.executable, "-c", "import select; select.select([], [], [], 0.3)")
        assert naps() > before


@pytest.mark.kernel
def test_events_that_find_no_room_are_counted_as_lost(pair, since_5_17):
    with entered(pair.a), closing(Tracing(namespace=network_namespace(), with_syscalls=False)) as signals:
        room = 131072 // 40
        _send_to_nobody(room + 100)
        counts = signals.network()
        assert counts.lost["drop"] == counts.events["drop"] - room
        assert len(signals.events()) == room
        _send_to_nobody()
        assert len(signals.events()) >= 1
        assert signals.missing() == {"syscalls"}


@pytest.mark.kernel
@pytest.mark.parametrize("name", [NETWORK, SYSCALLS])
def test_the_best_way_that_goes_is_taken_and_what_cannot_go_is_named(kernel, since_5_17, name):
    with EBPFLoader() as loader:
        loaded = loader.load_program(name)
        assert set(loaded.kinds.values()) == {"tp_btf"}
        assert loaded.refused == {}
        first = loader.attach(loaded)
        assert loader.attach(loaded) == first == loader.probes()
        loader.detach(loaded)
        loader.detach(loaded)
        assert loader.probes() == ()
        with pytest.raises(ProgramInvalid, match="belong to no interface"):
            loader.attach_to_interface(loaded, "lo")
    with pytest.raises(ProgramInvalid, match="is loaded"):
        loader.attach(loaded)


@pytest.mark.kernel
def test_kprobes_are_the_last_resort_and_their_refusal_is_a_sentence(kernel):
    with EBPFLoader(kinds=("kprobe",)) as loader:
        try:
            loaded = loader.load_program(SYSCALLS)
        except KernelRefused as error:
            assert "syscall by kprobe" in str(error)  # noqa: PT017  # either is right, as the kernel has it
        else:
            assert set(loaded.kinds.values()) == {"kprobe"}
            assert len(loader.attach(loaded)) == 2
            number = next(row for row, name in syscall_names(kernel / SYSCALLS).items() if name == "getppid")
            rows = PerCpuArray(loaded.maps["syscalls"], entries=512, value_bytes=HISTOGRAM_BYTES)
            before = rows.read()[number, 1:].sum()
            for _ in range(1000):
                os.getppid()
            assert rows.read()[number, 1:].sum() - before >= 1000


@pytest.mark.kernel
def test_a_kernel_that_lets_nothing_attach_leaves_every_signal_missing_and_raises_nothing(pair):
    with closing(inside(pair.a, lambda: Tracing(loader=EBPFLoader(kinds=())))) as signals:
        assert signals.missing() == {"drops", "retransmits", "tcp-states", "syscalls"}
        assert signals.read().drops is None
        assert signals.network() is None
        assert {one.is_attached for one in signals.programs()} == {False}
        assert {one.program for one in signals.programs()} == {"drop", "retransmit", "state", "syscall"}


@pytest.mark.kernel
def test_one_signal_that_cannot_attach_takes_no_other_down(pair, tmp_path, kernel):
    """Its tracepoint's name is damaged in the object, as if the kernel had none of that name."""
    damaged = (kernel / NETWORK).read_bytes()
    for kind in (b"tp_btf/", b"raw_tp/", b"tp/skb/"):
        damaged = damaged.replace(kind + b"kfree_skb\0", kind + b"kfree_xxx\0")
    (tmp_path / NETWORK).write_bytes(damaged)
    with closing(inside(pair.a, lambda: Tracing(with_syscalls=False, loader=EBPFLoader(tmp_path)))) as signals:
        assert signals.missing() == {"drops", "syscalls"}
        inside(pair.a, _refused_connection)
        assert signals.read().drops is None
        assert signals.network().drops is None
        assert signals.network().states["syn_sent"] >= 1


@pytest.mark.kernel
def test_classic_tracepoints_go_where_tracefs_is_mounted(kernel):
    script = (
        "from contextlib import closing\n"
        "from ebpf.loader import EBPFLoader\n"
        "from ebpf.tracing import Tracing\n"
        "from tests.ebpf.test_tracing import _send_to_nobody\n"
        "with closing(Tracing(with_syscalls=False, loader=EBPFLoader(kinds=('tp',)))) as signals:\n"
        "    before = sum(one.packets for one in signals.read().drops)\n"
        "    _send_to_nobody(3)\n"
        "    print(sorted(signals.missing()), sum(one.packets for one in signals.read().drops) - before >= 3)\n"
    )
    mounted = 'mountpoint -q /sys/kernel/tracing || mount -t tracefs nodev /sys/kernel/tracing && exec "$0" -c "$1"'
    found = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounted, sys.executable, script],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    if found.returncode == 32:  # mount's own: the machine forbids it
        pytest.skip(f"tracefs cannot be mounted here: {found.stderr}")
    assert found.stdout.splitlines()[-1] == "['syscalls'] True", found.stderr


# What `bpftool gen min_core_btf` keeps of a kernel's BTF: every type and field that the programs look for and it has.
OTHER_KERNELS = sorted((Path(__file__).parent / "types").glob("*.btf"))


@pytest.mark.kernel
@pytest.mark.parametrize("types", OTHER_KERNELS, ids=lambda path: path.stem)
@pytest.mark.parametrize("kind", PREFERENCE)
def test_every_variant_finds_its_fields_also_on_other_kernels(kernel, since_5_17, types, kind):
    """On 6.1 and 6.12 the record of a retransmit is of another struct than on 6.18, where alone we had looked."""
    for name in (NETWORK, SYSCALLS):
        described = read_object((kernel / name).read_bytes(), name)
        programs = {one for options in variants(described.programs).values() for one in options.get(kind, ())}
        if programs:
            _Source(name, (kernel / name).read_bytes(), described, (), types).load(programs).close()


@pytest.mark.kernel
def test_types_that_lack_what_a_program_reads_refuse_it_alone(kernel, tmp_path):
    """So that the test above would see it."""
    older = (
        OTHER_KERNELS[0].read_bytes().replace(b"trace_event_raw_tcp_event_sk_skb", b"trace_event_raw_something_else__")
    )
    (tmp_path / "older.btf").write_bytes(older)
    content = (kernel / NETWORK).read_bytes()
    source = _Source(NETWORK, content, read_object(content, NETWORK), (), tmp_path / "older.btf")
    source.load({"state__tp"}).close()
    with pytest.raises(KernelRefused, match="Invalid argument"):
        source.load({"retransmit__tp"})


@pytest.mark.kernel
def test_attaching_over_and_over_leaks_no_descriptor(kernel):
    def cycle():
        with EBPFLoader() as loader:
            for name in (NETWORK, SYSCALLS):
                loader.attach(loader.load_program(name))

    def descriptors():
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # counting, not walking

    cycle()
    before = descriptors()
    for _ in range(10):
        cycle()
    with EBPFLoader() as loader:  # without loading anew: the cheap part, a hundred times
        loaded = loader.load_program(SYSCALLS)
        held = descriptors()
        for _ in range(100):
            loader.attach(loaded)
            loader.detach(loaded)
        assert descriptors() == held
    assert descriptors() == before


@pytest.mark.kernel
def test_closing_a_tracing_leaves_no_descriptor_and_no_mapping(kernel):
    def cycle():
        with closing(Tracing(with_syscalls=False)) as signals:
            signals.read()

    cycle()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # counting, not walking
    for _ in range(5):
        cycle()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # as above
    assert "bpf_ringbuf" not in Path("/proc/self/maps").read_text()


@pytest.mark.kernel
def test_run_statistics_are_the_kernels_own_and_only_while_it_keeps_them(pair):
    with entered(pair.a), closing(Tracing(namespace=network_namespace(), with_syscalls=False)) as signals:
        drop = next(number for name, number in signals._network.loaded.programs.items() if name.startswith("drop"))
        with libbpf().counting_runs():
            _send_to_nobody(5)
        nanoseconds, count = libbpf().run_statistics(drop)
        assert count >= 5
        assert nanoseconds > 0
        if Path("/proc/sys/kernel/bpf_stats_enabled").read_text().strip() == "0":
            assert {one.runs for one in signals.programs()} == {None}


@pytest.mark.parametrize(
    ("file", "struct", "size", "fields"),
    [
        (NETWORK, "event", EVENT.itemsize, ["at", "kind", "detail", "peer"]),
        (NETWORK, "peer", 8 * len(PEER_WORDS), list(PEER_WORDS)),
        (SYSCALLS, "histogram", HISTOGRAM_BYTES, ["nanoseconds", "slots"]),
    ],
)
def test_c_structs_have_the_sizes_and_fields_that_the_decoder_reads(objects, file, struct, size, fields):
    found = read_object((objects / file).read_bytes(), file).btf.named(struct, kind=Kind.STRUCT)
    assert found.size == size
    assert [one.name for one in found.members] == fields


def test_the_fields_of_an_event_are_where_the_decoder_looks(objects):
    found = read_object((objects / NETWORK).read_bytes(), NETWORK).btf.named("event", kind=Kind.STRUCT)
    assert [one.value // 8 for one in found.members] == [EVENT.fields[name][1] for name in EVENT.names]


def test_kinds_of_events_are_in_the_order_of_the_c_enum(objects):
    found = read_object((objects / NETWORK).read_bytes(), NETWORK).btf.named("event_kind", kind=Kind.ENUM)
    assert [one.name for one in found.members] == [*(f"EVENT_{kind.upper()}" for kind in EVENT_KINDS), "EVENTS"]


def test_maps_have_the_sizes_that_the_reader_takes(objects):
    maps = read_object((objects / NETWORK).read_bytes(), NETWORK).maps
    assert (maps["peers"].key, maps["peers"].value) == (16, 8 * len(PEER_WORDS))
    assert {maps[one].value for one in ("drops", "states", "seen", "lost")} == {8}
    assert {maps[one].max_entries for one in ("seen", "lost")} == {len(EVENT_KINDS)}
    assert read_object((objects / SYSCALLS).read_bytes(), SYSCALLS).maps["syscalls"].value == HISTOGRAM_BYTES


def test_system_calls_carry_the_names_of_the_machine(objects):
    names = syscall_names(objects / SYSCALLS)
    assert {"read", "write", "openat", "getppid", "epoll_pwait"} <= set(names.values())
    assert max(names) < 512


@pytest.mark.kernel
def test_a_hash_map_is_read_whole_and_per_cpu_values_are_summed(kernel, tmp_path):
    source = tmp_path / "many.bpf.c"
    table = (
        "struct {{ __uint(type, {kind}); __uint(max_entries, 3000); __type(key, __u64); __type(value, __u64[2]); }}"
        ' {name} SEC(".maps");\n'
    )
    source.write_text(
        '#include "x0.h"\n'
        + table.format(kind="BPF_MAP_TYPE_LRU_PERCPU_HASH", name="each")
        + table.format(kind="BPF_MAP_TYPE_HASH", name="all")
        + 'SEC("xdp") int fill(struct xdp_md *frame) {\n'
        "__u64 key = bpf_get_prandom_u32() % 1000, value[2] = {3, key};\n"
        "bpf_map_update_elem(&each, &key, value, BPF_ANY); bpf_map_update_elem(&all, &key, value, BPF_ANY);\n"
        "return frame->data_end ? XDP_PASS : XDP_DROP; }\n"
        'char licence[] SEC("license") = "GPL";\n'
    )
    machine = os.uname().machine
    flags = ("-target", "bpf", "-g", "-O2", f"-I{kernel}", f"-I/usr/include/{machine}-linux-gnu")
    run("clang-14", *flags, "-c", str(source), "-o", str(tmp_path / "many.o"))
    with EBPFLoader(tmp_path) as loader:
        loaded = loader.load_program("many.o")
        # On each CPU by itself: left alone, a long trial run moves from one to another when it pleases.
        allowed = os.sched_getaffinity(0)
        try:
            for cpu in allowed:
                os.sched_setaffinity(0, {cpu})
                libbpf().trial_run(loaded.programs["fill"], bytes(64), repeat=20_000)
        finally:
            os.sched_setaffinity(0, allowed)
        for name, copies in (("each", len(allowed)), ("all", 1)):
            keys, values = HashTable(loaded.maps[name], loaded.definitions[name]).read()
            numbers = keys.view("<u8")[:, 0]
            assert sorted(numbers.tolist()) == list(range(1000))
            assert np.array_equal(values[:, 1], copies * numbers)
            assert (values[:, 0] == 3 * copies).all()
