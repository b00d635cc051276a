"""Symptoms a single node's samples show: carrier, daemon, forwarding, drifts, reach, round trips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

import numpy as np

from models.history import CHANNELS, NodeHistory, Reading
from models.incident import Symptom, SymptomKind
from models.linkview import Tally
from models.linkwatch import chance_of
from models.mesh import Element, Interface, Mesh, NodeId
from models.telemetry import DaemonState, DriftKind, SizeClass, TrafficClass
from models.tuning import Tuning

# Samples in a row that must show a stopped daemon, an absent one (a supervisor restarts it within one), a drift.
STOPPED_SAMPLES, ABSENT_SAMPLES, DRIFT_SAMPLES = 2, 3, 2
# Two downs and two ups within this many seconds are flapping; one of each is a link that came back.
FLAP_SECONDS, FLAP_CHANGES = 15.0, 4
# Hellos that should have been sent but were not, before silence counts: with Poisson chance, e^-8 is one in 3,000.
MISSING_HELLOS = 8.0
# Packets refused by forwarding within the window; scanners and strays cause one or two.
REFUSED_SECONDS, REFUSED_PACKETS = 2.0, 5
# A round trip this many times its past, and this many milliseconds above it (times patience squared), is delay.
DELAY_FACTOR, DELAY_MS = 3.0, 8.0
DELAY_NOW, DELAY_PAST = 4, 20
# The longest holds what the greatest patience asks for, twice, at the slower of two probe rates.
REACH_WINDOWS = (2.0, 3.0, 4.0, 6.0, 10.0, 24.0)
_ROUTING = np.array([kind is TrafficClass.ROUTING for kind, _ in CHANNELS], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Look:
    """One node at one moment: what every check below needs.

    Attributes:
        answers_from: POSIX seconds since when each node's answers can be missed (`NodeHistory.answers_from`).
    """

    mesh: Mesh
    node: NodeHistory
    tuning: Tuning
    patience: float
    answers_from: Mapping[NodeId, float]


def instant(seconds: float) -> datetime:
    """Return POSIX seconds as an aware UTC instant."""
    return datetime.fromtimestamp(seconds, UTC)


def node_symptoms(look: Look) -> Iterator[Symptom]:
    """Yield what the node's newest samples show. The node must have at least one."""
    yield from _carrier(look)
    yield from _daemon(look)
    yield from _routing_silence(look)
    yield from _forwarding(look)
    yield from _drifts(look)
    yield from _reach(look)
    yield from _delay(look)


def _run(readings: list[Reading], flags: list[bool]) -> list[Reading]:
    """Return the newest readings, without a gap, for which the flag holds."""
    length = sum(1 for _ in takewhile(bool, reversed(flags)))
    return readings[len(readings) - length :]


def _carrier(look: Look) -> Iterator[Symptom]:
    readings, latest = look.node.readings, look.node.readings[-1]
    if "counters" in latest.sample.missing:
        return
    for link in look.mesh.links_of(look.node.node):
        name = link.end_at(look.node.node).name
        has = [any(one.name == name and one.has_carrier for one in reading.sample.interfaces) for reading in readings]
        element, facts = Element.of_link(link.id), {"interface": str(Interface(look.node.node, name))}
        down = _run(readings, [not one for one in has])
        if down:
            since = instant(down[0].time)
            yield Symptom(element, SymptomKind.CARRIER_DOWN, since, instant(latest.time), float("inf"), facts)
        changes = [
            (reading.time, one.carrier_changes)
            for reading in look.node.since(latest.time - FLAP_SECONDS)
            for one in reading.sample.interfaces
            if one.name == name
        ]
        count = changes[-1][1] - changes[0][1] if changes else 0
        if count >= FLAP_CHANGES:
            first = next(time for time, value in changes if value > changes[0][1])
            yield Symptom(
                element,
                SymptomKind.CARRIER_FLAP,
                instant(first),
                instant(latest.time),
                float(count),
                {**facts, "changes": count, "seconds": FLAP_SECONDS},
            )


