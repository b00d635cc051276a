"""The same C, compiled at run time by bcc: rewritten as it should be, and counting as the precompiled objects do."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ebpf.bcc_backend import BccLoader, is_installed, loader_for
from ebpf.bcc_source import rewrite
from ebpf.collector import EbpfInterfaceCounters
from ebpf.layout import ROWS
from ebpf.loader import PROGRAMS
from infra.node.netns import entered
from models.errors import ProgramInvalid
from models.telemetry import Direction, Protocol
from tests.contracts.interface_counters import InterfaceCountersContract
from tests.ebpf.conftest import eventually, inside
from tests.ebpf.frames import CASES
from tests.ebpf.test_collector import _send_datagrams
from tests.ebpf.test_programs import _TC_NEXT, _XDP_PASS, Trial, _is_runnable, _sum

MAIN = """#include "x0.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, ROWS * 2);
	__type(key, struct flow);
	__type(value, __u64);
} flows SEC(".maps");

const volatile __u32 least = 14;
const volatile struct orders orders = {};

__attribute__((noinline)) __u64 walk(void)
{
	return least;
}

SEC("xdp")
int count(struct xdp_md *frame)
{
	if (!bpf_map_lookup_elem(&flows, &key))
		bpf_map_update_elem(&flows, &key, &(__u64){1}, BPF_NOEXIST);
	bpf_map_update_elem(&flows, &key, &value, BPF_ANY);
	bpf_map_delete_elem(&flows, &key);
	return XDP_PASS;
}

