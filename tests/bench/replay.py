"""A recording judged: what was seen of it goes through the real monitor, and everybody is asked what it is.

The clock is the samples' own, so a replay says the same each time and takes a blink. Nobody acts, as nobody did when
it was recorded: what is judged is the diagnosis that the cycle would have acted on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from infra.settings import Settings
from models.diagnosing import ON_THE_LAB, Engine, Ranking, combined, may_decide, of_ranking, second_opinion
from models.errors import NotEnoughHistory
from models.graphsage import GraphSAGEAnomalyDetector
from models.incident import Diagnosis, FaultKind, Incident, IncidentId, Symptom
from models.mesh import Mesh
from models.meshsnapshot import MeshWindow
from models.rules import RulesDiagnostician
from models.snapshot import Snapshot
from tasks import monitor
from tasks.diary import unreported
from tasks.wiring import Adapters, limits_of, using
from tests.bench.recording import Recording
from tests.bench.seen import Seen, arrived
from tests.fakes.store import FakeStore


class Method(StrEnum):
    """Who is asked."""

    CYCLE = "cycle"
    RULES = "rules"
    CAUSAL = "causal"
    LEARNED = "learned"
    CAUSAL_BLEND = "causal+rules"
    LEARNED_BLEND = "learned+rules"


@dataclass(frozen=True, slots=True)
class Said:
    """What one method said of one incident.

    Attributes:
        element: Put first (`link:n0--n1`); None: unknown.
        fault: Its kind; UNKNOWN where the method or nobody can tell.
        confidence: In that.
        ranked: (element, confidence), the likeliest first.
    """

    element: str | None
    fault: FaultKind
    confidence: float
    ranked: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """One incident of a replay.

    Attributes:
        at: When it was diagnosed so.
        is_sure: Whether the rules were sure enough to act, and so this is what the cycle acts on; else it is the last.
        said: By method; a method that could not say is missing.
    """

    at: datetime
    is_sure: bool
    said: Mapping[Method, Said]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of one recording.

    Attributes:
        recording: Which, by name.
        case: Of which case.
        number: Which of them.
        harms: The truth: (element, kind).
        fault_at: When the first was done.
        incidents: From the first harm on, in the order in which they were diagnosed: sure ones first.
        loudest_before: The greatest confidence in any element before the harm, by method.
        quiet_s: Seconds before the harm in which the detector had past enough to speak.
        load: The machine's, when it was recorded.
    """

    recording: str
    case: str
    number: int
    harms: tuple[tuple[str, FaultKind], ...]
    fault_at: datetime
    incidents: tuple[Answered, ...]
    loudest_before: Mapping[Method, float]
    quiet_s: float
    load: float


class LearnedEngine:
    """The learned detector with some weights, as an engine."""

    def __init__(self, raw: bytes, *, digest: str) -> None:
        self._detector = GraphSAGEAnomalyDetector.loaded(raw, digest=digest)
        self._digest = digest

    def rank(self, snapshot: Snapshot) -> Ranking:
        """Weigh the elements against each other; raises as the port says."""
        found = self._detector.predict(snapshot)
        return Ranking(self._digest, dict(found.ranked()), found.no_root)


@dataclass
class _Stopped:
    """A clock that stands until it is moved."""

    instant: datetime

    def now(self) -> datetime:
        return self.instant


@dataclass
class _Recalled:
    """An observer and its detector that say again what a detector said of the recording."""

    mesh: Mesh
    window: MeshWindow
    seen: Mapping[datetime, tuple[Symptom, ...]]

    async def refresh(self, _: datetime) -> _Recalled:
        return self

    def symptoms(self, now: datetime) -> tuple[Symptom, ...]:
        return self.seen[now]


