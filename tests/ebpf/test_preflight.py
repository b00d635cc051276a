"""Every need of eBPF is named, with what was found and how to mend it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ebpf.hooks import Hook
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
from ebpf.tracing import MISSING
from ebpf.variants import PREFERENCE

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


def test_a_mend_says_what_to_do_in_a_pod_too():
    for check in (*capabilities(_STATUS.format(0)), *mounts(""), kernel_release("4.19")):
        assert not check.ok
        assert "pod" in check.mend


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
    for path in PROGRAMS.glob("*.bpf.c"):
        (tmp_path / path.name.replace(".bpf.c", ".o")).write_bytes(b"damaged")
    assert "make -B -C ebpf/programs" in objects(tmp_path).mend


@pytest.mark.kernel
def test_everything_that_is_required_is_met_here(kernel):
    checks = preflight()
    assert len({one.name for one in checks}) == len(checks)
    assert [one.name for one in checks if one.is_required and not one.ok] == []
    assert objects(PROGRAMS).ok
    assert bpf_syscall().ok


@pytest.mark.kernel
def test_every_signal_is_told_with_the_variant_that_goes(kernel):
    found = {one.name: one for one in preflight()}
    attached = {name.removeprefix("attach "): one for name, one in found.items() if name.startswith("attach ")}
    assert set(attached) == {"tc_classifier", *MISSING.values()}
    assert attached["tc_classifier"].found in set(Hook)
    for signal in MISSING.values():
        assert attached[signal].found in PREFERENCE if attached[signal].ok else attached[signal].mend


def _as_nobody(script, *names):
    """Run a script as uid 65534 with these capabilities and no others."""
    return _python_as_nobody(names, "-c", script, check=True).stdout


def _python_as_nobody(names, *words, check):
    given = ",".join(["-all", *(f"+{name}" for name in names)])
    ids = ["--reuid=65534", "--regid=65534", "--clear-groups"]
    return subprocess.run(
        ["setpriv", *ids, f"--inh-caps={given}", f"--ambient-caps={given}", sys.executable, *words],
        check=check,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )


_TELL = """
import json
from dataclasses import asdict
from ebpf.preflight import preflight
found = json.dumps([asdict(one) for one in preflight()])
print()
print(found)
"""


def _told(*names):
    return {one["name"]: one for one in json.loads(_as_nobody(_TELL, *names).splitlines()[-1])}


@pytest.fixture
def nobody(kernel):
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed (apt install util-linux)")
    readable = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", "import ebpf.preflight"],
        check=False,
        capture_output=True,
        cwd=Path(__file__).parents[2],
    )
    if readable.returncode:
        pytest.skip("uid 65534 cannot read this working tree")


@pytest.mark.kernel
def test_nobody_with_three_capabilities_does_all_that_is_required_and_traces(nobody):
    found = _told("bpf", "perfmon", "net_admin")
    assert [name for name, one in found.items() if one["is_required"] and not one["ok"]] == []
    as_root = {one.name: one for one in preflight()}
    for signal in MISSING.values():
        # Classic tracepoints want root; whoever has the better variants needs none of them.
        if as_root[f"attach {signal}"].found in {"tp_btf", "raw_tp"}:
            assert found[f"attach {signal}"]["found"] == as_root[f"attach {signal}"].found


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("given", "missing", "fails"),
    [
        (("perfmon", "net_admin"), "CAP_BPF", "bpf syscall"),
        (("bpf", "net_admin"), "CAP_PERFMON", "attach tc_classifier"),
        (("bpf", "perfmon"), "CAP_NET_ADMIN", "attach tc_classifier"),
    ],
)
def test_without_one_of_the_three_the_error_names_it(nobody, given, missing, fails):
    found = _told(*given)
    assert {name for name, one in found.items() if name.startswith("CAP_") and not one["ok"]} == {missing}
    assert not found[fails]["ok"]
    assert f"lacks {missing}" in found[fails]["found"]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("given", "missing"),
    [(("bpf", "perfmon", "net_admin"), set()), ((), {"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"})],
    ids=["with the three", "with none"],
)
def test_the_command_tells_the_same_as_json_each_miss_with_its_mend(nobody, given, missing):
    done = _python_as_nobody(given, "-m", "flows", "doctor", "--ebpf", "--json", check=False)
    told = json.loads(done.stdout)
    missed = [one for one in told if not one["ok"] and one["is_required"]]
    assert {one["name"] for one in told if one["name"].startswith("CAP_") and not one["ok"]} == missing
    assert done.returncode == (1 if missed else 0)
    assert bool(missed) is bool(missing)
    assert all(one["mend"] for one in missed)
    assert "Traceback" not in done.stderr
