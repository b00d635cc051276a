"""What tracing programs tell of a node: drops, retransmits, TCP states and peers, system calls.

Each signal stands for itself: one that the kernel does not let us measure is named in `missing`, with the reason in the
log, and keeps no other from being measured.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from ebpf.btf import Kind
from ebpf.collector import ProgramState
from ebpf.drops import by_class, by_reason
from ebpf.elf import read_object
from ebpf.latency import HISTOGRAM_BYTES, SLOTS, WAITING, quantile_us
from ebpf.libbpf import libbpf
from ebpf.loader import PROGRAMS, EBPFLoader, LoadedObject
from ebpf.maps import HashTable, PerCpuArray
from ebpf.ring import RingBuffer
from ebpf.runs import run_statistics
from ebpf.variants import signal_of
from models.errors import BrokenError, KernelRefused
from models.telemetry import KernelReading

log = structlog.get_logger()

NETWORK, SYSCALLS = "tracepoint_net.o", "kprobe_syscall_latency.o"
# Signal in the C files -> its name in `Sample.missing`.
MISSING = {"drop": "drops", "retransmit": "retransmits", "state": "tcp-states", "syscall": "syscalls"}
_OF_OBJECT = {NETWORK: ("drop", "retransmit", "state"), SYSCALLS: ("syscall",)}
# enum event_kind, in this order.
EVENT_KINDS = ("drop", "retransmit", "state")
# struct event; addresses are IPv6, with IPv4 as ::ffff:a.b.c.d.
EVENT = np.dtype([("at_ns", "<u8"), ("kind", "<u4"), ("detail", "<u4"), ("peer", "V16")])
# struct peer: words.
PEER_WORDS = ("retransmits", "established", "closed")
# include/net/tcp_states.h, numbered from 0; stable since it is also what `ss` is told.
TCP_STATES = (
    "unknown",
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    "new_syn_recv",
    "bound_inactive",
)
_P99 = 0.99


@dataclass(frozen=True, slots=True)
class NetworkCounts:
    """What tracepoint_net counted since it was loaded.

    Attributes:
        drops: Reason as the running kernel names it -> packets; None where drops are not measured.
        retransmits: TCP segments sent again; None likewise.
        states: TCP state entered -> times; None likewise.
        events: Kind -> events, of which `lost` did not fit into the ring.
        lost: Kind -> events lost.
    """

    drops: Mapping[str, int] | None
    retransmits: int | None
    states: Mapping[str, int] | None
    events: Mapping[str, int]
    lost: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SyscallCounts:
    """Histograms of the machine's system calls; only calls that were made.

    Attributes:
        names: Of the calls.
        seconds: (calls,) time spent in each, since loading.
        slots: (calls, SLOTS) by duration; edges in `ebpf.latency`.
    """

    names: tuple[str, ...]
    seconds: NDArray[np.float64]
    slots: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class MapFill:
    """How full a map is that forgets when it is."""

    name: str
    entries: int
    capacity: int


class Tracing:
    """Load and attach the tracing programs. Implements `models.ports.KernelSignals`.

    May be read from any thread and namespace. Never fails for a program that the kernel refuses: look at `missing`.

    Args:
        namespace: Inode of the network namespace to look at (`ebpf.libbpf.network_namespace`); 0: the whole machine.
        with_syscalls: Whether to time system calls. They are the machine's and each pays for it, so of several nodes on
            one machine only one should.
        loader: Closed together with this object. None: a new one.
    """

    def __init__(self, *, namespace: int = 0, with_syscalls: bool = True, loader: EBPFLoader | None = None) -> None:
        self._loader = EBPFLoader() if loader is None else loader
        self._lock = threading.Lock()
        self._is_open = True
        self._missing = set(MISSING.values())
        self._network: _Network | None = None
        self._syscalls: _Syscalls | None = None
        try:
            loaded = self._attached(NETWORK, {"namespace": namespace})
            self._network = None if loaded is None else _Network(loaded)
            loaded = self._attached(SYSCALLS, {}) if with_syscalls else None
            self._syscalls = None if loaded is None else _Syscalls(loaded)
        except BaseException:
            self.close()
            raise

    def read(self) -> KernelReading:
        """Read all signals; system calls since the previous `read`."""
        with self._lock:
            if not self._is_open:
                return KernelReading()
            network = None if self._network is None else self._network.counts(self._missing)
            return KernelReading(
                drops=None if network is None or network.drops is None else by_class(network.drops),
                retransmits=None if network is None else network.retransmits,
                syscall_p99_us=None if self._syscalls is None else self._syscalls.p99_us(),
            )

    def missing(self) -> frozenset[str]:
        """Name the signals that are not measured."""
        return frozenset(self._missing)

    def network(self) -> NetworkCounts | None:
        """Return what tracepoint_net counted; None when none of its signals is measured."""
        with self._lock:
            return self._network.counts(self._missing) if self._is_open and self._network else None

    def syscalls(self) -> SyscallCounts | None:
        """Return the histograms of system calls; None when they are not measured."""
        with self._lock:
            return self._syscalls.counts() if self._is_open and self._syscalls else None

    def peers(self) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
        """Return the TCP peers heard of last.

        Returns:
            (peers, 16) IPv6 addresses, IPv4 as ::ffff:a.b.c.d; and (peers, 3) counts in the order of `PEER_WORDS`.
        """
        with self._lock:
            if self._is_open and self._network:
                return self._network.peers.read()
        return np.empty((0, 16), dtype=np.uint8), np.empty((0, len(PEER_WORDS)), dtype=np.uint64)

    def events(self) -> NDArray[Any]:
        """Return the events (dtype `EVENT`) since the previous call, oldest first; what the ring lost is not there."""
        with self._lock:
            return self._network.ring.read() if self._is_open and self._network else np.empty(0, dtype=EVENT)

    def fills(self) -> tuple[MapFill, ...]:
        """Tell how full the maps are."""
        with self._lock:
            if not self._is_open or not self._network:
                return ()
            peers = self._network.peers
            return (MapFill("peers", len(peers.read()[0]), peers.capacity),)

    def programs(self) -> tuple[ProgramState, ...]:
        """Tell of each signal whether its program runs; a signal that no variant could measure is there as detached."""
        with self._lock:
            if not self._is_open:
                return ()
            numbers = {
                name: number
                for held in (self._network, self._syscalls)
                if held is not None
                for name, number in held.loaded.programs.items()
            }
            running = tuple(
                ProgramState(one.program, "", is_attached=True, runs=run_statistics(numbers[one.program]))
                for one in self._loader.probes()
            )
            absent = tuple(
                ProgramState(signal, "", is_attached=False) for signal, name in MISSING.items() if name in self._missing
            )
            return running + absent

    def close(self) -> None:
        """Detach what this object attached, and nothing else. Safe to call twice."""
        with self._lock:
            self._is_open = False
            if self._network is not None:
                self._network.ring.close()
            self._loader.close()

    def _attached(self, name: str, constants: Mapping[str, int]) -> LoadedObject | None:
        """Load an object and attach what goes of it; None when nothing does."""
        try:
            loaded = self._loader.load_program(name, constants=constants)
        except BrokenError as error:
            log.warning("signals not measured", object=name, reason=str(error))
            return None
        for signal in {signal_of(one) for one in loaded.programs}:
            try:
                self._loader.attach(loaded, signal)
            except KernelRefused as error:
                log.warning("signal not measured", signal=signal, object=name, reason=error.reason)
            else:
                self._missing.discard(MISSING[signal])
        if all(MISSING[one] in self._missing for one in _OF_OBJECT[name]):
            self._loader.unload_program(loaded)
            return None
        return loaded


class _Network:
    """The maps of tracepoint_net."""

    def __init__(self, loaded: LoadedObject) -> None:
        self.loaded = loaded
        self._drops, self._states, self._seen, self._lost = (
            PerCpuArray(loaded.maps[one], entries=loaded.definitions[one].max_entries, value_bytes=8)
            if one in loaded.maps
            else None
            for one in ("drops", "states", "seen", "lost")
        )
        self._names = _drop_names() if self._drops else {}
        self.peers = HashTable(loaded.maps["peers"], loaded.definitions["peers"])
        self.ring = RingBuffer(loaded.maps["events"], size=loaded.definitions["events"].max_entries, record=EVENT)

    def counts(self, missing: set[str]) -> NetworkCounts:
        seen = self._by_kind(self._seen)
        states = None if self._states is None else self._states.read()[:, 0]
        return NetworkCounts(
            drops=None
            if "drops" in missing or self._drops is None
            else by_reason(self._drops.read()[:, 0], self._names),
            retransmits=None if "retransmits" in missing else seen["retransmit"],
            states=None
            if "tcp-states" in missing or states is None
            else {name: int(states[row]) for row, name in enumerate(TCP_STATES)},
            events=seen,
            lost=self._by_kind(self._lost),
        )

    @staticmethod
    def _by_kind(counts: PerCpuArray | None) -> dict[str, int]:
        return {} if counts is None else dict(zip(EVENT_KINDS, counts.read()[:, 0].tolist(), strict=True))


class _Syscalls:
    """The histograms of kprobe_syscall_latency."""

    def __init__(self, loaded: LoadedObject) -> None:
        self.loaded = loaded
        rows = loaded.definitions["syscalls"].max_entries
        self._map = PerCpuArray(loaded.maps["syscalls"], entries=rows, value_bytes=HISTOGRAM_BYTES)
        named = syscall_names(PROGRAMS / SYSCALLS)
        self._names = [named.get(row, f"number_{row}") for row in range(rows - 1)] + ["number_other"]
        self._is_prompt = np.array([one not in WAITING for one in self._names])
        self._before = np.zeros(SLOTS, dtype=np.uint64)

    def counts(self) -> SyscallCounts:
        held = self._map.read()
        made = np.flatnonzero(held[:, 1:].any(axis=1))
        names = tuple(self._names[row] for row in made.tolist())
        return SyscallCounts(names, held[made, 0] * 1e-9, held[made, 1:])

    def p99_us(self) -> float | None:
        now = self._map.read()[self._is_prompt, 1:].sum(axis=0)
        passed, self._before = now - self._before, now
        return quantile_us(passed, _P99)


def syscall_names(path: Path) -> dict[int, str]:
    """Return number -> name of the system calls of the machine that an object was built on.

    Raises:
        ProgramInvalid: the object cannot be read.
    """
    listed = read_object(path.read_bytes(), path.name).btf.named("syscall", kind=Kind.ENUM)
    return {} if listed is None else {one.value: one.name.removeprefix("SYSCALL_") for one in listed.members}


def _drop_names() -> dict[int, str]:
    try:
        return libbpf().kernel_enum("skb_drop_reason")
    except OSError as error:
        log.warning("drop reasons are told by number", reason=f"the kernel's BTF cannot be read: {error.strerror}")
        return {}
