"""What eBPF needs of a machine: each need checked by trying, with what was found and how to mend it.

In a pod everything is checked as on a host; a mend says both where they differ, for a container that may not look
around cannot be sure which of the two it is in.
"""

from __future__ import annotations

import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ebpf.capabilities import WANTED as CAPABILITIES
from ebpf.capabilities import missing_in
from ebpf.elf import read_object
from ebpf.libbpf import libbpf
from ebpf.loader import PROGRAMS, EBPFLoader, LoadedObject
from ebpf.mounts import WANTED as MOUNTS
from ebpf.mounts import is_mounted
from ebpf.tracing import MISSING, NETWORK, SYSCALLS
from ebpf.variants import signal_of
from models.errors import BrokenError, KernelRefused, ProgramInvalid, ToolMissing
from models.telemetry import Direction

# CAP_BPF, and gso_size in a tc program's context, are there from 5.8.
MINIMUM_KERNEL = (5, 8)
_CLASSIFIER, _COUNTER = "tc_classifier.o", "xdp_counter.o"
_OBJECTS = (_CLASSIFIER, _COUNTER, NETWORK, SYSCALLS)
# Every network namespace has it; a program that only counts is there for a moment and harms nobody.
_TRIED_ON = "lo"
_MEND_TRACING = "mend what is missing above; if nothing is, this kernel does not offer it and the signal stays missing"


@dataclass(frozen=True, slots=True)
class Check:
    """One need.

    Attributes:
        name: Short and stable.
        ok: Whether the need is met.
        found: What was seen.
        mend: What to do about it; empty when it is met.
        is_required: False where counting works without it.
    """

    name: str
    ok: bool
    found: str
    mend: str
    is_required: bool = True


def preflight(root: Path = Path("/")) -> tuple[Check, ...]:
    """Check everything, in the order in which it should be mended.

    Args:
        root: Where `proc` and `sys` are looked up; a test gives a folder of its own.
    """
    return (
        kernel_release(platform.release()),
        library(),
        *capabilities((root / "proc/thread-self/status").read_text()),
        bpf_syscall(),
        kernel_types(root / "sys/kernel/btf/vmlinux"),
        *mounts((root / "proc/self/mounts").read_text()),
        unprivileged(root / "proc/sys/kernel/unprivileged_bpf_disabled"),
        objects(PROGRAMS),
        classifier(),
        *(check for name in (NETWORK, SYSCALLS) for check in tracing(name)),
        compiler(),
    )


def kernel_release(release: str) -> Check:
    """Compare the kernel's release with the oldest that can run our programs."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    ok = numbers is not None and (int(numbers[1]), int(numbers[2])) >= MINIMUM_KERNEL
    mend = f"boot a kernel from {MINIMUM_KERNEL[0]}.{MINIMUM_KERNEL[1]} on; a pod has its node's"
    return _check("kernel", ok, release, mend)


def library() -> Check:
    """Find libbpf."""
    try:
        libbpf()
    except ToolMissing as error:
        return Check("libbpf", ok=False, found="absent", mend=error.mend)
    return Check("libbpf", ok=True, found="libbpf.so.1", mend="")


def capabilities(status: str) -> tuple[Check, ...]:
    """Check each capability in the text of `/proc/<pid>/status`."""
    missing = missing_in(status)
    return tuple(
        _check(
            name,
            name not in missing,
            "absent" if name in missing else "effective",
            f"run as root, or give it: systemd AmbientCapabilities={name}, in a pod securityContext.capabilities.add",
        )
        for name in CAPABILITIES
    )


def bpf_syscall() -> Check:
    """Load the smallest of our programs and let it go again."""
    name = "bpf syscall"
    try:
        with EBPFLoader() as loader:
            loader.load_program(_COUNTER)
    except ToolMissing as error:
        return Check(name, ok=False, found="not tried: libbpf is absent", mend=error.mend)
    except ProgramInvalid as error:
        return Check(name, ok=False, found=f"not tried: {error.reason}", mend="make -C ebpf/programs")
    except KernelRefused as error:
        mend = "give the capabilities above; in a container allow bpf() in the seccomp profile"
        return Check(name, ok=False, found=error.reason, mend=mend)
    return Check(name, ok=True, found="a program was loaded", mend="")


def kernel_types(path: Path) -> Check:
    """Look for the kernel's BTF, which programs that read kernel structs need."""
    found = path.is_file()
    mend = (
        "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (packets are counted without; drops, retransmits and system "
        "calls are not); in a pod /sys must be the node's"
    )
    return _check("btf", found, str(path) if found else "absent", mend, is_required=False)


