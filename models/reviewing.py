"""A stretch of time looked at again, region by region, in as many processes as there are.

Each look of a detector needs what all regions know at that moment (`models.regions.Outlook`). So a review goes twice
over each region: once for its outlooks, and, with all of them put together, once for its symptoms. Between the two only
a few numbers a look travel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from models.detection import Detector
from models.incident import Symptom, SymptomKind
from models.mesh import Element, Mesh
from models.regions import Outlook, Place, Region, joined, together
from models.telemetry import Sample

Found = tuple[tuple[Place, Symptom], ...]


@dataclass(frozen=True, slots=True)
class Looks:
    """When to look: every `every` after `start`, up to and at `end`; aware UTC. Iterates over the instants."""

    start: datetime
    end: datetime
    every: timedelta

    def __iter__(self) -> Iterator[datetime]:
        now = self.start + self.every
        while now <= self.end:
            yield now
            now += self.every


@dataclass(frozen=True, slots=True)
class Seen:
    """What stood at one look, in the order of one detector of the whole mesh."""

    at: datetime
    symptoms: tuple[Symptom, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """A review in short: one kind of symptom of one element.

    Attributes:
        element: Which.
        kind: What.
        first: The first look at which it stood.
        last: The last one.
        looks: At how many it stood.
    """

    element: Element
    kind: SymptomKind
    first: datetime
    last: datetime
    looks: int


def told(seen: Sequence[Seen]) -> tuple[Told, ...]:
    """Return what was seen in short, in the order in which it began."""
    found: dict[tuple[Element, SymptomKind], list[datetime]] = {}
    for look in seen:
        for key in dict.fromkeys((one.element, one.kind) for one in look.symptoms):
            found.setdefault(key, []).append(look.at)
    return tuple(Told(*key, moments[0], moments[-1], len(moments)) for key, moments in found.items())


def outlooks(mesh: Mesh, region: Region, samples: Sequence[Sample], looks: Looks) -> tuple[Outlook, ...]:
    """Return what a region knows at each look.

    Args:
        mesh: As declared.
        region: Of it.
        samples: Of the nodes seen from there, in any order.
        looks: When.
    """
    return tuple(detector.outlook(now) for now, detector in _replayed(mesh, region, samples, looks))


def findings(
    mesh: Mesh, region: Region, samples: Sequence[Sample], looks: Looks, *, shared: Sequence[Outlook]
) -> tuple[Found, ...]:
    """Return a region's symptoms at each look, given what all regions together know at each (`shared_by`)."""
    replayed = _replayed(mesh, region, samples, looks)
    return tuple(
        detector.placed_symptoms(now, outlook) for (now, detector), outlook in zip(replayed, shared, strict=True)
    )


def shared_by(regions: Sequence[Sequence[Outlook]]) -> tuple[Outlook, ...]:
    """Return what all regions together know at each look, from what each knows."""
    return tuple(together(known) for known in zip(*regions, strict=True))


def seen_by(regions: Sequence[Sequence[Found]], looks: Looks) -> tuple[Seen, ...]:
    """Return what all regions together found at each look, from what each found."""
    return tuple(Seen(now, joined(found)) for now, *found in zip(looks, *regions, strict=True))


def _replayed(
    mesh: Mesh, region: Region, samples: Sequence[Sample], looks: Looks
) -> Iterator[tuple[datetime, Detector]]:
    """Yield each look with a detector that has taken in what was measured before it."""
    detector, waiting = Detector(mesh, region=region), sorted(samples, key=lambda one: one.at, reverse=True)
    for now in looks:
        fresh = []
        while waiting and waiting[-1].at < now:
            fresh.append(waiting.pop())
        detector.observe(fresh)
        yield now, detector
