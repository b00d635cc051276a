"""Who diagnoses: the rules, or an engine that says where beside the rules that say what; as was measured on the lab.

The rules say what is wrong with an element in words an operator can check; an engine weighs all elements against each
other. Where an engine was measured better, it decides *where*, and the rules still say *what*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import numpy as np

from models.errors import NotEnoughHistory
from models.incident import Cause, Diagnosis, Evidence, FaultKind, Incident
from models.mesh import Element
from models.meshsnapshot import MeshWindow, element_of
from models.snapshot import FloatArray, Snapshot


@dataclass(frozen=True, slots=True)
class Ranking:
    """What an engine makes of one snapshot.

    Attributes:
        method: Digest or name of the engine, for the record.
        confidence: Element's id -> P(it is the root | an incident); sums to at most 1.
        no_visible_root: P(the root is none of them).
        drift: Share of what the engine read that lies outside of what it was fitted on, 0..1; None where the engine
            was fitted on nothing that could be compared with.
    """

    method: str
    confidence: Mapping[str, float]
    no_visible_root: float
    drift: float | None = None
    candidates: tuple[str, ...] = ()
    because: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    against: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Engine(Protocol):
    """Ranks the elements of a snapshot. The rules and every engine stand behind tasks/analyze.py alike."""

    def rank(self, snapshot: Snapshot) -> Ranking:
        """Weigh the elements against each other.

        Raises:
            NotEnoughHistory: the past is too short to say what is normal.
            ConfigurationInvalid: it has no weights, or they cannot be used.
        """


@dataclass(frozen=True, slots=True)
class Measured:
    """Right elements first on the lab, the rules and an engine in the same trials.

    Attributes:
        rules: Of `trials`, how often the rules alone were right.
        engine: How often the engine was.
        trials: How many.
        commit: What was measured.
    """

    rules: int
    engine: int
    trials: int
    commit: str

    @property
    def is_better(self) -> bool:
        """Whether the engine may decide: enough trials, and a lead that chance gives in one of twenty.

        The trials are paired; without the pairs on record the lead must exceed the largest that their margins allow,
        two standard deviations of a difference of independent counts, which is the cautious side.
        """
        if self.trials < LEAST_TRIALS:
            return False
        shares = self.rules / self.trials, self.engine / self.trials
        spread = float(np.sqrt(sum(one * (1 - one) for one in shares) / self.trials))
        return shares[1] - shares[0] > 2 * spread


# Fewer trials of a fault kind cannot tell an engine that is better from one that was lucky.
LEAST_TRIALS = 20

# By the fault kind that the rules put first. Empty: no engine was tried on the lab yet, so the rules decide everywhere.
ON_THE_LAB: Mapping[FaultKind, Measured] = MappingProxyType({})


def may_decide(fault: FaultKind, measured: Mapping[FaultKind, Measured] = ON_THE_LAB) -> bool:
    """Say whether an engine was measured better than the rules where they see this fault."""
    found = measured.get(fault)
    return found is not None and found.is_better


def second_opinion(engine: Engine, window: MeshWindow, incident: Incident, *, now: float) -> Ranking:
    """Ask an engine about an incident, from its first symptom on.

    Args:
        engine: Ranks the elements.
        window: The mesh's newest minute.
        incident: What is asked about.
        now: POSIX seconds.

    Raises:
        NotEnoughHistory: the past is too short, or the incident has no symptom to start from.
        ConfigurationInvalid: the engine has no weights, or they cannot be used.
    """
    if not incident.symptoms:
        raise NotEnoughHistory(0, 1)
    first = min(incident.symptoms, key=lambda one: (one.since, one.element))
    return engine.rank(window.snapshot(now, since=first.since.timestamp(), target=first.element))


def combined(rules: Diagnosis, ranking: Ranking) -> Diagnosis:
    """Put the engine's "where" and the rules' "what" together.

    An element gets the engine's confidence, lowered by drift; its fault kinds share it as the rules would. An element
    of which the rules say nothing, and all that is left, is "unknown".
    """
    kept = 1.0 if ranking.drift is None else 1.0 - ranking.drift
    causes: list[Cause] = []
    for element, share in _by_element(rules.causes).items():
        confidence = ranking.confidence.get(str(element), 0.0) * kept
        whole = sum(one.confidence for one in share)
        for one in share if whole > 0 else ():
            told = Evidence("engine", f"{ranking.method[:12]} gives {element} {confidence:.2f}{_of_drift(ranking)}")
            part = round(confidence * one.confidence / whole, 4)
            causes.append(Cause(one.element, one.fault, part, (*one.evidence, told), one.subject))
    left = round(max(0.0, 1.0 - sum(one.confidence for one in causes)), 4)
    statement = f"no element the rules know a fault of{_of_drift(ranking)}"
    causes.append(Cause(None, FaultKind.UNKNOWN, left, (Evidence("engine", statement),)))
    causes.sort(key=lambda one: (-one.confidence, one.fault, str(one.element)))
    return Diagnosis(rules.incident, rules.at, tuple(causes), ranking.method)


def of_ranking(ranking: Ranking) -> list[tuple[Element, float]]:
    """Return (element, confidence lowered by drift), the likeliest first; equals by name."""
    kept = 1.0 if ranking.drift is None else 1.0 - ranking.drift
    pairs = [(element_of(name), confidence * kept) for name, confidence in ranking.confidence.items()]
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


def _of_drift(ranking: Ranking) -> str:
    return f"; {ranking.drift:.0%} of its inputs are unlike its training" if ranking.drift else ""


def _by_element(causes: Sequence[Cause]) -> dict[Element, list[Cause]]:
    found: dict[Element, list[Cause]] = {}
    for one in causes:
        if one.element is not None:
            found.setdefault(one.element, []).append(one)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """What an engine was fitted on, column by column: the middle 98 % of each.

    Attributes:
        low: (columns,) 1st percentile.
        high: (columns,) 99th percentile.
    """

    low: FloatArray
    high: FloatArray
    # By construction so many readings of the training side itself lie outside.
    usual: float = field(default=0.02)

    @classmethod
    def of(cls, rows: FloatArray) -> Profile:
        """Take the profile of a training side: (rows, columns), NaN where not measured."""
        return cls(np.nanpercentile(rows, 1, axis=0), np.nanpercentile(rows, 99, axis=0))

    def drift(self, rows: FloatArray) -> float:
        """Return the share of measured readings outside, beyond the usual, 0..1; 0 where nothing was measured.

        Args:
            rows: (rows, columns) as fitted.
        """
        measured = np.isfinite(rows)
        if not measured.any():
            return 0.0
        outside = measured & ((rows < self.low) | (rows > self.high))
        share = float(outside.sum() / measured.sum())
        return max(0.0, (share - self.usual) / (1 - self.usual))