def mounts(text: str) -> tuple[Check, ...]:
    """Check bpffs and tracefs in the text of `/proc/self/mounts`."""
    return tuple(
        _check(
            f"mount {point.kind}",
            is_mounted(point, text),
            str(point.path) if is_mounted(point, text) else "not mounted",
            f"mount -t {point.kind} {point.kind} {point.path} (`up` does it); in a pod a hostPath volume of that path",
            is_required=False,
        )
        for point in MOUNTS
    )


def unprivileged(path: Path) -> Check:
    """Check that ordinary users may not load programs: what we need rests on capabilities, not on openness."""
    value = path.read_text().strip() if path.is_file() else "absent"
    mend = "sysctl kernel.unprivileged_bpf_disabled=2, on the node"
    return _check("unprivileged_bpf_disabled", value in {"1", "2"}, value, mend, is_required=False)


def objects(folder: Path) -> Check:
    """Check that the programs are built and readable."""
    for name in _OBJECTS:
        try:
            read_object((folder / name).read_bytes(), name)
        except OSError:
            return Check("objects", ok=False, found=f"{name} is not built", mend="make -C ebpf/programs")
        except ProgramInvalid as error:
            return Check("objects", ok=False, found=str(error), mend="make -B -C ebpf/programs")
    return Check("objects", ok=True, found=", ".join(_OBJECTS), mend="")


def classifier() -> Check:
    """Attach the classifier to the loopback in both directions, and let it go again."""
    name = "attach tc_classifier"
    try:
        with EBPFLoader() as loader:
            loaded = loader.load_program(_CLASSIFIER)
            hooks = [loader.attach_to_interface(loaded, _TRIED_ON, direction=one).hook for one in Direction]
    except BrokenError as error:
        return Check(name, ok=False, found=str(error), mend="mend what is missing above; without it nothing is counted")
    return Check(name, ok=True, found=", ".join(dict.fromkeys(hooks)), mend="")


def tracing(name: str) -> tuple[Check, ...]:
    """Try every variant of an object's tracing programs; a check a signal, with the variant that goes."""
    try:
        with EBPFLoader() as loader:
            return _signals(loader.load_program(name))
    except KernelRefused as error:
        label = f"attach {name.removesuffix('.o')}"
        return (Check(label, ok=False, found=error.reason, mend=_MEND_TRACING, is_required=False),)
    except (ProgramInvalid, ToolMissing) as error:
        label = f"attach {name.removesuffix('.o')}"
        return (Check(label, ok=False, found=f"not tried: {error}", mend="see above", is_required=False),)


def _signals(loaded: LoadedObject) -> tuple[Check, ...]:
    taken = {signal_of(program): kind for program, kind in loaded.kinds.items()}
    return tuple(
        _check(
            f"attach {MISSING[signal]}",
            signal in taken,
            taken.get(signal) or loaded.refused[signal],
            _MEND_TRACING,
            is_required=False,
        )
        for signal in sorted({*taken, *loaded.refused})
    )


def compiler() -> Check:
    """Look for clang, needed to build the programs and never to run them."""
    found = shutil.which("clang-14") or shutil.which("clang")
    return _check("clang", found is not None, found or "absent", "apt install clang-14 llvm-14", is_required=False)


def _check(name: str, ok: bool, found: str, mend: str, *, is_required: bool = True) -> Check:  # noqa: FBT001  # a claim
    return Check(name, ok=ok, found=found, mend="" if ok else mend, is_required=is_required)
