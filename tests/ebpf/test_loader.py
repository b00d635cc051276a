"""Attaching and detaching, on a real kernel, and what is left behind: nothing."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ebpf.hooks import Hook
from ebpf.libbpf import libbpf
from ebpf.loader import EBPFLoader
from ebpf.netlink import EGRESS, INGRESS, RouteSocket
from infra.node.netns import entered
from models.errors import ConfigurationInvalid, KernelRefused, ProgramInvalid
from models.telemetry import Direction
from tests.ebpf.conftest import eventually, inside, run

pytestmark = pytest.mark.kernel
_TCX_INGRESS, _TCX_EGRESS = 46, 47
_TC_ONLY_CLSACT = (Hook.CLSACT,)


def _programs_at(name, interface="end"):
    """Return the ids of all programs at both tc hooks, links and filters alike."""

    def look():
        routes = RouteSocket()
        index = routes.link(interface).index
        try:
            filters = [one.program_id for parent in (INGRESS, EGRESS) for one in routes.filters(index, parent)]
        except OSError:  # no clsact qdisc
            filters = []
        finally:
            routes.close()
        try:
            links = [one for hook in (_TCX_INGRESS, _TCX_EGRESS) for one in libbpf().attached_programs(index, hook)]
        except OSError:  # before 6.6: no TCX
            links = []
        return sorted(links + filters)

    return inside(name, look)


@pytest.fixture(params=["tcx", "clsact"])
def make_loader(request, pair):
    """Make loaders in namespace a that attach by the better way, then by the fallback."""
    hooks = tuple(Hook) if request.param == "tcx" else _TC_ONLY_CLSACT
    made = []

    def make():
        made.append(inside(pair.a, lambda: EBPFLoader(hooks=hooks)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_attaches_once_however_often_it_is_asked(pair, make_loader):
    loader = make_loader()
    with entered(pair.a):
        loaded = loader.load_program("tc_classifier.o")
        assert loader.load_program("tc_classifier.o") is loaded
        first = loader.attach_to_interface(loaded, "end", direction=Direction.RX)
        assert loader.attach_to_interface(loaded, "end", direction=Direction.RX) == first
    assert len(_programs_at(pair.a)) == 1
    assert loader.is_attached(first)


def test_detaches_and_unloads_once_however_often_it_is_asked(pair, make_loader):
    loader = make_loader()
    with entered(pair.a):
        loaded = loader.load_program("tc_classifier.o")
        attachment = loader.attach_to_interface(loaded, "end", direction=Direction.TX)
    loader.detach_from_interface(loaded, "end", direction=Direction.RX)  # never attached
    assert loader.is_attached(attachment)
    for _ in range(2):
        loader.detach_from_interface(loaded, "end", direction=Direction.TX)
        assert _programs_at(pair.a) == []
    for _ in range(2):
        loader.unload_program(loaded)
        loader.close()


def test_two_loaders_do_not_detach_each_other(pair, make_loader):
    mine, other = make_loader(), make_loader()
    with entered(pair.a):
        for loader in (mine, other):
            loaded = loader.load_program("tc_classifier.o")
            for direction in Direction:
                loader.attach_to_interface(loaded, "end", direction=direction)
    (theirs,) = {one.program_id for one in other.attachments() if one.direction is Direction.RX}
    assert len(_programs_at(pair.a)) == 4
    mine.close()
    left = _programs_at(pair.a)
    assert len(left) == 2
    assert theirs in left
    assert all(other.is_attached(one) for one in other.attachments())


def test_a_qdisc_of_ours_goes_with_our_last_filter(pair):
    with entered(pair.a), EBPFLoader(hooks=_TC_ONLY_CLSACT) as loader:
        loaded = loader.load_program("tc_classifier.o")
        loader.attach_to_interface(loaded, "end", direction=Direction.RX)
        assert "clsact" in run("tc", "qdisc", "show", "dev", "end")
    assert "clsact" not in inside(pair.a, lambda: run("tc", "qdisc", "show", "dev", "end"))


def test_a_qdisc_of_somebody_else_stays(pair):
    with entered(pair.a):
        run("tc", "qdisc", "add", "dev", "end", "clsact")
        with EBPFLoader(hooks=_TC_ONLY_CLSACT) as loader:
            loader.attach_to_interface(loader.load_program("tc_classifier.o"), "end", direction=Direction.RX)
        assert "clsact" in run("tc", "qdisc", "show", "dev", "end")


def _held():
    """Count what a loader opens: BPF objects, namespaces, netlink. Earlier tests' threads may open others meanwhile."""

    def is_ours(number):
        try:
            kind = str(Path(f"/proc/self/fd/{number}").readlink())
            if not kind.startswith("socket:"):
                return kind.startswith(("anon_inode:bpf", "anon_inode:btf", "net:"))
            with socket.socket(fileno=os.dup(int(number))) as one:
                return one.family == socket.AF_NETLINK
        except OSError:  # another thread has closed it
            return False

    return sum(map(is_ours, os.listdir("/proc/self/fd")))  # noqa: PTH208  # counting, not walking


def test_fifty_cycles_of_attaching_leak_no_descriptor(pair, make_loader):
    def cycle():
        loader = make_loader()
        with entered(pair.a):
            loaded = loader.load_program("tc_classifier.o")
            for direction in Direction:
                loader.attach_to_interface(loaded, "end", direction=direction)
        loader.close()

    cycle()
    before = _held()
    for _ in range(50):
        cycle()
    assert _held() == before


