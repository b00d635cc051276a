"""What watching costs: one detector or one a region, looking at made-up reports, or again at what a lab reported."""

from __future__ import annotations

import pickle
import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

import psutil

from infra.lab.topology import LARGEST, Shape, mesh
from models.correlation import correlate
from models.detection import Detector
from models.guardrails import Known
from models.incident import Incident, IncidentId, IncidentState, Symptom
from models.mesh import Mesh
from models.planning import choose
from models.regions import Outlook, Region, joined, regions, together
from models.remedy import Limits
from models.rules import RulesDiagnostician
from models.telemetry import Sample
from tests.bench.scale_mesh import PERIOD_S, Reports, grid, instant

FAULT_S = 24.0  # as long as a detector wants of a link's past
LOOKS = 8  # so many are timed at rest, and so many after: all but the first of those see the fault
REGION_NODES = 100  # a look of as many takes a fifth of the half second that there is
ROUNDS = 5  # in which stored samples and made-up reports are looked at in turn
WATCHED_REGIONS = 4  # of all: the grey link's, and some spread over the mesh
MEGABYTE, KILOBYTE = 1e6, 1e3

Figures = dict[str, float | None]
WARM_S = LOOKS * PERIOD_S  # so long before the fault the made-up mesh is looked at, too


@dataclass(frozen=True, slots=True)
class Looks:
    """What watching cost.

    Attributes:
        look_ms: CPU time of each look at rest: samples taken in, nothing found.
        look_fault_ms: The same after the fault: each symptom that stands costs something, too.
        decide_ms: CPU time from symptoms to a remedy: correlation, rules, planning with its guards.
        named: What the likeliest cause names; None where nothing was found.
        seen_s: From the fault to the first symptom; None: never.
    """

    look_ms: tuple[float, ...]
    look_fault_ms: tuple[float, ...]
    decide_ms: float | None
    named: str | None
    seen_s: float | None


@dataclass(frozen=True, slots=True)
class RegionLooks:
    """What watching region by region cost, and that the fault was seen so.

    Attributes:
        regions: How many the mesh was cut into.
        cut_s: CPU time of cutting it.
        look_ms: Of each watched region, the median look after the fault: samples, outlook, symptoms.
        together_ms: CPU time of putting all regions' outlooks together.
        outlook_kb: The largest outlook, pickled.
        seen_s: From the fault to the first symptom; None: never.
    """

    regions: int
    cut_s: float
    look_ms: tuple[float, ...]
    together_ms: float
    outlook_kb: float
    seen_s: float | None


def reported(size: int, *, seed: int) -> Figures:
    """Measure one detector of a made-up mesh of so many nodes."""
    looks = watch_reports(size, seed=seed)
    return {
        "watch_memory": psutil.Process().memory_info().rss / MEGABYTE,
        "look_ms": median(looks.look_ms),
        "look_fault_ms": median(looks.look_fault_ms),
        "decide_ms": looks.decide_ms,
        "time_to_detect": looks.seen_s,
    }


def in_regions(size: int, *, seed: int) -> Figures:
    """Measure some of the regions of a made-up mesh of so many nodes."""
    looks = watch_regions(size, seed=seed)
    return {
        "regions": looks.regions,
        "cut": looks.cut_s,
        "look_fault_ms": max(looks.look_ms),
        "together_ms": looks.together_ms,
        "outlook": looks.outlook_kb,
        # Not measured: the watched regions' mean, times the regions, in the half second that a look may take.
        "cores_together": looks.regions * sum(looks.look_ms) / len(looks.look_ms) / (1000 * PERIOD_S),
        "time_to_detect": looks.seen_s,
    }


def watch_reports(size: int, *, seed: int) -> Looks:
    """Watch a made-up mesh until its grey link was seen, and time the last looks."""
    # As far as a lab goes, the very mesh it would build.
    declared = mesh(Shape.GRID, size, seed=seed) if size <= LARGEST else grid(size, seed=seed)
    return watch(declared, _reports(declared, seed=seed), fault_s=FAULT_S)


