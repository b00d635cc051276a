"""Rules on one link: what its counters and probes, taken together, say is wrong with it.

Each rule answers with a confidence of its own; models/rules.py weighs them against each other. Two independent
signals (counters and probes; a drift and its harm) are needed for more than 0.7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from math import comb

from models.incident import Cause, Evidence, FaultKind, Symptom, SymptomKind
from models.linkview import LinkView, Tally, Way, spoken, total
from models.mesh import Element, Link
from models.telemetry import ProbeKind, SizeClass, TrafficClass

# Next to nothing passes; what does is interpolation between two readings.
DEAD_SHARE = 0.85
# Below this a kind of traffic passes: one packet in twenty is what a shared busy core loses or delays.
CLEAN_SHARE = 0.05
# Packets of a kind that must have been offered before anything is said of it.
FEW = 2.0
# Where all data dies, control that mostly passes is spared; half of three packets may be interpolation.
_SPARED_SHARE = 0.4
# A packet or two of control seems lost to interpolation; so few by chance are none of the link's loss.
_SURELY_SPARED = 0.01
# A share this small on one signal alone may be a full queue somewhere, not a fault worth acting on.
SLIGHT_SHARE = 0.2
# Data at this many times the link's usual rate is a burst; loss that comes with it is congestion until shown else.
BURST_RATIO = 4.0
# An answer that took this long, and this many times the usual: a queue that is full takes half a second and more.
QUEUE_MS, QUEUE_RATIO = 200.0, 10.0
# A carrier away for less may be the first down of a flap; waiting costs nothing, for routing mends a dead link alone.
SETTLED_DOWN = timedelta(seconds=3)

CONTROL = (TrafficClass.ROUTING, TrafficClass.PROBE)
LOSSY = {SymptomKind.LOSS, SymptomKind.LARGE_LOSS, SymptomKind.PROBE_LOSS}


def is_dead(tally: Tally) -> bool:
    """Say whether next to nothing of it passed."""
    return tally.sent >= FEW and tally.share >= DEAD_SHARE


def passes(tally: Tally) -> bool:
    """Say whether it was offered and got through: what was lost is less than a packet, or a small share."""
    return tally.sent >= FEW and (tally.share <= CLEAN_SHARE or tally.lost < 1) and tally.passed >= FEW - 1


def said(name: str, tally: Tally, seconds: float) -> str:
    """Say a tally in words an operator can check."""
    return f"{name}: {tally.lost:.0f} of {tally.sent:.0f} packets lost in {seconds:.1f} s"


def link_causes(link: Link, symptoms: Sequence[Symptom]) -> Iterator[Cause]:
    """Yield candidate causes of a link's own symptoms, each with the confidence its rule gives it alone."""
    kinds = {one.kind for one in symptoms}
    element = Element.of_link(link.id)
    yield from _carrier(element, symptoms)
    if not kinds & LOSSY:
        return
    newest = max((one for one in symptoms if one.kind in LOSSY), key=lambda one: (one.at, one.kind))
    view = LinkView.of_facts(newest.facts)
    strength = max(one.strength for one in symptoms if one.kind in LOSSY)
    evidence = _evidence(link, view, strength)
    weight = 0.3 if SymptomKind.CARRIER_DOWN in kinds else 1.0
    for fault, confidence in _loss_faults(view, kinds).items():
        yield Cause(element, fault, round(confidence * weight, 3), evidence)


def _carrier(element: Element, symptoms: Sequence[Symptom]) -> Iterator[Cause]:
    flaps = [one for one in symptoms if one.kind is SymptomKind.CARRIER_FLAP]
    for one in flaps[:1]:
        statement = f"{one.facts['interface']} changed carrier {one.facts['changes']:.0f} times in 15 s"
        yield Cause(element, FaultKind.CARRIER_FLAP, 0.92, (Evidence("carrier", statement, one.strength),))
    downs = [one for one in symptoms if one.kind is SymptomKind.CARRIER_DOWN]
    for one in sorted(downs, key=lambda one: one.since)[:1]:
        lasts = one.at - one.since
        statement = f"{one.facts['interface']} has no carrier since {one.since:%H:%M:%S} UTC"
        may_return = lasts < SETTLED_DOWN and not flaps
        if may_return:
            statement += f", {lasts.total_seconds():.1f} s so far: it may be flapping"
            yield Cause(element, FaultKind.CARRIER_FLAP, 0.3, (Evidence("carrier", statement),))
        confidence = 0.3 if flaps else 0.6 if may_return else 0.95
        yield Cause(element, FaultKind.LINK_DOWN, confidence, (Evidence("carrier", statement),))


