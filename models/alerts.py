"""Alerts: what others' detectors raised in metrics, calls and logs, as signals of every element.

A kind of alert is what is left of its name without numbers and addresses, so that one kind covers sixteen cores and
every replica. Beside one signal a kind, which says no direction, there are signals that any system has, whatever its
alerts are called; they say more when worse:

- how many alerts of a group (metric up, call in PD, log, ...) there are;
- news: how surprising they are, by how often this element shows them in other incidents; and what it usually shows
  and does not show now;
- who complains of whom: by how many callers an element is named, and whether they name others as well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.snapshot import FloatArray, SignalKind, SignalSpec

Showing = tuple[str, str, str]  # who, group, kind

_NUMBER = re.compile(r"\d+")
_ADDRESS = re.compile(r"^\w+://[^/]+")
_ANY = "any"
# What was always there surprises this little, never nothing, and what was never there not infinitely (Laplace).
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Alerts:
    """What was raised in one incident.

    Attributes:
        elements: Ids, unique.
        metrics: (element, metric, direction).
        calls: (caller, callee, operation, kind of alert); either end may stand outside of the system.
        logs: (element, template).
    """

    elements: tuple[str, ...]
    metrics: tuple[tuple[str, str, str], ...]
    calls: tuple[tuple[str, str, str, str], ...]
    logs: tuple[tuple[str, str], ...]

    def showings(self) -> Iterator[Showing]:
        """Yield what each element shows; a call counts for its callee (`in`) and its caller (`out`), or for `self`."""
        for who, metric, direction in self.metrics:
            yield who, f"metric {direction}", f"metric {_NUMBER.sub('#', metric)} {direction}"
        for caller, callee, operation, kind in self.calls:
            what = _NUMBER.sub("#", _ADDRESS.sub("", operation))
            for who, way in ((caller, "self"),) if caller == callee else ((caller, "out"), (callee, "in")):
                yield who, f"call {way} {kind}", f"call {way} {kind} {what}"
        for who, template in self.logs:
            yield who, "log", f"log {template.removeprefix(f'{who}-')}"


@dataclass(frozen=True, slots=True, eq=False)
class Usual:
    """How often each element showed each kind in incidents whose causes play no part here.

    Attributes:
        often: Incidents by what was shown.
        incidents: How many there were.
    """

    often: Mapping[Showing, int]
    incidents: int

    def share(self, one: Showing, *, of_these: bool, shown: bool) -> float:
        """Return the share of other incidents with it, never 0 or 1.

        Args:
            one: What.
            of_these: Whether the incident that asks is one of those counted; it is then left out.
            shown: Whether it shows it.
        """
        found = self.often.get(one, 0) - (of_these and shown)
        return (found + _HALF) / (self.incidents - of_these + 2 * _HALF)


def usual(incidents: Sequence[Alerts]) -> Usual:
    """Count what is shown in incidents, each thing once an incident."""
    return Usual(Counter(one for each in incidents for one in set(each.showings())), len(incidents))


@dataclass(frozen=True, slots=True)
class Encoding:
    """Which signals a system's alerts become; the same for every incident of it.

    Attributes:
        kinds: Of alerts, each a signal of its own. An alert of no kind that is named here still counts in the rest.
        groups: Of alerts.
        complaints: Kinds of alert that calls raise.
    """

    kinds: tuple[str, ...]
    groups: tuple[str, ...]
    complaints: tuple[str, ...]

    @property
    def signals(self) -> tuple[SignalSpec, ...]:
        """In the order of `encode`'s columns; units: `1` alerts of one kind, `alerts` of a group, `nats`, `calls`."""
        return (
            *(SignalSpec(kind, "1", 0, SignalKind.EVENT) for kind in self.kinds),
            *(
                SignalSpec(f"{what} {group}", unit, 1, SignalKind.EVENT)
                for what, unit in (("count", "alerts"), ("news", "nats"), ("newest", "nats"), ("missing", "nats"))
                for group in (*self.groups, _ANY)
            ),
            *(
                SignalSpec(f"{what} {kind}", "calls", 1, SignalKind.EVENT)
                for kind in (*self.complaints, _ANY)
                for what in ("callers", "callees", "blamed", "blaming", "end")
            ),
        )


def encoding(incidents: Sequence[Alerts]) -> Encoding:
    """Name the signals that incidents of one system need."""
    shown = {(group, kind) for each in incidents for _, group, kind in each.showings()}
    complaints = {kind for each in incidents for *_, kind in each.calls}
    groups, kinds = ({one[k] for one in shown} for k in (0, 1))
    return Encoding(tuple(sorted(kinds)), tuple(sorted(groups)), tuple(sorted(complaints)))


def encode(alerts: Alerts, into: Encoding, *, normal: Usual, of_these: bool) -> FloatArray:
    """Return (N, S), all >= 0, by `into.signals`.

    Args:
        alerts: Of one incident; elements that are none of its own are left out.
        into: Which signals.
        normal: What is usual.
        of_these: Whether `normal` counts this incident, too.
    """
    place = {name: k for k, name in enumerate(alerts.elements)}
    column = {kind: k for k, kind in enumerate(into.kinds)}
    row = {group: k for k, group in enumerate((*into.groups, _ANY))}
    kinds = np.zeros((len(place), len(column)))
    count, news, newest, missing = np.zeros((4, len(place), len(row)))
    counted = Counter(one for one in alerts.showings() if one[0] in place)
    for one, times in counted.items():
        who, group, kind = one
        if kind in column:
            kinds[place[who], column[kind]] = times
        surprise = -np.log(normal.share(one, of_these=of_these, shown=True))
        for name in {group if group in row else _ANY, _ANY}:
            at = (place[who], row[name])
            count[at] += times
            news[at] += surprise
            newest[at] = max(newest[at], surprise)
    for one in normal.often:
        who, group, _ = one
        if who in place and one not in counted:
            for name in {group if group in row else _ANY, _ANY}:
                share = normal.share(one, of_these=of_these, shown=False)
                missing[place[who], row[name]] -= np.log1p(-share)
    return np.column_stack([kinds, count, news, newest, missing, _complaints(alerts, into, place)])


def _complaints(alerts: Alerts, into: Encoding, place: Mapping[str, int]) -> FloatArray:
    """(N, 5 x kinds): callers that name it, callees it names, its share of their and of its blame, callers of an end.

    Whoever stands outside of the system is one more caller and callee.
    """
    outside = len(place)
    columns = []
    for kind in (*into.complaints, _ANY):
        named = np.zeros((outside + 1, outside + 1))
        for caller, callee, _, what in alerts.calls:
            if caller != callee and kind in (what, _ANY):
                named[place.get(caller, outside), place.get(callee, outside)] = 1.0
        callers, callees = named.sum(axis=0), named.sum(axis=1)
        blamed = (named / np.maximum(callees, 1.0)[:, None]).sum(axis=0)
        blaming = (named / np.maximum(callers, 1.0)[None, :]).sum(axis=1)
        columns += [callers, callees, blamed, blaming, callers * (callees == 0)]
    return np.column_stack(columns)[:outside]