def _daemon(look: Look) -> Iterator[Symptom]:
    readings = look.node.readings
    states = [one.sample.host.daemon if one.sample.host else None for one in readings]
    for state, kind, needed in (
        (DaemonState.STOPPED, SymptomKind.DAEMON_STOPPED, STOPPED_SAMPLES),
        (DaemonState.ABSENT, SymptomKind.DAEMON_ABSENT, ABSENT_SAMPLES),
    ):
        run = _run(readings, [one is state for one in states])
        if len(run) >= needed:
            facts = {"seconds": round(run[-1].time - run[0].time, 2)}
            element = Element.of_node(look.node.node)
            yield Symptom(element, kind, instant(run[0].time), instant(run[-1].time), float("inf"), facts)


def _routing_silence(look: Look) -> Iterator[Symptom]:
    """A daemon that hangs stops speaking on every interface at once, while the node still answers probes."""
    readings = [one for one in look.node.readings if "counters" not in one.sample.missing]
    if len(readings) < look.tuning.min_samples:
        return
    spoken = np.array([sum(float(row @ _ROUTING) for row in one.sent.values()) for one in readings])
    times = np.array([one.time for one in readings])
    quiet = int(np.searchsorted(spoken, spoken[-1]))
    silence = float(times[-1] - times[quiet])
    if quiet == 0 or silence <= 0:
        return
    expected = (spoken[quiet] - spoken[0]) / max(times[quiet] - times[0], 1.0) * silence
    carriers = [one.has_carrier for one in readings[-1].sample.interfaces]
    # Routing speaks on every interface it has: without a single carrier its silence is the link's matter.
    if expected >= MISSING_HELLOS * look.patience and any(carriers):
        facts = {"seconds": round(silence, 2), "expected_packets": round(float(expected), 1)}
        element = Element.of_node(look.node.node)
        since, at = instant(float(times[quiet])), instant(float(times[-1]))
        yield Symptom(element, SymptomKind.ROUTING_SILENT, since, at, float(expected), facts)


def _forwarding(look: Look) -> Iterator[Symptom]:
    latest = look.node.readings[-1]
    earlier = look.node.readings[look.node.index_at(latest.time - REFUSED_SECONDS)]
    now, then = latest.sample.host, earlier.sample.host
    if now is None or then is None:
        return
    refused = now.address_errors - then.address_errors
    forwarded = now.forwarded - then.forwarded
    if refused >= REFUSED_PACKETS and refused > forwarded:
        facts: dict[str, float | str] = {
            "refused_packets": refused,
            "forwarded_packets": forwarded,
            "no_route_packets": now.no_routes - then.no_routes,
            "seconds": round(latest.time - earlier.time, 2),
        }
        element = Element.of_node(look.node.node)
        at = instant(latest.time)
        yield Symptom(element, SymptomKind.NOT_FORWARDING, instant(earlier.time), at, float(refused), facts)


def _drifts(look: Look) -> Iterator[Symptom]:
    readings = look.node.readings
    links = {link.end_at(look.node.node).name: link for link in look.mesh.links_of(look.node.node)}
    for drift in sorted(readings[-1].sample.drifts):
        name = (drift.kind, drift.subject)
        alike = [any((one.kind, one.subject) == name for one in reading.sample.drifts) for reading in readings]
        run = _run(readings, alike)
        if len(run) < DRIFT_SAMPLES:
            continue
        on_interface = drift.kind in {DriftKind.MTU, DriftKind.QDISC} and drift.subject in links
        element = Element.of_link(links[drift.subject].id) if on_interface else Element.of_node(look.node.node)
        facts: dict[str, float | str] = {
            "drift": drift.kind.value,
            "node": look.node.node,
            "subject": drift.subject,
            "expected": drift.expected,
            "actual": drift.actual,
        }
        since, at = instant(run[0].time), instant(run[-1].time)
        yield Symptom(element, SymptomKind.DRIFT, since, at, float("inf"), facts)


