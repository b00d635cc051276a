"""The counters of one node's interfaces: from our tc programs, or from psutil where there is no root."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil
import structlog

from ebpf.flows import Flow, largest
from ebpf.hooks import Attachment
from ebpf.layout import COUNT_BYTES, ROWS, decode
from ebpf.loader import EBPFLoader, LoadedObject
from ebpf.maps import HashTable, PerCpuArray
from ebpf.netlink import LinkState, RouteSocket
from ebpf.runs import Runs, run_statistics
from models.errors import BrokenError, ProgramInvalid
from models.telemetry import Direction, InterfaceReading, Protocol, SizeClass, TrafficClass, TrafficCount

log = structlog.get_logger()

# Direction -> packets, bytes.
_Totals = dict[Direction, tuple[int, int]]

CLASSIFIER, COUNTER = "tc_classifier.o", "xdp_counter.o"
# ARPHRD numbers (include/uapi/linux/if_arp.h) of devices whose packets begin with an Ethernet header.
_ETHERNET_LIKE = frozenset({1, 772})
_ETHERNET_HEADER = 14


@dataclass(frozen=True, slots=True)
class ProgramState:
    """Whether one program of ours counts on one interface now.

    Attributes:
        program: Function name; the signal's for one that could not be loaded.
        interface: Empty for a tracing program, which belongs to none.
        is_attached: Whether the kernel runs it.
        runs: None where the kernel does not count them.
    """

    program: str
    interface: str
    is_attached: bool
    runs: Runs | None = None


@dataclass(frozen=True, slots=True)
class _Watched:
    name: str
    index: int
    counts: PerCpuArray
    flows: HashTable
    attachments: tuple[Attachment, ...]
    programs: Mapping[str, int]


class EbpfInterfaceCounters:
    """Count with tc_classifier on both directions of each interface. Implements `models.ports.InterfaceCounters`.

    Belongs to the network namespace it is constructed in; `read` and `close` work from any. One interface that cannot
    be counted is named in `missing` and left out, and takes the others not down; if none can, construction fails.

    Args:
        interfaces: Names in this namespace.
        loader: One made in this namespace; closed together with this object. None: a new one.
        with_xdp: Also attach xdp_counter. Native XDP changes how a veth pair batches packets, so it is asked for.
        flow_sampling: Keep the largest flows, from one packet in so many; 0: keep none. Flows hold addresses and ports,
            which nothing else here does, so they are asked for.

    Raises:
        BrokenError: not one of the interfaces could be counted; the last reason.
    """

    def __init__(
        self,
        interfaces: Sequence[str],
        *,
        loader: EBPFLoader | None = None,
        with_xdp: bool = False,
        flow_sampling: int = 0,
    ) -> None:
        self._flow_sampling = flow_sampling
        self._loader = EBPFLoader() if loader is None else loader
        self._routes = RouteSocket()
        self._lock = threading.Lock()
        self._watched: list[_Watched] = []
        self._missing: set[str] = set()
        self._absent: set[str] = set()
        try:
            self._open(sorted(interfaces), with_xdp=with_xdp)
        except BaseException:
            self.close()
            raise

    def read(self) -> tuple[InterfaceReading, ...]:
        """Read all interfaces, in name order; one that vanished, or came back as another, is left out."""
        with self._lock:
            return tuple(filter(None, (self._read(one) for one in self._watched)))

    def largest_flows(self, interface: str, count: int) -> tuple[Flow, ...]:
        """Return an interface's flows with most bytes, the largest first; none where flows are not kept."""
        with self._lock:
            found = [largest(*one.flows.read(), count) for one in self._watched if one.name == interface]
        return found[0] if found else ()

    def missing(self) -> frozenset[str]:
        """Name the interfaces that could not be counted, as `counters:<interface>`."""
        return frozenset(self._missing)

    def programs(self) -> tuple[ProgramState, ...]:
        """Ask the kernel which of our programs are in place."""
        with self._lock:
            return tuple(
                ProgramState(
                    one.program,
                    watched.name,
                    self._loader.is_attached(one),
                    run_statistics(watched.programs[one.program]),
                )
                for watched in self._watched
                for one in watched.attachments
            )

    def close(self) -> None:
        """Detach what this object attached, and nothing else. Safe to call twice."""
        with self._lock:
            self._watched.clear()
            self._loader.close()
            self._routes.close()

    def _open(self, interfaces: Sequence[str], *, with_xdp: bool) -> None:
        refusal: BrokenError | None = None
        for name in interfaces:
            try:
                self._watched.append(self._watch(name, with_xdp=with_xdp))
            except BrokenError as error:
                refusal = error
                self._missing.add(f"counters:{name}")
                log.warning("interface not counted", interface=name, reason=str(error))
        if refusal is not None and not self._watched:
            raise refusal

    def _watch(self, name: str, *, with_xdp: bool) -> _Watched:
        link = self._loader.interface(name)
        is_ethernet = link.hardware in _ETHERNET_LIKE
        header = _ETHERNET_HEADER if is_ethernet else 0
        loaded = self._loader.load_program(
            CLASSIFIER, instance=name, constants={"link_header": header, "flow_sampling": self._flow_sampling}
        )
        try:
            counts = _counts(loaded)
            attachments = [self._loader.attach_to_interface(loaded, name, direction=one) for one in Direction]
        except BrokenError:
            self._loader.unload_program(loaded)
            raise
        programs = dict(loaded.programs)
        frames = self._count_frames(name, is_ethernet=is_ethernet) if with_xdp else None
        if frames is not None:
            attachments.append(self._loader.attach_to_interface(frames, name))
            programs |= frames.programs
        return _Watched(
            name,
            link.index,
            counts,
            HashTable(loaded.maps["flows"], loaded.definitions["flows"]),
            tuple(attachments),
            programs,
        )

    def _count_frames(self, name: str, *, is_ethernet: bool) -> LoadedObject | None:
        reason = "no Ethernet"
        if is_ethernet:
            try:
                loaded = self._loader.load_program(COUNTER, instance=name)
                self._loader.attach_to_interface(loaded, name)
            except BrokenError as error:
                reason = str(error)
            else:
                return loaded
        self._missing.add(f"xdp:{name}")
        log.warning("frames not counted by xdp", interface=name, reason=reason)
        return None

    def _read(self, watched: _Watched) -> InterfaceReading | None:
        link = self._routes.link(watched.name)
        if link is None or link.index != watched.index:
            if watched.name not in self._absent:
                self._absent.add(watched.name)
                log.warning("interface vanished", interface=watched.name)
            return None
        return _reading(link, decode(watched.counts.read()))