def _loss_faults(view: LinkView, kinds: set[SymptomKind]) -> dict[FaultKind, float]:
    if not view.counted or view.traffic().sent < FEW:
        return _from_probes_alone(view)
    large, small = view.traffic(size=SizeClass.LARGE), _smaller(view)
    if large.share > 2 * small.share and not is_dead(small) and large.lost >= FEW and small.share < SLIGHT_SHARE:
        return _size_step(view)
    ways = [way for way in Way if _is_ill(view, way)]
    dead = [way for way in Way if is_dead(view.traffic(way=way)) and is_dead(_control(view, way))]
    alive = [_control(view, way) for way in Way if way not in dead]
    if len(dead) == 1 and (len(ways) == 1 or (alive[0].sent >= FEW and alive[0].share < _SPARED_SHARE)):
        # Where the living way seems to lose something, it is mostly its receiver that reads late.
        return {FaultKind.ONE_WAY: 0.9 if len(ways) == 1 else 0.8, FaultKind.BLACKHOLE: 0.3}
    if len(ways) == len(Way) and all(is_dead(view.traffic(way=way)) for way in Way):
        return _all_dead(view)
    if (SymptomKind.DELAY in kinds or _is_queueing(view)) and not is_dead(view.traffic()):
        return {FaultKind.RATE_CLAMP: 0.85, FaultKind.LOSS: 0.5}
    return _part_lost(view, ways)


def _from_probes_alone(view: LinkView) -> dict[FaultKind, float]:
    transit, neighbour = view.probes(ProbeKind.TRANSIT), view.probes(ProbeKind.NEIGHBOUR)
    if is_dead(transit) and is_dead(neighbour):
        return {FaultKind.BLACKHOLE: 0.6, FaultKind.ONE_WAY: 0.5}
    if is_dead(transit) and passes(neighbour):
        return {FaultKind.GREY: 0.75}
    return {FaultKind.LOSS: 0.65}


def _all_dead(view: LinkView) -> dict[FaultKind, float]:
    control = view.traffic(*CONTROL)
    if control.sent < FEW:
        return {FaultKind.GREY: 0.5, FaultKind.BLACKHOLE: 0.5}
    return {FaultKind.BLACKHOLE: 0.9} if is_dead(control) else {FaultKind.GREY: 0.8, FaultKind.BLACKHOLE: 0.3}


def _size_step(view: LinkView) -> dict[FaultKind, float]:
    """Large packets die and small ones pass: an MTU step takes every class, a grey fault only the transit."""
    control = _either(
        view.traffic(TrafficClass.PROBE, size=SizeClass.LARGE), view.probes(ProbeKind.NEIGHBOUR, size=SizeClass.LARGE)
    )
    data = view.traffic(TrafficClass.DATA, size=SizeClass.LARGE)
    sure = 0.9 if is_dead(data) or is_dead(view.probes(size=SizeClass.LARGE)) else 0.75
    if control.sent < FEW:
        return {FaultKind.MTU: 0.5, FaultKind.GREY: 0.5}
    if control.share >= data.share / 2:
        return {FaultKind.MTU: sure, FaultKind.GREY: 0.3}
    return {FaultKind.GREY: sure, FaultKind.MTU: 0.3}