@pytest.mark.parametrize(
    ("hooks", "taken"),
    [(tuple(Hook), Hook.XDP_NATIVE), ((Hook.XDP_GENERIC,), Hook.XDP_GENERIC)],
)
def test_xdp_is_attached_natively_and_where_that_is_not_allowed_generically(pair, hooks, taken):
    with entered(pair.a), EBPFLoader(hooks=hooks) as loader:
        attachment = loader.attach_to_interface(loader.load_program("xdp_counter.o"), "end")
        assert attachment.hook is taken
        assert "xdp" in run("ip", "link", "show", "end")
    assert "xdp" not in inside(pair.a, lambda: run("ip", "link", "show", "end"))


def test_a_second_xdp_program_is_refused_and_the_first_stays(pair):
    with entered(pair.a), EBPFLoader() as first, EBPFLoader() as second:
        attachment = first.attach_to_interface(first.load_program("xdp_counter.o"), "end")
        with pytest.raises(KernelRefused, match="count_frames"):
            second.attach_to_interface(second.load_program("xdp_counter.o"), "end")
        assert first.is_attached(attachment)


def test_xdp_has_no_way_out(pair):
    with entered(pair.a), EBPFLoader() as loader, pytest.raises(ProgramInvalid, match="never what is sent"):
        loader.attach_to_interface(loader.load_program("xdp_counter.o"), "end", direction=Direction.TX)


def test_an_interface_that_is_not_there_is_named(pair):
    with entered(pair.a), EBPFLoader() as loader, pytest.raises(ConfigurationInvalid, match="no interface nothing"):
        loader.attach_to_interface(loader.load_program("tc_classifier.o"), "nothing")


def test_attaching_from_another_namespace_is_refused_instead_of_hitting_the_wrong_interface(pair):
    loader = inside(pair.a, EBPFLoader)
    try:
        loaded = loader.load_program("tc_classifier.o")
        with entered(pair.b), pytest.raises(ConfigurationInvalid, match="network namespace"):
            loader.attach_to_interface(loaded, "end")
    finally:
        loader.close()
    assert _programs_at(pair.b) == []


def test_what_was_attached_to_a_vanished_interface_is_seen_as_gone_and_attached_anew(pair, make_loader):
    loader = make_loader()
    with entered(pair.a):
        loaded = loader.load_program("tc_classifier.o")
        old = loader.attach_to_interface(loaded, "end")
        run("ip", "link", "del", "end")
        assert not loader.is_attached(old)
        run("ip", "link", "add", "end", "type", "veth", "peer", "name", "other")
        new = loader.attach_to_interface(loaded, "end")
        assert new.ifindex != old.ifindex
        assert loader.is_attached(new)


def test_a_killed_process_leaves_nothing_attached(pair):
    """Links are descriptors: the kernel closes them for us, kill -9 included."""
    with entered(pair.a), EBPFLoader() as loader:
        if loader.attach_to_interface(loader.load_program("tc_classifier.o"), "end").hook is Hook.CLSACT:
            pytest.skip("no TCX before 6.6, and a clsact filter outlives a kill (ebpf/hooks.py)")
    script = (
        "import time\n"
        "from ebpf.collector import EbpfInterfaceCounters\n"
        "held = EbpfInterfaceCounters(['end'], with_xdp=True)\n"
        "print('attached', flush=True)\n"
        "time.sleep(600)\n"
    )
    with entered(pair.a):
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
    try:
        eventually(lambda: "attached\n" in iter(process.stdout.readline, ""))
        assert len(_programs_at(pair.a)) == 2
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    eventually(lambda: _programs_at(pair.a) == [])  # the last reference is dropped a moment after the process
    eventually(lambda: "xdp" not in inside(pair.a, lambda: run("ip", "link", "show", "end")))


def test_a_program_the_verifier_rejects_is_an_error_with_the_end_of_its_log(kernel, tmp_path):
    source = tmp_path / "wild.bpf.c"
    source.write_text(
        '#include "x0.h"\n'
        'SEC("xdp") int wild(struct xdp_md *frame) { return *(volatile char *)(long)frame->data; }\n'
        'char licence[] SEC("license") = "GPL";\n'
    )
    machine = os.uname().machine
    flags = ("-target", "bpf", "-g", "-O2", f"-I{kernel}", f"-I/usr/include/{machine}-linux-gnu")
    run("clang-14", *flags, "-c", str(source), "-o", str(tmp_path / "wild.o"))
    with EBPFLoader(tmp_path) as loader, pytest.raises(KernelRefused, match="invalid access to packet"):
        loader.load_program("wild.o")


def test_an_unknown_constant_is_named(kernel):
    with EBPFLoader() as loader, pytest.raises(ProgramInvalid, match="no constant named colour"):
        loader.load_program("tc_classifier.o", constants={"colour": 1})


@pytest.mark.parametrize("right", ["bpf", "perfmon", "net_admin"])
def test_without_a_right_the_error_names_it_and_no_other(kernel, right):
    script = (
        "from ebpf.loader import EBPFLoader\n"
        "from models.errors import KernelRefused\n"
        "try:\n"
        "    EBPFLoader().load_program('tc_classifier.o')\n"
        "except KernelRefused as error:\n"
        "    print(error)\n"
    )
    found = run("setpriv", f"--bounding-set=-{right},-sys_admin", sys.executable, "-c", script)
    assert found.strip().endswith(f"lacks CAP_{right.upper()}")
