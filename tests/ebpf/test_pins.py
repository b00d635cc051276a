"""Counts that outlive their loader, and only where they were asked to."""

import ctypes
import os

import pytest

from ebpf.layout import COUNT_BYTES, ROWS, decode
from ebpf.libbpf import libbpf
from ebpf.loader import EBPFLoader
from ebpf.maps import PerCpuArray
from ebpf.pins import folder_of, forget
from models.errors import ConfigurationInvalid, KernelRefused
from tests.ebpf.conftest import run, running
from tests.ebpf.frames import CASES

pytestmark = pytest.mark.kernel
_libc = ctypes.CDLL(None, use_errno=True)
_LAZILY = 2  # MNT_DETACH


@pytest.fixture
def bpffs(kernel, tmp_path):
    """Mount a bpffs of our own; it goes with the test whatever is still pinned in it."""
    place = tmp_path / "bpf"
    place.mkdir()
    if _libc.mount(b"bpf", os.fsencode(place), b"bpf", 0, None):
        pytest.skip(f"bpffs cannot be mounted here: {os.strerror(ctypes.get_errno())}")
    yield place
    _libc.umount2(os.fsencode(place), _LAZILY)


def _count(pins, *, times, instance="eth0.5"):
    """Load, run some packets and return how many the map holds then."""
    with EBPFLoader(pins=pins) as loader:
        loaded = loader.load_program("tc_classifier.o", instance=instance)
        libbpf().trial_run(loaded.programs["count_ingress"], CASES["ping"][0], repeat=times)
        (row,) = decode(PerCpuArray(loaded.maps["traffic"], entries=len(ROWS), value_bytes=COUNT_BYTES).read())
        return row.packets


def test_pinned_counts_are_gone_on_with_by_the_next_loader(bpffs):
    assert _count(bpffs / "x0", times=3) == 3
    assert _count(bpffs / "x0", times=4) == 7
    assert _count(bpffs / "x0", times=1, instance="eth1") == 1
    assert _count(None, times=2) == 2


def test_a_forgotten_pin_begins_again_from_zero(bpffs):
    assert _count(bpffs, times=3) == 3
    folder = folder_of(bpffs, "tc_classifier.o", "eth0.5")
    assert {one.name for one in folder.iterdir()} == {"traffic", "flows", "sampler"}
    for _ in range(2):
        forget(folder)
    assert _count(bpffs, times=1) == 1


def test_events_and_what_belongs_to_a_task_are_not_kept(bpffs):
    root = bpffs / "x0"  # bpffs has entries of the kernel's own at its top
    with EBPFLoader(pins=root) as loader:
        loader.load_program("tracepoint_net.o")
        loader.load_program("kprobe_syscall_latency.o")
    kept = {one.name for folder in root.iterdir() for one in folder.iterdir()}
    assert {"states", "peers", "syscalls", *(["drops"] if running() >= (5, 17) else [])} <= kept
    assert not {"events", "of_task"} & kept


def test_a_folder_outside_of_bpffs_is_refused_with_its_mend(kernel, tmp_path):
    with pytest.raises(ConfigurationInvalid, match="mount -t bpf"):
        _count(tmp_path / "pins", times=1)
    assert not (tmp_path / "pins").exists()


def test_a_pin_of_another_shape_is_refused_and_stays(bpffs):
    folder = folder_of(bpffs, "tc_classifier.o", "")
    folder.mkdir()
    shape = ("type", "hash", "key", "4", "value", "8", "entries", "1", "name", "other")
    run("bpftool", "map", "create", str(folder / "traffic"), *shape)
    with EBPFLoader(pins=bpffs) as loader, pytest.raises(KernelRefused, match="traffic"):
        loader.load_program("tc_classifier.o")
    assert (folder / "traffic").exists()
