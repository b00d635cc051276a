"""A thousand times attached and detached: no descriptor, program, map or memory stays behind."""

import ctypes
import errno
import gc
import logging
import os
import resource
from array import array
from contextlib import closing
from pathlib import Path

import pytest

from ebpf.collector import EbpfInterfaceCounters
from ebpf.libbpf import LIBRARY, close_descriptor, libbpf, network_namespace
from ebpf.loader import EBPFLoader
from ebpf.tracing import NETWORK, SYSCALLS, Tracing
from infra.log import configure
from tests.ebpf.conftest import eventually, inside

CYCLES = 1000
# Each time: less than half of the smallest of our objects, so that one that is never freed shows. Seen: 0.5 and 2.1 kB,
# with what malloc counts as in use standing still.
LEAK_BYTES = 4000
# The allocators of C and Python settle for some time.
WARM_UP = 100

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.timeout(1800),
    pytest.mark.skipif("X0_CHAOS" not in os.environ, reason="a thousand cycles take minutes: run them with X0_CHAOS=1"),
]


@pytest.fixture(autouse=True)
def quiet():
    """Keep what each attaching says from being captured: it would pass for a leak."""
    configure(least=logging.WARNING)


def _resident():
    """Return what is held once garbage and the allocator's spare pages are given back: what is left may be a leak."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _descriptors():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # counting, not walking


def _numbers(loader):
    """Return the kernel's ids of a loader's programs and maps."""
    found = set()
    for loaded, _ in loader._opened.values():
        found |= {("prog", libbpf().program_id(one)) for one in loaded.programs.values()}
        for one in loaded.maps.values():
            facts = dict(line.split(":\t") for line in Path(f"/proc/self/fdinfo/{one}").read_text().splitlines())
            found.add(("map", int(facts["map_id"])))
    return found


def _is_gone(kind, number):
    held = getattr(ctypes.CDLL(LIBRARY, use_errno=True), f"bpf_{kind}_get_fd_by_id")(number)
    if held == -errno.ENOENT:
        return True
    assert held >= 0, os.strerror(-held)
    close_descriptor(held)
    return False


def _repeated(cycle, *, times=CYCLES):
    """Run cycles, each of which returns ids; print what they took and check that nothing stayed."""
    made = {"prog": array("I"), "map": array("I")}  # small, so as not to pass for a leak

    def run(count):
        for _ in range(count):
            for kind, number in cycle():
                made[kind].append(number)

    run(WARM_UP)
    descriptors, before = _descriptors(), _resident()
    run(times - WARM_UP)
    grown = _resident() - before
    numbers = sum(map(len, made.values()))
    print(f"{times} cycles, {numbers} programs and maps, {grown / 1024:.0f} kB more resident")  # noqa: T201
    assert _descriptors() == descriptors
    assert numbers >= 2 * times
    # The kernel frees a program a moment after its last user went.
    for kind, found in made.items():
        eventually(lambda kind=kind, found=found: all(_is_gone(kind, one) for one in found), seconds=60)
    assert grown < LEAK_BYTES * (times - WARM_UP)


def test_a_thousand_collectors_leave_nothing(pair):
    def cycle():
        loader = EBPFLoader()
        with closing(EbpfInterfaceCounters(["lo", "end"], loader=loader, with_xdp=True)) as counters:
            assert len(counters.read()) == 2
            return _numbers(loader)

    inside(pair.a, lambda: _repeated(cycle))


def test_a_thousand_tracings_leave_nothing(pair):
    def cycle():
        loader = EBPFLoader()
        with closing(Tracing(namespace=network_namespace(), with_syscalls=False, loader=loader)) as signals:
            assert signals.read().drops is not None
            return _numbers(loader)

    inside(pair.a, lambda: _repeated(cycle))


@pytest.mark.parametrize("name", [NETWORK, SYSCALLS])
def test_attaching_what_stays_loaded_a_thousand_times_leaves_nothing(kernel, name):
    with EBPFLoader() as loader:
        loaded = loader.load_program(name)
        before = _descriptors()
        for _ in range(WARM_UP):
            loader.attach(loaded)
            loader.detach(loaded)
        resident = _resident()
        for _ in range(CYCLES):
            loader.attach(loaded)
            loader.detach(loaded)
        assert _descriptors() == before
        assert _resident() - resident < LEAK_BYTES * CYCLES