def reach_differences(earlier: Reading, later: Reading) -> dict[str, dict[SizeClass, Tally]]:
    """Return the reach probes judged between two readings of one node, by target and size."""
    before = {(one.target, one.size): one for one in earlier.sample.reach}
    found: dict[str, dict[SizeClass, Tally]] = {}
    for one in later.sample.reach:
        old = before.get((one.target, one.size))
        if old is not None:
            settled = one.settled - old.settled
            lost = settled - (one.answered - old.answered)
            found.setdefault(one.target, {})[one.size] = Tally(settled, lost)
    return found


# Six probes of a pair: of pairs that lose 40 % each way, one in five hundred loses none among them.
REACH_CLEAN = 2.0


def _reach(look: Look) -> Iterator[Symptom]:
    node, tuning = look.node, look.tuning
    if len(node.readings) < tuning.min_samples:
        return
    latest = node.readings[-1]
    worst: dict[str, tuple[float, float, dict[SizeClass, Tally]]] = {}
    for window in REACH_WINDOWS:
        for target, sizes in _reach_since(look, latest.time - window):
            both = sum(sizes.values(), Tally())
            surprise = min(chance_of(one, expected=0.01) for one in (*sizes.values(), both))
            enough = max(one.lost for one in sizes.values()) >= tuning.probe_lost * look.patience
            if enough and surprise <= tuning.probe_surprise and surprise < worst.get(target, (1.0, 0.0, {}))[0]:
                worst[target] = (surprise, window, sizes)
    newest = reach_differences(node.readings[node.index_at(latest.time - REACH_CLEAN)], latest)
    for target, (_, window, sizes) in worst.items():
        now = sum(newest.get(target, {}).values(), Tally())
        if now.sent >= tuning.probe_lost and now.lost == 0:
            # A long window remembers what is over; the pair talks again.
            continue
        both = sum(sizes.values(), Tally())
        facts: dict[str, float | str] = {"from": node.node, "to": target, "seconds": window}
        for size, tally in sizes.items():
            facts |= {f"{size} sent": tally.sent, f"{size} lost": tally.lost}
        since = instant(latest.time - window - tuning.probe_timeout)
        element, at = Element.of_node(node.node), instant(latest.time)
        yield Symptom(element, SymptomKind.UNREACHABLE, since, at, both.lost, facts)


def _reach_since(look: Look, since: float) -> Iterator[tuple[str, dict[SizeClass, Tally]]]:
    readings = look.node.readings
    begins = {one.target: look.answers_from[one.target] for one in readings[-1].sample.reach}
    for begin in set(begins.values()):
        earlier = readings[look.node.index_at(max(since, begin))]
        for target, sizes in reach_differences(earlier, readings[-1]).items():
            if begins[NodeId(target)] == begin:
                yield target, sizes


def _delay(look: Look) -> Iterator[Symptom]:
    for link in look.mesh.links_of(look.node.node):
        name = link.end_at(look.node.node).name
        trips = []
        for reading in look.node.readings:
            seen = [
                one.rtt_ms
                for one in reading.sample.probes
                if one.interface == name and one.size is SizeClass.SMALL and one.rtt_ms is not None
            ]
            if seen:
                # The quicker kind of probe: what delays only one kind is not the link.
                trips.append((reading.time, min(seen)))
        newest, past = trips[-DELAY_NOW:], [value for _, value in trips[:-DELAY_NOW]]
        if len(past) < DELAY_PAST:
            continue
        usual = float(np.median(past))
        spread = 1.4826 * float(np.median(np.abs(np.array(past) - usual)))
        now = float(np.median([value for _, value in newest]))
        floor = max(6 * spread, DELAY_MS * look.patience**2)
        if now > usual + floor and now > DELAY_FACTOR * usual:
            yield Symptom(
                Element.of_link(link.id),
                SymptomKind.DELAY,
                instant(newest[0][0]),
                instant(newest[-1][0]),
                (now - usual) / max(spread, 0.1),
                {"rtt_ms": round(now, 2), "rtt_past_ms": round(usual, 2), "node": look.node.node},
            )
