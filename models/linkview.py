"""One link as its two ends saw it over the seconds since it went ill: the numbers a rule may ask for.

A view travels as the `facts` of a symptom, so that whoever reads an incident later sees what the rules saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from models.mesh import Link
from models.telemetry import ProbeKind, SizeClass, TrafficClass


class Way(StrEnum):
    """A direction over a link: forward runs from end `a` to end `b` as declared."""

    FORWARD = "forward"
    BACKWARD = "backward"


@dataclass(frozen=True, slots=True)
class Tally:
    """Packets sent and lost; fractions come from interpolating between two readings."""

    sent: float = 0.0
    lost: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.sent + other.sent, self.lost + other.lost)

    @property
    def share(self) -> float:
        """Share lost, 0..1; 0 where nothing was sent."""
        return min(1.0, max(0.0, self.lost / self.sent)) if self.sent > 0 else 0.0

    @property
    def passed(self) -> float:
        """Packets that arrived."""
        return max(0.0, self.sent - self.lost)


def total(tallies: Iterable[Tally]) -> Tally:
    """Add tallies up."""
    result = Tally()
    for one in tallies:
        result += one
    return result


@dataclass(frozen=True, slots=True)
class LinkView:
    """What was counted and probed on one link.

    Attributes:
        seconds: How long the view reaches back.
        counted: (way, class, size) -> packets the sending end counted, and those the receiving end did not. Empty
            where an end has no counters by class.
        probed: (way of the request, kind, size) -> requests judged, and those unanswered (lost on either way).
        figures: `rate_ratio` (data rate against the link's own past), `rtt_ms` (the slowest answer) and
            `rtt_past_ms` (the usual one before, at that end), where known.
    """

    seconds: float
    counted: Mapping[tuple[Way, TrafficClass, SizeClass], Tally] = field(default_factory=dict)
    probed: Mapping[tuple[Way, ProbeKind, SizeClass], Tally] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)

    def traffic(self, *classes: TrafficClass, way: Way | None = None, size: SizeClass | None = None) -> Tally:
        """Add up what was counted of these classes (all when none is named), on one way or both, of one size or all."""
        return total(
            tally
            for (on, kind, large), tally in self.counted.items()
            if (not classes or kind in classes) and way in {None, on} and size in {None, large}
        )

    def probes(self, *kinds: ProbeKind, size: SizeClass | None = None) -> Tally:
        """Add up the probes of these kinds (all when none is named) from both ends."""
        return total(
            tally
            for (_, kind, large), tally in self.probed.items()
            if (not kinds or kind in kinds) and size in {None, large}
        )

    def facts(self) -> dict[str, float | str]:
        """Return the view as a symptom's facts; kinds of traffic that were not seen are left out."""
        counted = {f"{way} {kind} {size}": tally for (way, kind, size), tally in self.counted.items() if tally.sent > 0}
        probed = {
            f"{way} probe {kind} {size}": tally for (way, kind, size), tally in self.probed.items() if tally.sent > 0
        }
        found: dict[str, float | str] = {"seconds": round(self.seconds, 2)}
        for name, tally in (counted | probed).items():
            found[f"{name} sent"] = round(tally.sent, 1)
            found[f"{name} lost"] = round(tally.lost, 1)
        return found | {name: round(value, 3) for name, value in self.figures.items()}

    @classmethod
    def of_facts(cls, facts: Mapping[str, float | str]) -> LinkView:
        """Read a view back from a symptom's facts."""

        def tally(name: str) -> Tally | None:
            sent, lost = facts.get(f"{name} sent"), facts.get(f"{name} lost")
            return Tally(float(sent), float(lost)) if sent is not None and lost is not None else None

        counted = {
            (way, kind, size): one
            for way in Way
            for kind in TrafficClass
            for size in SizeClass
            if (one := tally(f"{way} {kind} {size}"))
        }
        probed = {
            (way, probe, size): one
            for way in Way
            for probe in ProbeKind
            for size in SizeClass
            if (one := tally(f"{way} probe {probe} {size}"))
        }
        names = ("rate_ratio", "rtt_ms", "rtt_past_ms")
        figures = {name: float(facts[name]) for name in names if name in facts}
        return cls(float(facts.get("seconds", 0.0)), counted, probed, figures)


def spoken(link: Link, way: Way) -> str:
    """Name a direction as people read it: `n1>n2`."""
    a, b = link.nodes
    return f"{a}>{b}" if way is Way.FORWARD else f"{b}>{a}"
