"""What is not a usable object is refused with a sentence, before libbpf or the kernel see it."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ebpf.elf import read_object
from ebpf.loader import EBPFLoader
from models.errors import ProgramInvalid


@pytest.fixture(scope="module")
def classifier(objects):
    return (objects / "tc_classifier.o").read_bytes()


def test_says_what_is_in_a_good_object(classifier):
    found = read_object(classifier, "tc_classifier.o")
    assert found.programs == {"count_ingress": "tc", "count_egress": "tc"}
    assert set(found.maps) == {"traffic", "flows", "sampler"}
    assert found.uses["count_ingress"] == set(found.maps)
    assert found.maps["traffic"].key == 4
    assert found.constants["link_header"][1] == 4
    assert found.licence == "Dual BSD/GPL"


def test_a_section_that_says_no_place_is_of_no_kind(objects):
    tracing = (objects / "tracepoint_net.o").read_bytes()
    found = read_object(tracing, "tracepoint_net.o")
    assert found.programs["drop__tp_btf"] == "tp_btf"
    assert found.maps["events"].max_entries == 131072
    assert "of_thread" not in found.uses["drop__tp_btf"]
    with pytest.raises(ProgramInvalid, match="of no kind"):
        read_object(tracing.replace(b"tp_btf/kfree_skb", b"tp_btfxkfree_skb"), "x.o")


def test_a_program_uses_only_the_maps_of_its_own_variant(objects):
    found = read_object((objects / "kprobe_syscall_latency.o").read_bytes(), "x.o")
    assert found.uses["syscall__tp_btf__enter"] == {"of_task"}
    assert found.uses["syscall__raw_tp__exit"] == {"of_thread", "syscalls"}


_EVERYWHERE, _FIRST = -1, 1


@pytest.mark.parametrize(
    ("old", "new", "times", "sentence"),
    [
        (b"\x7fELF", b"\x7fFLE", _FIRST, "not an ELF file"),
        (b"\x7fELF\x02\x01", b"\x7fELF\x02\x02", _FIRST, "little-endian"),
        (b"Dual BSD/GPL", b"Proprietary!", _EVERYWHERE, "GPL-compatible"),
        (b"\0license\0", b"\0lacense\0", _EVERYWHERE, "states no licence"),
        (b".rel.BTF\0", b".rel.BTX\0", _EVERYWHERE, "no BTF"),  # `.BTF` is the end of this name
        (b"\x9f\xeb\x01", b"\x9f\xec\x01", _FIRST, "BTF cannot be read"),
        (b"\0.maps\0", b"\0.mapz\0", _FIRST, "does not say its type"),  # in BTF, not among the sections
        (b"\0.reltc\0", b"\0.relqq\0", _EVERYWHERE, "section 'qq' is of no kind"),  # `tc` is the end of this name
    ],
)
def test_names_what_is_wrong(classifier, old, new, times, sentence):
    assert old in classifier
    with pytest.raises(ProgramInvalid, match=sentence):
        read_object(classifier.replace(old, new, times), "x.o")


def test_an_object_of_this_machine_is_not_taken_for_an_ebpf_one(classifier):
    for_x86 = bytearray(classifier)
    for_x86[18] = 62  # e_machine
    with pytest.raises(ProgramInvalid, match="not compiled for eBPF"):
        read_object(bytes(for_x86), "x.o")


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_file_cut_anywhere_is_refused(classifier, data):
    end = data.draw(st.integers(0, len(classifier) - 1))
    with pytest.raises(ProgramInvalid):
        read_object(classifier[:end], "x.o")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_anywhere_is_refused_or_harmless_but_never_another_error(classifier, data):
    damaged = bytearray(classifier)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProgramInvalid):  # the one error that may come out
        assert read_object(bytes(damaged), "x.o").programs


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=4096) | st.binary(max_size=2048).map(lambda rest: b"\x7fELF\x02\x01\x01" + rest))
def test_random_bytes_as_an_object_are_a_clear_error_each_time(tmp_path, content):
    (tmp_path / "random.o").write_bytes(content)
    with EBPFLoader(tmp_path) as loader, pytest.raises(ProgramInvalid, match=r"random\.o is not a usable eBPF object"):
        loader.load_program("random.o")


@pytest.mark.kernel
def test_damaged_objects_are_loaded_or_refused_in_words_all_the_way_to_the_kernel(kernel, tmp_path):
    """In a process of its own: libbpf is C, and should damage bring it down, that is the finding."""
    script = (
        "import random, sys\n"
        "from pathlib import Path\n"
        "from ebpf.loader import PROGRAMS, EBPFLoader\n"
        "from models.errors import KernelRefused, ProgramInvalid\n"
        "folder, chance, seen = Path(sys.argv[1]), random.Random(4), set()\n"
        "names = sorted(one.name for one in PROGRAMS.glob('*.o'))\n"
        "for turn in range(80):\n"
        "    name = names[turn % len(names)]\n"
        "    damaged = bytearray((PROGRAMS / name).read_bytes())\n"
        "    for _ in range(chance.randint(1, 8)):\n"
        "        damaged[chance.randrange(len(damaged))] = chance.randrange(256)\n"
        "    (folder / name).write_bytes(damaged)\n"
        "    with EBPFLoader(folder) as loader:\n"
        "        try:\n"
        "            loader.load_program(name)\n"
        "        except (ProgramInvalid, KernelRefused) as error:\n"
        "            seen.add(type(error).__name__)\n"
        "            assert name.split('.')[0] in str(error), error\n"
        "print('survived', *sorted(seen))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1] == "survived KernelRefused ProgramInvalid"


def test_a_missing_object_says_how_to_build_it(tmp_path):
    with EBPFLoader(tmp_path) as loader, pytest.raises(ProgramInvalid, match="make -C ebpf/programs"):
        loader.load_program("xdp_counter.o")