async def replay(recording: Recording, seen: Sequence[Seen], engines: Mapping[Method, Engine]) -> Replayed:
    """Put what was seen of one recording before the monitor, the rules and these engines (CAUSAL, LEARNED)."""
    clock = _Stopped(seen[0].at)
    store, settings = FakeStore(), Settings()
    limits = limits_of(settings)
    world = Adapters(settings=settings, clock=clock, store=store, database="", signer=None, limits=limits)
    mesh, window = recording.mesh, MeshWindow(recording.mesh)
    world._observers[mesh.name] = _Recalled(mesh, window, {one.at: one.symptoms for one in seen})
    fault_at = recording.harms[0].at
    first: dict[IncidentId, Answered] = {}
    last: dict[IncidentId, Answered] = {}
    loudest: dict[Method, float] = {}
    asked = _Asked(engines, window, mesh, limits.confidence_to_act)
    waiting = deque(recording.samples)
    with using(world), unreported():
        for one in seen:
            clock.instant = one.at
            window.observe(arrived(waiting, one.at))
            for incident in await monitor.look(mesh.name):
                if incident.id in first:
                    # The cycle acted on it; nothing later is asked of it.
                    continue
                answered = asked(incident, one.at)
                if one.at <= fault_at:
                    for method, said in answered.said.items():
                        loudest[method] = max(loudest.get(method, 0.0), said.confidence if said.element else 0.0)
                    continue
                last[incident.id] = answered
                if answered.is_sure:
                    first[incident.id] = answered
    unsure = [one for name, one in last.items() if name not in first]
    return Replayed(
        recording=recording.name,
        case=recording.case,
        number=recording.number,
        harms=tuple((one.element, one.fault) for one in recording.harms),
        fault_at=fault_at,
        incidents=(*sorted(first.values(), key=lambda one: one.at), *unsure),
        loudest_before=loudest,
        quiet_s=max(0.0, (fault_at - seen[0].at).total_seconds()),
        load=recording.load,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """Asks every method about an incident."""

    engines: Mapping[Method, Engine]
    window: MeshWindow
    mesh: Mesh
    sure_from: float

    def __call__(self, incident: Incident, now: datetime) -> Answered:
        rules = RulesDiagnostician().diagnose(incident, self.mesh, at=now)
        said = {Method.RULES: _of_diagnosis(rules), Method.CYCLE: _of_diagnosis(rules)}
        for method, blend in ((Method.CAUSAL, Method.CAUSAL_BLEND), (Method.LEARNED, Method.LEARNED_BLEND)):
            engine = self.engines.get(method)
            if engine is None:
                continue
            try:
                ranking = second_opinion(engine, self.window, incident, now=now.timestamp())
            except NotEnoughHistory:
                continue
            said[method] = _of_engine(ranking, rules)
            said[blend] = _of_diagnosis(combined(rules, ranking))
            if method is Method.CAUSAL and may_decide(rules.best.fault, ON_THE_LAB):
                said[Method.CYCLE] = said[blend]
        return Answered(now, rules.best.confidence >= self.sure_from and rules.best.element is not None, said)


def _of_diagnosis(diagnosis: Diagnosis) -> Said:
    best = diagnosis.best
    ranked: dict[str, float] = {}
    for one in diagnosis.causes:
        if one.element is not None:
            ranked.setdefault(str(one.element), one.confidence)
    return Said(str(best.element) if best.element else None, best.fault, best.confidence, tuple(ranked.items()))


def _of_engine(ranking: Ranking, rules: Diagnosis) -> Said:
    """An engine says where; what, is the rules' best guess for that place."""
    ranked = tuple((str(element), confidence) for element, confidence in of_ranking(ranking))
    if not ranked:
        return Said(None, FaultKind.UNKNOWN, ranking.no_visible_root, ())
    element, confidence = ranked[0]
    fault = next((one.fault for one in rules.causes if str(one.element) == element), FaultKind.UNKNOWN)
    return Said(element, fault, confidence, ranked)


def pooled(incidents: Sequence[Answered], method: Method) -> list[str]:
    """Return the elements named in any of several incidents, the surest first."""
    best: dict[str, float] = {}
    for one in incidents:
        if method in one.said:
            for element, confidence in one.said[method].ranked:
                best[element] = max(best.get(element, 0.0), confidence)
    return sorted(best, key=lambda element: (-best[element], element))