def _part_lost(view: LinkView, ways: Sequence[Way]) -> dict[FaultKind, float]:
    """Some of it is lost: a share of everything (loss), or of the transit only (grey, whole or by flow)."""
    ill = [view.traffic(TrafficClass.DATA, way=way) for way in ways or tuple(Way)]
    data = max(ill, key=lambda one: one.share)
    # Added up, because what interpolation takes from a few packets on one way it mostly gives back on the other.
    control = total(_control(view, way) for way in ways or tuple(Way))
    neighbour, transit = view.probes(ProbeKind.NEIGHBOUR), view.probes(ProbeKind.TRANSIT)
    told_by_probes = transit.lost + neighbour.lost >= FEW
    control_passes = passes(control) and neighbour.lost < FEW
    burst = view.figures.get("rate_ratio", 1.0) >= BURST_RATIO and transit.share < SLIGHT_SHARE
    if burst and not is_dead(data):
        return {FaultKind.RATE_CLAMP: 0.3, FaultKind.LOSS: 0.3}
    if data.share >= DEAD_SHARE and control.sent >= FEW and control.share < _SPARED_SHARE:
        return {FaultKind.GREY: 0.9 if told_by_probes or data.lost >= 3 * FEW else 0.75}
    if data.share < SLIGHT_SHARE and not told_by_probes:
        return {FaultKind.LOSS: 0.35}
    # Control that passes while data does not is the more telling, the less the same share would spare it.
    chance = _chance_to_spare(control, data.share)
    if chance < CLEAN_SHARE if control_passes else chance < _SURELY_SPARED and neighbour.lost < FEW:
        return {FaultKind.GREY: 0.8 if data.share >= SLIGHT_SHARE else 0.55, FaultKind.LOSS: 0.3}
    if control_passes:
        return {FaultKind.LOSS: 0.55, FaultKind.GREY: 0.5}
    sure = 0.85 if told_by_probes and control.lost >= 1 else 0.75
    return {FaultKind.LOSS: sure, FaultKind.GREY: 0.2}


def _chance_to_spare(control: Tally, share: float) -> float:
    """Return P(as few of these packets are lost | each is with probability `share`), whole packets only."""
    sent = int(control.sent)
    lost = sent - min(sent, int(control.passed))
    return sum(comb(sent, k) * share**k * (1 - share) ** (sent - k) for k in range(lost + 1))


def _is_queueing(view: LinkView) -> bool:
    """Say whether an answer came so late that it waited in a full queue, with no burst that would explain it.

    One is enough: the symptom `delay` wants several, and where a queue drops most of them no more may come.
    """
    figures = view.figures
    slowest, usual = figures.get("rtt_ms", 0.0), figures.get("rtt_past_ms", 0.0)
    is_late = slowest >= QUEUE_MS and slowest >= QUEUE_RATIO * usual
    return is_late and figures.get("rate_ratio", 1.0) < BURST_RATIO


def _is_ill(view: LinkView, way: Way) -> bool:
    tally = view.traffic(way=way)
    return tally.lost >= FEW and tally.share > CLEAN_SHARE


def _control(view: LinkView, way: Way) -> Tally:
    return view.traffic(*CONTROL, way=way)


def _smaller(view: LinkView) -> Tally:
    return view.traffic(size=SizeClass.SMALL) + view.traffic(size=SizeClass.MEDIUM)


def _either(first: Tally, second: Tally) -> Tally:
    return first if first.sent >= FEW else second


def _evidence(link: Link, view: LinkView, strength: float) -> tuple[Evidence, ...]:
    found: list[Evidence] = []
    for way in Way:
        for kind in TrafficClass:
            for size in SizeClass:
                tally = view.traffic(kind, way=way, size=size)
                if tally.sent >= 1:
                    signal = f"deficit {spoken(link, way)} {kind}/{size}"
                    found.append(Evidence(signal, said(signal, tally, view.seconds), round(tally.lost, 1)))
    for probe in ProbeKind:
        for size in (SizeClass.SMALL, SizeClass.LARGE):
            tally = view.probes(probe, size=size)
            if tally.sent >= 1:
                signal = f"probes {link.id} {probe}/{size}"
                statement = f"{signal}: {tally.lost:.0f} of {tally.sent:.0f} unanswered in {view.seconds:.1f} s"
                found.append(Evidence(signal, statement, round(tally.lost, 1)))
    found.sort(key=lambda one: (-(one.strength or 0.0), one.signal))
    head = Evidence(f"link {link.id}", f"{strength:.1f} times the doubt of its own counters", round(strength, 1))
    return (*found, head)
