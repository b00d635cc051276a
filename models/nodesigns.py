"""Symptoms a single node's samples show: carrier, daemon, forwarding, drifts, reach, round trips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import takewhile
from statistics import median

import numpy as np

from models.history import SIZES, FloatArray, NodeHistory, Reading, tallies
from models.incident import Symptom, SymptomKind
from models.linkview import Tally
from models.linkwatch import chance_of
from models.mesh import Element, Interface, Mesh, NodeId
from models.telemetry import DaemonState, DriftKind, SizeClass
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
_REACH_WINDOWS = np.array(REACH_WINDOWS)


@dataclass(frozen=True, slots=True)
class Look:
    """One node at one moment: what every check below needs.

    Attributes:
        answers_from: POSIX seconds since when each node's answers can be missed (`NodeHistory.answers_from`); of a
            node left out nothing is.
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


def _run(readings: list[Reading], holds: Callable[[Reading], bool]) -> list[Reading]:
    """Return the newest readings, without a gap, of which something holds."""
    length = sum(1 for _ in takewhile(holds, reversed(readings)))
    return readings[len(readings) - length :]


def _carrier(look: Look) -> Iterator[Symptom]:
    readings, latest = look.node.readings, look.node.readings[-1]
    if "counters" in latest.sample.missing:
        return
    for link in look.mesh.links_of(look.node.node):
        name = link.end_at(look.node.node).name
        element, facts = Element.of_link(link.id), {"interface": str(Interface(look.node.node, name))}
        down = _run(readings, partial(_lacks_carrier, name=name))
        if down:
            since = instant(down[0].time)
            yield Symptom(element, SymptomKind.CARRIER_DOWN, since, instant(latest.time), float("inf"), facts)
        times, changes = look.node.carrier_changes(name, since=latest.time - FLAP_SECONDS)
        count = int(changes[-1] - changes[0]) if changes.size else 0
        if count >= FLAP_CHANGES:
            first = float(times[np.flatnonzero(changes > changes[0])[0]])
            yield Symptom(
                element,
                SymptomKind.CARRIER_FLAP,
                instant(first),
                instant(latest.time),
                float(count),
                {**facts, "changes": count, "seconds": FLAP_SECONDS},
            )


def _lacks_carrier(reading: Reading, *, name: str) -> bool:
    return not any(one.name == name and one.has_carrier for one in reading.sample.interfaces)


def _daemon(look: Look) -> Iterator[Symptom]:
    for state, kind, needed in (
        (DaemonState.STOPPED, SymptomKind.DAEMON_STOPPED, STOPPED_SAMPLES),
        (DaemonState.ABSENT, SymptomKind.DAEMON_ABSENT, ABSENT_SAMPLES),
    ):
        run = _run(look.node.readings, partial(_has_daemon, state=state))
        if len(run) >= needed:
            facts = {"seconds": round(run[-1].time - run[0].time, 2)}
            element = Element.of_node(look.node.node)
            yield Symptom(element, kind, instant(run[0].time), instant(run[-1].time), float("inf"), facts)


def _has_daemon(reading: Reading, *, state: DaemonState) -> bool:
    return reading.sample.host is not None and reading.sample.host.daemon is state


def _routing_silence(look: Look) -> Iterator[Symptom]:
    """A daemon that hangs stops speaking on every interface at once, while the node still answers probes."""
    spoken = look.node.routing_spoken()
    is_counted = ~np.isnan(spoken)
    spoken, times = spoken[is_counted], look.node.times[is_counted]
    if spoken.size < look.tuning.min_samples:
        return
    quiet = int(np.searchsorted(spoken, spoken[-1]))
    silence = float(times[-1] - times[quiet])
    if quiet == 0 or silence <= 0:
        return
    expected = (spoken[quiet] - spoken[0]) / max(times[quiet] - times[0], 1.0) * silence
    latest = next(one for one in reversed(look.node.readings) if "counters" not in one.sample.missing)
    carriers = [one.has_carrier for one in latest.sample.interfaces]
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
        run = _run(readings, partial(_drifted, name=name))
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


