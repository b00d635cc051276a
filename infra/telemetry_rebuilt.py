"""Samples, rebuilt from what a Prometheus server scraped of the nodes' pages.

`ebpf/exposition.py` and `ebpf/sample_page.py` write those; a name or label that changes there changes here. All series
of one scrape of one node carry one timestamp: together they are one sample. Its counters are of the instant at which
that page was written; its probes, host and drifts are those of the node's newest sample then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from models.mesh import NodeId
from models.telemetry import (
    DaemonState,
    Direction,
    Drift,
    DriftKind,
    DropClass,
    DropCount,
    HostReading,
    InterfaceReading,
    KernelReading,
    LinkProbeReading,
    ProbeKind,
    Protocol,
    ReachReading,
    Sample,
    SizeClass,
    TrafficClass,
    TrafficCount,
)

Labels = Mapping[str, str]


@dataclass(slots=True)
class Scrape:
    """What one scrape of one node holds, as far as it was read.

    Attributes:
        traffic: (interface, direction, traffic, size, protocol) -> packets and bytes by name.
        interfaces: Name -> carrier, changes and MTU by name.
        probes: (interface, peer, kind, size) -> counts and round trip by name.
        reach: (target, size) -> the same.
        host: Metrics without labels, and pressures by resource.
        drops: By class.
    """

    epoch: int | None = None
    read_at: float | None = None
    traffic: dict[tuple[str, ...], dict[str, float]] = field(default_factory=dict)
    interfaces: dict[str, dict[str, float]] = field(default_factory=dict)
    probes: dict[tuple[str, ...], dict[str, float]] = field(default_factory=dict)
    reach: dict[tuple[str, ...], dict[str, float]] = field(default_factory=dict)
    host: dict[str, float] = field(default_factory=dict)
    daemon: DaemonState | None = None
    drops: dict[str, float] = field(default_factory=dict)
    drifts: set[Drift] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)


Put = Callable[[Scrape, Labels, float], None]


def _into(table: str, name: str, *labels: str) -> Put:
    def put(scrape: Scrape, labelled: Labels, value: float) -> None:
        key: Any = tuple(labelled[one] for one in labels) if len(labels) > 1 else labelled[labels[0]]
        getattr(scrape, table).setdefault(key, {})[name] = value

    return put


def _of_host(name: str) -> Put:
    def put(scrape: Scrape, _: Labels, value: float) -> None:
        scrape.host[name] = value

    return put


def _epoch(scrape: Scrape, _: Labels, value: float) -> None:
    scrape.epoch = int(value)


def _read_at(scrape: Scrape, _: Labels, value: float) -> None:
    scrape.read_at = value


def _pressure(scrape: Scrape, labels: Labels, value: float) -> None:
    scrape.host[labels["resource"]] = value


def _daemon(scrape: Scrape, labels: Labels, _: float) -> None:
    scrape.daemon = DaemonState(labels["state"])


def _drops(scrape: Scrape, labels: Labels, value: float) -> None:
    scrape.drops[labels["reason"]] = value


def _drift(scrape: Scrape, labels: Labels, _: float) -> None:
    # Prometheus keeps no empty label: one that is away was empty.
    subject, expected, actual = (labels.get(one, "") for one in ("subject", "expected", "actual"))
    scrape.drifts.add(Drift(DriftKind(labels["kind"]), subject, expected, actual))


def _missing(scrape: Scrape, labels: Labels, _: float) -> None:
    scrape.missing.add(labels["signal"])


_TRAFFIC = ("interface", "direction", "traffic", "size", "protocol")
_PROBE = ("interface", "peer", "kind", "size")
_REACH = ("target", "size")
METRICS: Mapping[str, Put] = {
    "mesh_collector_epoch": _epoch,
    "ebpf_read_time_seconds": _read_at,
    "ebpf_packets_total": _into("traffic", "packets", *_TRAFFIC),
    "ebpf_bytes_total": _into("traffic", "bytes", *_TRAFFIC),
    "ebpf_interface_carrier": _into("interfaces", "carrier", "interface"),
    "ebpf_interface_carrier_changes_total": _into("interfaces", "changes", "interface"),
    "ebpf_interface_mtu_bytes": _into("interfaces", "mtu", "interface"),
    "ebpf_signal_missing": _missing,
    **{
        f"mesh_link_probes_{one}_total": _into("probes", one, *_PROBE)
        for one in ("sent", "settled", "answered", "heard")
    },
    "mesh_link_probe_rtt_seconds": _into("probes", "rtt", *_PROBE),
    **{f"mesh_reach_probes_{one}_total": _into("reach", one, *_REACH) for one in ("sent", "settled", "answered")},
    "mesh_reach_probe_rtt_seconds": _into("reach", "rtt", *_REACH),
    "mesh_host_pressure_ratio": _pressure,
    "mesh_host_softirq_ratio": _of_host("softirq"),
    "mesh_host_softirq_squeezes_total": _of_host("squeezes"),
    "mesh_host_forwarded_packets_total": _of_host("forwarded"),
    "mesh_host_address_errors_total": _of_host("refused"),
    "mesh_host_no_routes_total": _of_host("no_routes"),
    "mesh_host_daemon": _daemon,
    "mesh_host_drops_total": _drops,
    "mesh_host_retransmits_total": _of_host("retransmits"),
    "mesh_host_syscall_p99_seconds": _of_host("syscall_p99"),
    "mesh_drift": _drift,
}


def rebuilt(
    series: Iterable[tuple[Labels, Sequence[tuple[float, str]]]], *, known: Collection[tuple[int, str]] = ()
) -> list[tuple[int, Sample]]:
    """Return the samples in raw series, each with its scrape's timestamp in milliseconds, by (timestamp, node).

    A scrape without an epoch or without the instant of reading is no sample: the node has taken none yet.

    Args:
        series: Labels (with `__name__` and `node`) and (POSIX seconds, number as text), as Prometheus' API has them.
        known: Timestamps and nodes of scrapes to leave out.

    Raises:
        ValueError: a label's value is none of ours, or a number is none.
        KeyError: a label is missing.
    """
    scrapes: dict[tuple[int, str], Scrape] = {}
    for labels, values in series:
        put, node = METRICS[labels["__name__"]], labels["node"]
        for seconds, number in values:
            key = round(seconds * 1000), node
            if key in known:
                continue
            scrape = scrapes.get(key)
            if scrape is None:
                scrape = scrapes[key] = Scrape()
            put(scrape, labels, float(number))
    found = []
    for (stamp, node), scrape in sorted(scrapes.items(), key=lambda one: one[0]):
        if scrape.epoch is not None and scrape.read_at is not None:
            found.append((stamp, _sample(NodeId(node), scrape, epoch=scrape.epoch, read_at=scrape.read_at)))
    return found


def _sample(node: NodeId, scrape: Scrape, *, epoch: int, read_at: float) -> Sample:
    return Sample(
        node=node,
        epoch=epoch,
        # Rises from scrape to scrape; an epoch is the collector's start in milliseconds.
        sequence=round(read_at * 1000) - epoch,
        at=datetime.fromtimestamp(read_at, UTC),
        interfaces=_interfaces(scrape),
        probes=tuple(
            LinkProbeReading(
                interface,
                NodeId(peer),
                ProbeKind(kind),
                SizeClass(size),
                sent=int(counts["sent"]),
                settled=int(counts["settled"]),
                answered=int(counts["answered"]),
                heard=int(counts["heard"]),
                rtt_ms=_scaled(counts.get("rtt"), 1e3),
            )
            for (interface, peer, kind, size), counts in sorted(scrape.probes.items())
        ),
        reach=tuple(
            ReachReading(
                NodeId(target),
                SizeClass(size),
                sent=int(counts["sent"]),
                settled=int(counts["settled"]),
                answered=int(counts["answered"]),
                rtt_ms=_scaled(counts.get("rtt"), 1e3),
            )
            for (target, size), counts in sorted(scrape.reach.items())
        ),
        host=_host(scrape),
        drifts=tuple(sorted(scrape.drifts)),
        missing=frozenset(scrape.missing),
    )


def _interfaces(scrape: Scrape) -> tuple[InterfaceReading, ...]:
    counts: dict[str, list[TrafficCount]] = {}
    for (interface, direction, traffic, size, protocol), row in sorted(scrape.traffic.items()):
        kind = Direction(direction), TrafficClass(traffic), SizeClass(size), Protocol(protocol)
        counts.setdefault(interface, []).append(TrafficCount(*kind, int(row["packets"]), int(row["bytes"])))
    return tuple(
        InterfaceReading(name, row["carrier"] > 0, int(row["changes"]), int(row["mtu"]), tuple(counts.get(name, ())))
        for name, row in sorted(scrape.interfaces.items())
    )


def _host(scrape: Scrape) -> HostReading | None:
    told = scrape.host
    if scrape.daemon is None:
        return None
    drops = tuple(DropCount(DropClass(reason), int(packets)) for reason, packets in sorted(scrape.drops.items()))
    kernel = KernelReading(
        drops=None if "drops" in scrape.missing else drops or None,
        retransmits=_whole(told.get("retransmits")),
        syscall_p99_us=_scaled(told.get("syscall_p99"), 1e6),
    )
    return HostReading(
        cpu_pressure=told["cpu"],
        forwarded=int(told["forwarded"]),
        address_errors=int(told["refused"]),
        no_routes=int(told["no_routes"]),
        daemon=scrape.daemon,
        kernel=kernel,
        memory_pressure=told.get("memory"),
        io_pressure=told.get("io"),
        softirq_share=told.get("softirq"),
        softirq_squeezes=_whole(told.get("squeezes")),
    )


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _scaled(number: float | None, factor: float) -> float | None:
    # Nine digits undo the division by the factor, and are finer than any clock of ours.
    return None if number is None else round(number * factor, 9)
