"""What offline validation found of an incident's declared dependencies, and the door to where it is kept.

Whoever only reads this needs none of what works it out (`models.validating`, the extra `learning`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from models.incident import IncidentId

# Whoever reads it wants the one that did it and who else might have.
_SHOWN = 3


class Standing(StrEnum):
    """What the past says of a dependency or of a graph. The texts are a contract (database, API)."""

    KEPT = "kept"
    DOUBTFUL = "doubtful"
    UNTOLD = "could not be told"


@dataclass(frozen=True, slots=True)
class EdgeCheck:
    """Whether a dependency shows in the past, given what else its element depends on.

    Attributes:
        element: Who depends.
        depends_on: On whom.
        p_value: Of "they have nothing to do with each other"; None: not tested.
        standing: Kept if that is refuted; doubtful if it is not and there were rows enough to see it.
        why: In words.
    """

    element: str
    depends_on: str
    p_value: float | None
    standing: Standing
    why: str


@dataclass(frozen=True, slots=True)
class Violation:
    """Two elements that vary together though the graph says they should not, given what the first depends on."""

    element: str
    other: str
    p_value: float


@dataclass(frozen=True, slots=True)
class GraphCheck:
    """The whole declared graph against the same graph with its elements shuffled (`dowhy.gcm.falsify`).

    Attributes:
        standing: Doubtful if promises are broken beyond chance and shuffled graphs fit the past as well; kept if
            those do not.
        tests: Independences that the graph promises and that were tested.
        violations: Those of them that the past breaks, each at 5 %.
        worst: The clearest of them, at most 5.
        p_fits: Share of shuffled graphs that break no larger a share of their promises; None: nothing to test.
        p_informative: Share of shuffled graphs that promise the same as the declared one; None as above.
        shuffled: How many were tried.
        why: In words.
    """

    standing: Standing
    tests: int
    violations: int
    worst: tuple[Violation, ...]
    p_fits: float | None
    p_informative: float | None
    shuffled: int
    why: str


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the target's surprise is explained by what one element does by itself.

    Attributes:
        element: Whose mechanism.
        nats: Shapley value, median over resampled pasts.
        low: 5th percentile over them.
        high: 95th.
    """

    element: str
    nats: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Refutation:
    """An attempt to break an estimated effect.

    Attributes:
        refuter: Which attempt.
        effect: What the estimate became; a placebo should make it nothing, the others should leave it.
        p_value: Of that being so by chance; None: the refuter gave none.
        holds: Whether the estimate stood it.
    """

    refuter: str
    effect: float
    p_value: float | None
    holds: bool


@dataclass(frozen=True, slots=True)
class Effect:
    """What the past says one element does to another: deviations of it for one deviation of the cause."""

    cause: str
    element: str
    value: float
    refutations: tuple[Refutation, ...]


@dataclass(frozen=True, slots=True)
class Attribution:
    """Which element's own mechanism changed, seen from where the incident showed.

    Attributes:
        target: Where it showed.
        shares: Of the target and all it depends on, the largest first; empty if it could not be told.
        resamples: Resampled pasts behind the intervals.
        effect: Of the largest share's element on the target, with its refutations; None: that is the target itself.
        why: What stands behind it, or why it could not be told.
    """

    target: str
    shares: tuple[Share, ...]
    resamples: int
    effect: Effect | None
    why: str


@dataclass(frozen=True, slots=True)
class Validation:
    """Everything that was tested of one snapshot.

    Attributes:
        standing: Doubtful if the graph or one of its dependencies is; kept if the graph is and none is doubtful.
        graph: The graph as a whole.
        edges: Each dependency of the part that was looked at.
        attribution: Of the incident's change.
        signals: Element -> the signal it was judged by.
        left_out: Element -> why it was not looked at.
        rows: Of the past.
        seed: Everything drawn comes of it: the same gives the same.
        versions: Of the libraries that worked it out.
        cut_short: What the time budget left undone, in words; empty: nothing.
    """

    standing: Standing
    graph: GraphCheck
    edges: tuple[EdgeCheck, ...]
    attribution: Attribution
    signals: Mapping[str, str]
    left_out: Mapping[str, str]
    rows: int
    seed: int
    versions: Mapping[str, str]
    cut_short: str


@dataclass(frozen=True, slots=True)
class ValidationRecord:
    """A validation as it is kept with its incident.

    Attributes:
        incident: Whose.
        at: When it was done, aware UTC.
        seconds: How long that took.
        validation: None if nothing could be tested.
        why_not: Why there is none; empty when there is one.
    """

    incident: IncidentId
    at: datetime
    seconds: float
    validation: Validation | None
    why_not: str = ""


class ValidationRepository(Protocol):
    """Validations, one an incident."""

    async def keep(self, record: ValidationRecord) -> None:
        """Insert or replace by incident."""

    async def of(self, incident: IncidentId) -> ValidationRecord | None:
        """Return an incident's; None: not done yet."""

    async def lacking(self, mesh: str, *, since: datetime, limit: int) -> list[IncidentId]:
        """Return closed incidents without one, closed at or after `since`, the longest closed first."""


def told(record: ValidationRecord) -> list[str]:
    """Tell a validation in lines, what matters first."""
    found = record.validation
    if found is None:
        return [f"  not validated: {record.why_not}"]
    named = Counter(one.standing for one in found.edges)
    dependencies = ", ".join(f"{count} {standing}" for standing, count in sorted(named.items()))
    graph = f"as a graph {found.graph.standing}, {found.graph.why}"
    lines = [f"  dependencies around it {found.standing}: {dependencies or 'none'}; {graph}"]
    lines += [
        f"  {one.standing}: {one.element} depends on {one.depends_on}; {one.why}"
        for one in found.edges
        if one.standing is Standing.DOUBTFUL
    ]
    if found.graph.standing is Standing.DOUBTFUL:
        lines += [
            f"  unexplained: {one.element} and {one.other} moved together (p {one.p_value:.2g})"
            for one in found.graph.worst[:_SHOWN]
        ]
    attribution = found.attribution
    lines += [
        f"  {one.nats:6.2f} nats ({one.low:.2f} to {one.high:.2f}) of {attribution.target}'s change by {one.element}"
        for one in attribution.shares[:_SHOWN]
    ]
    if not attribution.shares:
        lines.append(f"  change not attributed: {attribution.why}")
    if attribution.effect is not None:
        effect = attribution.effect
        stood = [one.refuter for one in effect.refutations if one.holds]
        lines.append(
            f"  a deviation of {effect.cause} was worth {effect.value:.2f} of {effect.element} in the past; "
            f"stood {len(stood)} of {len(effect.refutations)} refutations"
        )
    if found.cut_short:
        lines.append(f"  left undone for want of time: {found.cut_short}")
    versions = ", ".join(f"{name} {version}" for name, version in sorted(found.versions.items()))
    return [*lines, f"  validated in {record.seconds:.0f} s on {found.rows} rows, seed {found.seed}, {versions}"]