def _drifted(reading: Reading, *, name: tuple[DriftKind, str]) -> bool:
    return any((one.kind, one.subject) == name for one in reading.sample.drifts)


# Six probes of a pair: of pairs that lose 40 % each way, one in five hundred loses none among them.
REACH_CLEAN = 2.0


def _reach(look: Look) -> Iterator[Symptom]:
    node, tuning = look.node, look.tuning
    if len(node.readings) < tuning.min_samples:
        return
    latest = node.readings[-1]
    for target in dict.fromkeys(one.target for one in latest.sample.reach):
        judged = node.reached(target, np.maximum(latest.time - _REACH_WINDOWS, look.answers_from.get(target, np.inf)))
        if float(np.nan_to_num(judged[..., 0] - judged[..., 1]).max()) < tuning.probe_lost * look.patience:
            continue
        found = _worst(judged, tuning, look.patience)
        # A long window remembers what is over; the pair talks again.
        now = sum(tallies(SIZES, node.reached(target, np.array([latest.time - REACH_CLEAN]))[0]).values(), Tally())
        if found is None or (now.sent >= tuning.probe_lost and now.lost == 0):
            continue
        window, sizes = found
        facts: dict[str, float | str] = {"from": node.node, "to": target, "seconds": window}
        for size, tally in sizes.items():
            facts |= {f"{size} sent": tally.sent, f"{size} lost": tally.lost}
        since = instant(latest.time - window - tuning.probe_timeout)
        element, at = Element.of_node(node.node), instant(latest.time)
        lost = sum(sizes.values(), Tally()).lost
        yield Symptom(element, SymptomKind.UNREACHABLE, since, at, lost, facts)


def _worst(judged: FloatArray, tuning: Tuning, patience: float) -> tuple[float, dict[SizeClass, Tally]] | None:
    """Return the window that shows the least likely losses, and what was judged in it; None where none is unlikely."""
    best: tuple[float, dict[SizeClass, Tally]] | None = None
    least = tuning.probe_surprise
    for window, row in zip(REACH_WINDOWS, judged, strict=True):
        sizes = tallies(SIZES, row)
        if not sizes or max(one.lost for one in sizes.values()) < tuning.probe_lost * patience:
            continue
        both = sum(sizes.values(), Tally())
        surprise = min(chance_of(one, expected=0.01) for one in (*sizes.values(), both))
        if surprise < least or (best is None and surprise <= least):
            least, best = surprise, (window, sizes)
    return best


def _delay(look: Look) -> Iterator[Symptom]:
    for link in look.mesh.links_of(look.node.node):
        name = link.end_at(look.node.node).name
        trips = look.node.round_trips(name)
        is_known = ~np.isnan(trips)
        trips, times = trips[is_known], look.node.times[is_known]
        newest, past = trips[-DELAY_NOW:], trips[:-DELAY_NOW]
        if past.size < DELAY_PAST:
            continue
        now, least = median(newest.tolist()), float(past.min())
        if now <= least + DELAY_MS * look.patience**2 or now <= DELAY_FACTOR * least:
            continue  # the usual is no less than the least, and costs two sorts
        usual = float(np.median(past))
        spread = 1.4826 * float(np.median(np.abs(past - usual)))
        floor = max(6 * spread, DELAY_MS * look.patience**2)
        if now > usual + floor and now > DELAY_FACTOR * usual:
            yield Symptom(
                Element.of_link(link.id),
                SymptomKind.DELAY,
                instant(float(times[-DELAY_NOW])),
                instant(float(times[-1])),
                (now - usual) / max(spread, 0.1),
                {"rtt_ms": round(now, 2), "rtt_past_ms": round(usual, 2), "node": look.node.node},
            )
