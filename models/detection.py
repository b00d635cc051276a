"""Detection: which elements stray from their own past, from the nodes' samples alone.

Counters at both ends of a link (conservation of packets), probes over links and pairs, carrier, daemon, forwarding
and drifts; all of it more patiently where the hosts are busy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import numpy as np

from models.conservation import at_times
from models.history import CHANNELS, NodeHistory
from models.incident import Symptom, SymptomKind
from models.linkview import Tally, Way, spoken, total
from models.linkwatch import Finding, LinkWatch
from models.mesh import Element, Link, LinkId, Mesh, NodeId
from models.nodesigns import Look, instant, node_symptoms
from models.patience import greatest
from models.regions import Outlook, Place, Region, joined, whole
from models.telemetry import Direction, ProbeKind, Sample, SizeClass, TrafficClass
from models.tuning import Tuning

__all__ = ["Detector", "LinkLosses", "Losses", "Tuning"]

# Below this share of large packets' loss, small ones count as passing beside them.
_SMALL_PASSES = 0.5
# Half of the control traffic gone within a second or two may be all of it, seen through interpolation.
_MAYBE_DEAD = 0.5
# Everything together is many more packets, so that a lossy link cannot be taken for one that may be dead.
_LIKELY_DEAD = 0.75
_CONTROL = (TrafficClass.ROUTING, TrafficClass.PROBE)
# The parts of the list of symptoms, in this order.
_LINKS, _NODES, _SILENT = range(3)


@dataclass(frozen=True, slots=True)
class LinkLosses:
    """What one directed link carried and lost in an interval.

    Attributes:
        counted: By class and size; empty where an end has no counters.
        probed: Probes judged at the sending end, by kind and size.
        own_transit: Packets of the data class that are our probes and their answers, sent this way.
    """

    counted: Mapping[tuple[TrafficClass, SizeClass], Tally] = field(default_factory=dict)
    probed: Mapping[tuple[ProbeKind, SizeClass], Tally] = field(default_factory=dict)
    own_transit: float = 0.0

    def carried(self, *classes: TrafficClass) -> Tally:
        """Add up the counted traffic of these classes (all when none is named)."""
        return total(tally for (kind, _), tally in self.counted.items() if not classes or kind in classes)


@dataclass(frozen=True, slots=True)
class Losses:
    """What was lost in an interval, per directed link and per pair.

    Attributes:
        links: (link, sending node) -> losses.
        pairs: (from, to) -> reach probes judged and unanswered, all sizes.
    """

    links: Mapping[tuple[LinkId, NodeId], LinkLosses]
    pairs: Mapping[tuple[NodeId, NodeId], Tally]


class Detector:
    """Keeps the nodes' recent past and says what is wrong with which element.

    Feed it with `observe`, ask with `symptoms` about twice a second. Alarms persist between calls, so one detector
    belongs to one watcher. Given a region, it watches that part: it needs the samples of the nodes seen from there
    only, and the other regions' outlook.
    """

    def __init__(
        self,
        mesh: Mesh,
        tuning: Tuning = Tuning(),  # noqa: B008 - frozen, so sharing it is safe
        *,
        region: Region | None = None,
    ) -> None:
        part = region or whole(mesh)
        self.mesh = mesh
        self.tuning = tuning
        self._nodes = {one: NodeHistory(one, keep_seconds=tuning.keep_seconds) for one in part.seen}
        self._own = {one: self._nodes[one] for one in part.nodes}
        self._watches = {one: LinkWatch(mesh.link(one), tuning) for one in part.links}
        self._place_of_link = {link.id: place for place, link in enumerate(mesh.links)}
        self._place_of_node = {node.id: place for place, node in enumerate(mesh.nodes)}

    def observe(self, samples: Sequence[Sample]) -> None:
        """Take samples in, in any order; late and repeated ones are fine, those of nodes it does not see ignored."""
        for sample in samples:
            if sample.node in self._nodes:
                self._nodes[sample.node].add(sample)

    def patience(self) -> dict[NodeId, float]:
        """Return each node's patience factor now: 1 calm, up to 4 when its host is busy or its samples come late."""
        return {node: greatest([history], self.tuning) for node, history in self._nodes.items()}

    def outlook(self, now: datetime) -> Outlook:
        """Return what the detectors of other regions must know of this one."""
        return self._outlook(now.timestamp(), self.patience())

    def symptoms(self, now: datetime) -> tuple[Symptom, ...]:
        """Test everything once and return what stands, links first, each kind once per element and direction.

        A link whose ends have fewer than ten samples in this epoch has no loss symptom: too little past to stray from.
        """
        return joined([self.placed_symptoms(now)])

    def placed_symptoms(self, now: datetime, outlook: Outlook | None = None) -> tuple[tuple[Place, Symptom], ...]:
        """Return the symptoms of this region, each with its place among those of the whole mesh.

        Args:
            now: Aware UTC.
            outlook: Of all regions together, at the same moment; None: this one is all there is.
        """
        moment = now.timestamp()
        patience = self.patience()
        abroad = outlook or self._outlook(moment, patience)
        busiest = abroad.patience
        if abroad.most_links_lose_probes:
            busiest = self.tuning.max_patience
            patience = dict.fromkeys(patience, busiest)
        found: list[tuple[Place, Symptom]] = []
        for link, watch in self._watches.items():
            factor = max(patience[node] for node in watch.link.nodes)
            findings = watch.findings(self._nodes, now=moment, patience=factor)
            if findings:
                place = _LINKS, self._place_of_link[link]
                found.extend((place, one) for one in self._link_symptoms(watch, findings, moment, patience=busiest))
        for node, history in self._own.items():
            place = _NODES, self._place_of_node[node]
            if history.latest is not None and history.latest.time > moment - self.tuning.fresh_seconds:
                look = Look(self.mesh, history, self.tuning, patience[node], abroad.answers_from)
                found.extend((place, one) for one in node_symptoms(look))
        for node, one in self._silent_nodes(moment, patience):
            found.append(((_SILENT, self._place_of_node[node]), one))
        return tuple(found)

    def _outlook(self, now: float, patience: Mapping[NodeId, float]) -> Outlook:
        return Outlook(
            patience=max((patience[node] for node in self._own), default=1.0),
            losing=self._links_losing_probes(now),
            links=len(self._watches),
            answers_from={
                node: history.answers_from(self.tuning.probe_timeout_busy) for node, history in self._own.items()
            },
        )

    # --- links

    def _link_symptoms(
        self, watch: LinkWatch, findings: list[Finding], now: float, *, patience: float
    ) -> Iterator[Symptom]:
        # The newest onset of the counters, and an interval more: a window that reaches back before the fault would
        # show a dead link as a lossy one, and interpolation spreads the first loss over the interval it fell into.
        onset = min(one.since for one in findings)
        counted = [one.since for one in findings if one.way is not None]
        since = min(max(counted, default=onset) + self.tuning.interval_seconds, now - self.tuning.windows[0])
        view = watch.view(self._nodes, since=since, now=now)
        control = view.traffic(*_CONTROL)
        # A link that dies as a whole may be its node's death, and one whose control traffic was not seen yet may be
        # grey or black: look a little longer.
        shares = [(view.traffic(*_CONTROL, way=way).share, view.traffic(way=way).share) for way in Way]
        may_be_dead = any(control >= _MAYBE_DEAD and everything >= _LIKELY_DEAD for control, everything in shares)
        is_open = bool(view.counted) and control.sent < 2 * self.tuning.persistence
        # The dead node's other links are judged by other hosts: as late as the busiest of them.
        dead_hold = self.tuning.dead_hold_seconds * patience
        hold = dead_hold if may_be_dead else self.tuning.hold_seconds if is_open else 0.0
        if hold and now - onset < hold + self.tuning.interval_seconds:
            return
        facts = view.facts()
        element = Element.of_link(watch.link.id)
        by_test: dict[tuple[Way | None, str], Finding] = {(one.way, one.test): one for one in findings}
        for way in Way:
            tests = [one for (on, _), one in by_test.items() if on is way]
            if not tests:
                continue
            strongest = max(tests, key=lambda one: one.strength)
            small = view.traffic(way=way, size=SizeClass.SMALL) + view.traffic(way=way, size=SizeClass.MEDIUM)
            large = view.traffic(way=way, size=SizeClass.LARGE)
            only_large = large.share >= self.tuning.min_share and small.share < _SMALL_PASSES * large.share
            kind = SymptomKind.LARGE_LOSS if only_large else SymptomKind.LOSS
            yield _symptom(element, kind, tests, facts | _direction(watch.link, way, strongest))
        probes = [one for (on, _), one in by_test.items() if on is None]
        if probes:
            worst = max(probes, key=lambda one: one.strength)
            named: dict[str, float | str] = {"loss": round(worst.share, 3), "test": worst.test}
            yield _symptom(element, SymptomKind.PROBE_LOSS, probes, facts | named)

    def _links_losing_probes(self, now: float) -> int:
        """Return how many links lost probes in the last seconds."""
        losing = 0
        for watch in self._watches.values():
            tally = total(
                one
                for node in watch.link.nodes
                for one in self._probes_since(watch.link, node, now - self.tuning.fresh_seconds).values()
            )
            losing += tally.lost >= self.tuning.probe_lost
        return losing

    def _probes_since(self, link: Link, node: NodeId, since: float) -> dict[tuple[ProbeKind, SizeClass], Tally]:
        history = self._nodes[node]
        if history.latest is None or history.latest.time <= since:
            return {}
        return history.probes_between(link.end_at(node).name, since, history.latest.time)

    # --- nodes

    def _silent_nodes(self, now: float, patience: Mapping[NodeId, float]) -> Iterator[tuple[NodeId, Symptom]]:
        """A node without samples whom no neighbour gets an answer from. Without samples alone, its collector is ill.

        Neighbours count that were there when it last spoke: after a restart of everything, who comes last is not dead.
        """
        for node, history in self._own.items():
            latest = history.latest
            if latest is None or latest.time > now - self.tuning.fresh_seconds * patience[node]:
                continue
            asked = [
                total(self._probes_since(link, other, now - self.tuning.fresh_seconds).values())
                for link in self.mesh.links_of(node)
                for other in link.nodes
                if other != node and self._nodes[other].began <= latest.time
            ]
            heard_of = [one for one in asked if one.sent >= self.tuning.probe_lost]
            if heard_of and all(one.lost == one.sent for one in heard_of):
                facts: dict[str, float | str] = {
                    "seconds": round(now - latest.time, 1),
                    "neighbours": len(heard_of),
                    "probes_lost": total(heard_of).lost,
                }
                element, since, at = Element.of_node(node), instant(latest.time), instant(now)
                yield node, Symptom(element, SymptomKind.SILENT_NODE, since, at, float("inf"), facts)

    # --- verification

    def unheard(self, now: datetime, since: datetime) -> frozenset[NodeId]:
        """Return the nodes whose collector did not speak all the while between two instants.

        A collector also answers the other nodes' probes, so pairs that end at one of them prove nothing of the mesh.
        """
        start, end = since.timestamp(), now.timestamp()
        patience = self.patience()

        def was_away(history: NodeHistory) -> bool:
            spoken_at = [start, *(one.time for one in history.since(start) if one.time > start)]
            # What was measured late was answered late, too; what has not arrived yet may only be late on its way.
            gap = max((later - earlier for earlier, later in pairwise(spoken_at)), default=0.0)
            late = (end - spoken_at[-1]) / patience[history.node]
            return max(gap, late) > self.tuning.unheard_seconds

        return frozenset(node for node, history in self._own.items() if was_away(history))

    def losses(self, now: datetime, since: datetime) -> Losses:
        """Return what each directed link and each pair lost between two instants, as far as samples reach.

        A link's interval ends at the earlier of its two ends' newest samples; a pair's at the newest sample of its
        origin. Probes judged right after `since` were sent up to a time-out before it: start that much later.
        """
        start, end = since.timestamp(), now.timestamp()
        links = {
            (link, watch.ends(way)[0].node): self._link_losses(watch, way, start, end)
            for link, watch in self._watches.items()
            for way in Way
        }
        pairs: dict[tuple[NodeId, NodeId], Tally] = {}
        for node, history in self._own.items():
            if history.latest is None or history.latest.time <= start:
                continue
            for target, sizes in history.reach_between(start, end).items():
                pairs[node, target] = total(sizes.values())
        return Losses(links, pairs)

    def _link_losses(self, watch: LinkWatch, way: Way, start: float, end: float) -> LinkLosses:
        sender, receiver = watch.ends(way)
        near, far = self._nodes[sender.node], self._nodes[receiver.node]
        probed = self._probes_between(near, sender.name, start, end)
        answered = self._probes_between(far, receiver.name, start, end)
        own = total(tally for (kind, _), tally in (*probed.items(), *answered.items()) if kind is ProbeKind.TRANSIT)
        sent = near.counter(sender.name, Direction.TX, since=start)
        received = far.counter(receiver.name, Direction.RX, since=start)
        counted: dict[tuple[TrafficClass, SizeClass], Tally] = {}
        if sent is not None and received is not None:
            until = min(end, float(sent.times[-1]), float(received.times[-1]))
            begin = max(start, float(sent.times[0]), float(received.times[0]))
            if until > begin:
                instants = np.array([begin, until])
                gone, come = (np.diff(at_times(one, instants), axis=0)[0] for one in (sent, received))
                counted = {
                    channel: Tally(float(gone[index]), float(gone[index] - come[index]))
                    for index, channel in enumerate(CHANNELS)
                }
        return LinkLosses(counted, probed, own.sent)

    @staticmethod
    def _probes_between(
        node: NodeHistory, interface: str, start: float, end: float
    ) -> dict[tuple[ProbeKind, SizeClass], Tally]:
        if node.latest is None or node.latest.time <= start:
            return {}
        return node.probes_between(interface, start, end)


def _direction(link: Link, way: Way, finding: Finding) -> dict[str, float | str]:
    return {
        "direction": spoken(link, way),
        "way": way.value,
        "loss": round(finding.share, 3),
        "test": finding.test,
    }


def _symptom(element: Element, kind: SymptomKind, findings: list[Finding], facts: dict[str, float | str]) -> Symptom:
    return Symptom(
        element,
        kind,
        instant(min(one.since for one in findings)),
        instant(max(one.until for one in findings)),
        max(one.strength for one in findings),
        facts,
    )