class PsutilInterfaceCounters:
    """Count with the kernel's own interface statistics: needs no right, tells no kinds of traffic apart.

    Implements `models.ports.InterfaceCounters` for the network namespace of this process. Every direction is one row
    (data, medium, other); `missing` names the three distinctions it cannot make.
    """

    def __init__(self, interfaces: Sequence[str]) -> None:
        self._interfaces = sorted(interfaces)
        self._routes = RouteSocket()
        self._lock = threading.Lock()
        self._is_open = True
        self._before = _totals()

    def read(self) -> tuple[InterfaceReading, ...]:
        """Read all interfaces, in name order; one that vanished is left out."""
        with self._lock:
            if not self._is_open:
                return ()
            now = _totals()
            readings = []
            for name in self._interfaces:
                link = self._routes.link(name)
                if link is not None and name in now:
                    readings.append(_reading(link, self._since_opening(name, now[name])))
            return tuple(readings)

    def missing(self) -> frozenset[str]:
        """Name the distinctions that interface statistics do not make."""
        return frozenset({"traffic-class", "size-class", "protocol"})

    def programs(self) -> tuple[ProgramState, ...]:
        """Return nothing: no program is attached."""
        return ()

    def close(self) -> None:
        """Close the socket. Safe to call twice."""
        with self._lock:
            self._is_open = False
            self._routes.close()

    def _since_opening(self, name: str, now: _Totals) -> tuple[TrafficCount, ...]:
        before = self._before.setdefault(name, now)  # an interface that came later counts from its first reading
        rows = []
        for direction in Direction:
            packets, size = (after - start for after, start in zip(now[direction], before[direction], strict=True))
            if packets:
                rows.append(TrafficCount(direction, TrafficClass.DATA, SizeClass.MEDIUM, Protocol.OTHER, packets, size))
        return tuple(rows)


def _counts(loaded: LoadedObject) -> PerCpuArray:
    """Open the classifier's map after checking that it is the one `ebpf.layout` decodes."""
    found = loaded.definitions.get("traffic")
    if found is None or (found.max_entries, found.value) != (len(ROWS), COUNT_BYTES):
        raise ProgramInvalid(loaded.name, f"its map is not {len(ROWS)} rows of packets and bytes; build it again")
    return PerCpuArray(loaded.maps["traffic"], entries=len(ROWS), value_bytes=COUNT_BYTES)


def _totals() -> dict[str, _Totals]:
    return {
        name: {
            Direction.RX: (found.packets_recv, found.bytes_recv),
            Direction.TX: (found.packets_sent, found.bytes_sent),
        }
        for name, found in psutil.net_io_counters(pernic=True).items()
    }


def _reading(link: LinkState, counts: tuple[TrafficCount, ...]) -> InterfaceReading:
    return InterfaceReading(
        name=link.name,
        has_carrier=link.has_carrier,
        carrier_changes=link.carrier_changes,
        mtu=link.mtu,
        counts=counts,
    )
