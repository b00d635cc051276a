"""What a node's newest sample holds beside its counters, in Prometheus' form: with them, all that a watcher needs.

Interfaces, peers and targets are those of the node's place. A drift's label values are not a closed set; a node has as
many of those series as it has drifts now, which is none while it is well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ebpf.page import Family
from models.telemetry import HostReading, LinkProbeReading, ReachReading, Sample

_MS = 1000
_COUNTS = {
    "sent": "Requests handed to the kernel.",
    "settled": "Requests old enough to judge.",
    "answered": "Requests whose answer came back in time.",
}


def sample_families(sample: Sample | None) -> Iterator[Family]:
    """Yield every metric; without series where there is no sample yet, or it lacks them."""
    epoch = Family("mesh_collector_epoch", "gauge", "Start of the collector, which all its counters count from.")
    if sample is not None:
        epoch.add((), sample.epoch)
    yield epoch
    yield from _probes(() if sample is None else sample.probes)
    yield from _reach(() if sample is None else sample.reach)
    yield from _host(None if sample is None else sample.host)
    drifts = Family(
        "mesh_drift", "gauge", "1 for a setting that is not as recorded.", ("kind", "subject", "expected", "actual")
    )
    for one in () if sample is None else sample.drifts:
        drifts.add((one.kind, one.subject, one.expected, one.actual), 1)
    yield drifts


def _probes(readings: Sequence[LinkProbeReading]) -> Iterator[Family]:
    labels = ("interface", "peer", "kind", "size")
    counts = {**_COUNTS, "heard": "Requests of the peer that arrived."}
    families = {
        name: Family(f"mesh_link_probes_{name}_total", "counter", f"Probes across a link: {text}", labels)
        for name, text in counts.items()
    }
    trips = Family(
        "mesh_link_probe_rtt_seconds", "gauge", "Median round trip across a link since the sample before.", labels
    )
    for one in readings:
        values = (one.interface, one.peer, one.kind, one.size)
        for name, family in families.items():
            family.add(values, getattr(one, name))
        if one.rtt_ms is not None:
            trips.add(values, one.rtt_ms / _MS)
    yield from families.values()
    yield trips


def _reach(readings: Sequence[ReachReading]) -> Iterator[Family]:
    labels = ("target", "size")
    families = {
        name: Family(f"mesh_reach_probes_{name}_total", "counter", f"Probes along routing's way: {text}", labels)
        for name, text in _COUNTS.items()
    }
    trips = Family(
        "mesh_reach_probe_rtt_seconds",
        "gauge",
        "Median round trip along routing's way since the sample before.",
        labels,
    )
    for one in readings:
        for name, family in families.items():
            family.add((one.target, one.size), getattr(one, name))
        if one.rtt_ms is not None:
            trips.add((one.target, one.size), one.rtt_ms / _MS)
    yield from families.values()
    yield trips


def _host(host: HostReading | None) -> Iterator[Family]:
    pressure = Family(
        "mesh_host_pressure_ratio", "gauge", "Share of the time in which work waited (PSI some).", ("resource",)
    )
    softirq = Family("mesh_host_softirq_ratio", "gauge", "Share of the CPUs' time in software interrupts.")
    squeezes = Family("mesh_host_softirq_squeezes_total", "counter", "Times the CPUs stopped taking in packets.")
    forwarded = Family("mesh_host_forwarded_packets_total", "counter", "IPv4 packets forwarded.")
    refused = Family("mesh_host_address_errors_total", "counter", "IPv4 packets for an address that is not ours.")
    no_routes = Family("mesh_host_no_routes_total", "counter", "IPv4 packets without a route.")
    daemon = Family("mesh_host_daemon", "gauge", "1 for the state that the routing daemon is in.", ("state",))
    drops = Family("mesh_host_drops_total", "counter", "Packets dropped, by class of reason.", ("reason",))
    retransmits = Family("mesh_host_retransmits_total", "counter", "TCP segments sent again.")
    calls = Family("mesh_host_syscall_p99_seconds", "gauge", "99 % of the system calls stay below.")
    if host is not None:
        for resource in ("cpu", "memory", "io"):
            share = getattr(host, f"{resource}_pressure")
            if share is not None:
                pressure.add((resource,), share)
        forwarded.add((), host.forwarded)
        refused.add((), host.address_errors)
        no_routes.add((), host.no_routes)
        daemon.add((host.daemon,), 1)
        for one in host.kernel.drops or ():
            drops.add((one.reason,), one.packets)
        p99_us = host.kernel.syscall_p99_us
        for family, value in (
            (softirq, host.softirq_share),
            (squeezes, host.softirq_squeezes),
            (retransmits, host.kernel.retransmits),
            (calls, None if p99_us is None else p99_us / 1e6),
        ):
            if value is not None:
                family.add((), value)
    yield from (pressure, softirq, squeezes, forwarded, refused, no_routes, daemon, drops, retransmits, calls)