def _reports(declared: Mesh, *, seed: int) -> Iterable[tuple[float, Sequence[Sample]]]:
    grey = declared.links[len(declared.links) // 2]
    return Reports(declared, grey, FAULT_S, seed).until(FAULT_S + LOOKS * PERIOD_S)


def watch(declared: Mesh, reports: Iterable[tuple[float, Sequence[Sample]]], *, fault_s: float) -> Looks:
    """Look at everything the nodes say, every half second; decide once, at the end."""
    detector = Detector(declared)
    rest: list[float] = []
    after: list[float] = []
    seen_at: float | None = None
    symptoms: tuple[Symptom, ...] = ()
    now = fault_s
    for now, samples in reports:
        began = time.process_time()
        detector.observe(samples)
        # The past is only taken in: a detector that was not asked has learnt nothing, but costs the same when asked.
        if now > fault_s - WARM_S:
            symptoms = detector.symptoms(instant(now))
        (after if now > fault_s else rest).append(1000 * (time.process_time() - began))
        if symptoms and seen_at is None:
            seen_at = now
    began = time.process_time()
    named = _decided(symptoms, declared, now) if symptoms else None
    decide_ms = 1000 * (time.process_time() - began) if symptoms else None
    seen_s = seen_at - fault_s if seen_at is not None else None
    return Looks(tuple(rest[-LOOKS:]), tuple(after), decide_ms, named, seen_s)


def _decided(symptoms: tuple[Symptom, ...], declared: Mesh, now: float) -> str:
    """Go from symptoms to a remedy, as the cycle does, and return the element it is for."""
    group = correlate(symptoms, declared)[0]
    incident = Incident(IncidentId("scale"), declared.name, IncidentState.OPEN, instant(now), group)
    diagnosis = RulesDiagnostician().diagnose(incident, declared, at=instant(now))
    return str(choose(diagnosis, declared, Known(), Limits(), now=instant(now)).cause.element)


def watch_regions(size: int, *, seed: int, most_nodes: int = REGION_NODES) -> RegionLooks:
    """Cut a made-up mesh, watch the grey link's region and some others until it was seen, and time the last looks.

    The regions that are not watched are quiet ones: their outlooks are as large as they would be, and say nothing.
    """
    declared = grid(size, seed=seed)
    grey = declared.links[len(declared.links) // 2]
    began = time.process_time()
    cut = regions(declared, most_nodes=most_nodes)
    cut_s = time.process_time() - began
    mine = next(one for one in cut if grey.id in one.links)
    others = [one for one in cut if one is not mine]
    chosen = [mine, *others[:: max(1, -(-len(others) // (WATCHED_REGIONS - 1)))]]
    quiet = [_quiet(one) for one in others if one not in chosen]
    detectors = [(Detector(declared, region=one), frozenset(one.seen)) for one in chosen]
    looks: list[list[float]] = [[] for _ in chosen]
    talks: list[float] = []
    seen_at: float | None = None
    outlook_kb = 0.0
    seen = frozenset(node for one in chosen for node in one.seen)
    for now, samples in Reports(declared, grey, FAULT_S, seed).until(FAULT_S + LOOKS * PERIOD_S, nodes=seen):
        outlooks = []
        for (detector, sees), spent in zip(detectors, looks, strict=True):
            arriving = [one for one in samples if one.node in sees]
            began = time.process_time()
            detector.observe(arriving)
            outlooks.append(detector.outlook(instant(now)))
            spent.append(1000 * (time.process_time() - began))
        began = time.process_time()
        outlook = together([*outlooks, *quiet])
        talks.append(1000 * (time.process_time() - began))
        if now <= FAULT_S - WARM_S:
            continue
        found = []
        for (detector, _), spent in zip(detectors, looks, strict=True):
            began = time.process_time()
            found.append(detector.placed_symptoms(instant(now), outlook))
            spent[-1] += 1000 * (time.process_time() - began)
        if joined(found) and seen_at is None:
            seen_at = now
        outlook_kb = max(len(pickle.dumps(one)) / KILOBYTE for one in outlooks)
    return RegionLooks(
        regions=len(cut),
        cut_s=cut_s,
        look_ms=tuple(median(spent[-LOOKS:]) for spent in looks),
        together_ms=median(talks[-LOOKS:]),
        outlook_kb=outlook_kb,
        seen_s=seen_at - FAULT_S if seen_at is not None else None,
    )


def _quiet(region: Region) -> Outlook:
    return Outlook(1.0, 0, len(region.links), dict.fromkeys(region.nodes, instant(0).timestamp()))


def replayed(declared: Mesh, samples: Sequence[Sample]) -> tuple[tuple[datetime, float], ...]:
    """Return what each look at stored samples costs again: when it was, CPU milliseconds.

    Args:
        declared: Whose samples they are.
        samples: In order of their instants.
    """
    detector = Detector(declared)
    looks: list[tuple[datetime, float]] = []
    period = timedelta(seconds=PERIOD_S)
    now = samples[0].at
    place = 0
    while place < len(samples):
        now += period
        end = bisect_right(samples, now, key=lambda one: one.at)
        began = time.process_time()
        detector.observe(samples[place:end])
        detector.symptoms(now)
        looks.append((now, 1000 * (time.process_time() - began)))
        place = end
    return tuple(looks)


def beside_made_up(declared: Mesh, samples: Sequence[Sample], began: datetime, ended: datetime) -> Figures:
    """Return what looks at stored samples cost again, and the same as a multiple of looks at made-up reports.

    The two are looked at in turn: a processor that others share runs now fast and now slowly, for seconds.

    Args:
        declared: Whose samples they are.
        samples: In order of their instants.
        began: Since when nothing happened.
        ended: Until when.
    """
    rounds = []
    for _ in range(ROUNDS):
        looks = replayed(declared, samples)
        rest = median(spent for at, spent in looks if began <= at < ended)
        made_up = watch(declared, _reports(declared, seed=0), fault_s=FAULT_S)
        rounds.append((rest, median(spent for _, spent in looks[-LOOKS:]), rest / median(made_up.look_ms)))
    names = ("look_ms", "look_fault_ms", "look_to_made_up")
    return dict(zip(names, map(median, zip(*rounds, strict=True)), strict=True))
