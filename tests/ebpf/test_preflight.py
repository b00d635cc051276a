"""Every need of eBPF is named, with what was found and how to mend it."""

import subprocess
import sys

import pytest

from ebpf.loader import PROGRAMS
from ebpf.preflight import (
    bpf_syscall,
    capabilities,
    kernel_release,
    kernel_types,
    mounts,
    objects,
    preflight,
    unprivileged,
)

_STATUS = "Name:\tx\nCapEff:\t{:016x}\n"


@pytest.mark.parametrize(
    ("release", "ok"),
    [("5.8.0", True), ("6.18.44-fc", True), ("10.0", True), ("5.7.19", False), ("4.19", False), ("?", False)],
)
def test_kernels_from_five_eight_are_taken(release, ok):
    check = kernel_release(release)
    assert check.ok is ok
    assert check.found == release
    assert bool(check.mend) is not ok


@pytest.mark.parametrize(
    ("bits", "missing"),
    [
        ((39, 38, 12), set()),
        ((39, 12), {"CAP_PERFMON"}),
        ((12, 21), set()),  # CAP_SYS_ADMIN stands for the two younger ones
        ((21,), {"CAP_NET_ADMIN"}),
        ((), {"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"}),
    ],
)
def test_each_missing_capability_is_named(bits, missing):
    checks = capabilities(_STATUS.format(sum(1 << bit for bit in bits)))
    assert {one.name for one in checks if not one.ok} == missing
    assert all(one.name in one.mend for one in checks if not one.ok)


def test_mounts_are_told_by_kind_and_place():
    text = "bpf /sys/fs/bpf bpf rw 0 0\ntmpfs /sys/kernel/tracing tmpfs rw 0 0\n"
    assert {one.name: one.ok for one in mounts(text)} == {"mount bpf": True, "mount tracefs": False}


@pytest.mark.parametrize(("value", "ok"), [("2", True), ("1", True), ("0", False)])
def test_open_bpf_is_reported(tmp_path, value, ok):
    path = tmp_path / "unprivileged_bpf_disabled"
    path.write_text(value + "\n")
    assert unprivileged(path).ok is ok


def test_missing_kernel_types_are_no_obstacle(tmp_path):
    check = kernel_types(tmp_path / "vmlinux")
    assert not check.ok
    assert not check.is_required
    assert "CONFIG_DEBUG_INFO_BTF" in check.mend


def test_unbuilt_and_damaged_objects_say_how_to_build_them(tmp_path):
    assert "make -C ebpf/programs" in objects(tmp_path).mend
    for name in ("tc_classifier.o", "xdp_counter.o"):
        (tmp_path / name).write_bytes(b"damaged")
    assert "make -B -C ebpf/programs" in objects(tmp_path).mend


@pytest.mark.kernel
def test_everything_that_is_required_is_met_here(kernel):
    checks = preflight()
    assert len({one.name for one in checks}) == len(checks)
    assert [one.name for one in checks if one.is_required and not one.ok] == []
    assert objects(PROGRAMS).ok
    assert bpf_syscall().ok


@pytest.mark.kernel
def test_without_rights_the_trial_says_which_one_is_missing(kernel):
    script = "from ebpf.preflight import bpf_syscall; print(bpf_syscall())"
    found = subprocess.run(
        ["setpriv", "--bounding-set=-bpf,-sys_admin", sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "ok=False" in found
    assert "CAP_BPF" in found
