"""Built programs, and a pair of network namespaces joined by a veth, for the tests that need a kernel."""

import itertools
import os
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from ebpf.loader import PROGRAMS
from ebpf.preflight import bpf_syscall
from infra.node.netns import entered

PREFIX = "x0-ebpf"
_numbers = itertools.count()


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def objects():
    """Return the folder of the built programs; skips where nothing can build them and nobody did."""
    if shutil.which("clang-14") and shutil.which("make"):
        run("make", "-s", "-C", str(PROGRAMS))
    elif not (PROGRAMS / "tc_classifier.o").is_file():
        pytest.skip("the eBPF programs are not built and clang-14 is not installed")
    return PROGRAMS


@pytest.fixture(scope="session")
def kernel(objects):
    """Skip unless this process may load programs and make namespaces."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root and iproute2, to make network namespaces")
    check = bpf_syscall()
    if not check.ok:
        pytest.skip(f"eBPF is not usable here: {check.found}")
    return objects


def running():
    """Return the running kernel's version; what must be there is not asked of the code under test."""
    major, minor = platform.release().split(".")[:2]
    return int(major), int(minor)


@pytest.fixture
def since_5_17(kernel):
    """Skip on kernels that name no reasons of drops; those before 5.11 lack a way to follow system calls, too."""
    if running() < (5, 17):
        pytest.skip("this kernel names no reasons of drops (5.17 was the first)")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two namespaces; each has one end of a veth pair, called `end`, with addresses 10.9.0.1 and 10.9.0.2."""

    a: str
    b: str


@pytest.fixture
def pair(kernel):
    """Make a silent pair: no IPv6, so that only what a test sends is ever on the wire (ARP aside)."""
    remove_left_overs()
    number = next(_numbers)
    made = Pair(f"{PREFIX}-{os.getpid()}-{number}a", f"{PREFIX}-{os.getpid()}-{number}b")
    try:
        for name in (made.a, made.b):
            run("ip", "netns", "add", name)
            for scope in ("all", "default"):
                run("ip", "netns", "exec", name, "sysctl", "-qw", f"net.ipv6.conf.{scope}.disable_ipv6=1")
        run("ip", "link", "add", "end", "netns", made.a, "type", "veth", "peer", "end", "netns", made.b)
        for index, name in enumerate((made.a, made.b), start=1):
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "addr", "add", f"10.9.0.{index}/24", "dev", "end")
            run("ip", "-n", name, "link", "set", "end", "up")
        yield made
    finally:
        for name in (made.a, made.b):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def remove_left_overs():
    """Delete namespaces of ours whose test process is dead."""
    for path in Path("/run/netns").glob(f"{PREFIX}-*"):
        if not Path("/proc", path.name.split("-")[2]).exists():
            subprocess.run(["ip", "netns", "del", path.name], check=False, capture_output=True)


def inside(name, make):
    """Call `make` in a namespace and return what it made."""
    with entered(name):
        return make()


def eventually(claim, *, seconds=10):
    """Wait until `claim()` is true: packets cross a veth a moment after they were sent."""
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.01)