char licence[] SEC("license") = "Dual BSD/GPL";
"""
HEADER = '#ifndef X0_H\n#include "y.h"\n#endif\n'


def _rewritten(main=MAIN, **constants):
    return rewrite("a.bpf.c", {"a.bpf.c": main, "x0.h": HEADER, "y.h": "int y;\n"}, constants=constants)


def test_maps_calls_constants_and_global_functions_are_said_in_bccs_words():
    source = _rewritten(least=20)
    assert source.kinds == {"count": "xdp"}
    for line in (
        "#define BPF_LICENSE Dual BSD/GPL",
        "int y;",
        'BPF_F_TABLE("lru_hash", struct flow, __u64, flows, ROWS * 2, 0);',
        "static const __u32 least = 20;",
        "static const struct orders orders = {};",
        "static __always_inline __u64 walk(void)",
        "if (!flows.lookup(&key))",
        "flows.insert(&key, &(__u64){1});",
        "flows.update(&key, &value);",
        "flows.delete(&key);",
    ):
        assert line in source.text
    assert "SEC(" not in source.text
    assert "bpf_map_" not in source.text


def test_a_constant_that_nobody_sets_keeps_its_value():
    assert "static const __u32 least = 14;" in _rewritten().text


@pytest.mark.parametrize(
    ("main", "reason"),
    [
        (MAIN.replace('SEC("xdp")', 'SEC("tp_btf/sys_enter")'), "section 'tp_btf/sys_enter' needs a precompiled"),
        (MAIN.replace("LRU_HASH", "RINGBUF"), r"map flows \(RINGBUF\) needs a precompiled"),
        (MAIN.replace('SEC("license")', ""), "states no licence"),
        (MAIN.replace('SEC("xdp")\n', ""), "contains no program"),
        (MAIN.replace("x0.h", "z.h"), "includes z.h, which is not beside it"),
    ],
)
def test_what_bcc_cannot_compile_is_said_before_it_is_tried(main, reason):
    with pytest.raises(ProgramInvalid, match=reason):
        _rewritten(main)


def test_an_unknown_constant_is_refused():
    with pytest.raises(ProgramInvalid, match="no constant named most"):
        _rewritten(most=1)


def test_a_program_that_does_not_exist_is_named(tmp_path):
    with BccLoader(tmp_path) as loader, pytest.raises(ProgramInvalid, match=r"nothing\.bpf\.c"):
        loader.load_program("nothing.o")


def test_bcc_is_taken_only_where_it_is_needed_and_there(tmp_path):
    with loader_for(tmp_path) as without_objects:
        assert isinstance(without_objects, BccLoader) is is_installed()
    (tmp_path / "tc_classifier.o").touch()
    with loader_for(tmp_path) as with_objects:
        assert not isinstance(with_objects, BccLoader)


@pytest.fixture(scope="session")
def bcc(kernel):
    if not is_installed():
        pytest.skip("bcc's library is not installed (apt install libbpfcc)")
    return kernel


@pytest.fixture(scope="module")
def trial(bcc):
    with BccLoader() as loader:
        yield Trial(loader)


@pytest.mark.kernel
@pytest.mark.parametrize("direction", Direction)
def test_every_kind_of_frame_is_sorted_as_by_the_precompiled_classifier(trial, direction):
    for frame, expected in CASES.values():
        if _is_runnable(frame):
            assert trial.classify(frame, direction=direction) == (_TC_NEXT, expected, 1, len(frame))


@pytest.mark.kernel
def test_every_kind_of_frame_is_counted_as_by_the_precompiled_counter(trial):
    for frame, (_, _, protocol) in CASES.values():
        assert trial.count(frame) == (_XDP_PASS, protocol, 1, len(frame))


@pytest.mark.kernel
class TestBccInterfaceCounters(InterfaceCountersContract):
    @pytest.fixture
    def interfaces(self):
        return ["lo", "end"]

    @pytest.fixture
    def counters(self, bcc, pair, interfaces):
        opened = inside(pair.a, lambda: EbpfInterfaceCounters(interfaces, loader=BccLoader()))
        yield opened
        opened.close()

    @pytest.fixture
    def send(self, pair):
        return lambda: inside(pair.a, _send_datagrams)


@pytest.mark.kernel
def test_frames_really_sent_are_counted_exactly(bcc, pair):
    here = inside(pair.a, lambda: EbpfInterfaceCounters(["end"], loader=BccLoader()))
    expected = {}
    sender = inside(pair.a, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    with sender:
        with entered(pair.a):
            sender.bind(("end", 0))
        for times, (frame, kind) in enumerate(CASES.values(), start=3):  # a number of its own for each
            for _ in range(times):
                sender.send(frame)
            packets, size = expected.get(kind, (0, 0))
            expected[kind] = packets + times, size + times * len(frame)
        eventually(lambda: _sum(here, Direction.TX) == expected)
    here.close()


@pytest.mark.kernel
def test_loading_twice_is_once_and_closing_frees_everything(bcc):
    loader = BccLoader()
    first = loader.load_program("xdp_counter.o")
    assert loader.load_program("xdp_counter.o") is first
    assert loader.load_program("xdp_counter.o", instance="other").maps != first.maps
    assert first.definitions["frames"].max_entries == len(Protocol)
    assert loader.load_program("tc_classifier.o").definitions["traffic"].max_entries == len(ROWS)
    held = (*first.programs.values(), *first.maps.values())
    for descriptor in held:
        os.fstat(descriptor)
    loader.close()
    loader.close()
    for descriptor in held:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


@pytest.mark.kernel
def test_what_does_not_compile_is_an_error_and_no_crash(bcc, tmp_path):
    for path in PROGRAMS.glob("*.h"):
        (tmp_path / path.name).write_text(path.read_text())
    text = (PROGRAMS / "xdp_counter.bpf.c").read_text()
    (tmp_path / "xdp_counter.bpf.c").write_text(text.replace("return XDP_PASS", "return NO_SUCH_NAME"))
    with BccLoader(tmp_path) as loader, pytest.raises(ProgramInvalid, match="on standard error"):
        loader.load_program("xdp_counter.o")


@pytest.mark.kernel
def test_without_rights_the_missing_one_is_named(bcc):
    script = "from ebpf.bcc_backend import BccLoader; BccLoader().load_program('tc_classifier.o')"
    ended = subprocess.run(
        ["setpriv", "--bounding-set=-bpf,-sys_admin", sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert ended.returncode != 0
    assert "this process lacks CAP_BPF" in ended.stderr
