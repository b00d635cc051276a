"""One link under watch: alarms on its deficits and its probes, and what they say together."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from models.conservation import Deficits, deficits, own_slack
from models.history import CHANNELS, PROBES, Counter, FloatArray, NodeHistory, tallies
from models.linkview import LinkView, Tally, Way
from models.mesh import Interface, Link, NodeId
from models.telemetry import Direction, SizeClass, TrafficClass
from models.tuning import Tuning

# What is tested for loss, as sums of channels. Sizes apart, because an MTU step hides in a sum of small packets.
GROUPS: dict[str, tuple[bool, ...]] = {
    "all": tuple(True for _ in CHANNELS),
    "data": tuple(kind is TrafficClass.DATA for kind, _ in CHANNELS),
    "large": tuple(size is SizeClass.LARGE for _, size in CHANNELS),
    "data/large": tuple((kind, size) == (TrafficClass.DATA, SizeClass.LARGE) for kind, size in CHANNELS),
}
_SUMS = np.array(list(GROUPS.values()), dtype=np.float64).T
# Tests of the probes, and their places in `PROBES`.
_PROBE_TESTS = {
    f"probe {kind} {size}": index for index, (kind, size) in enumerate(PROBES) if size is not SizeClass.MEDIUM
}

# A chunk of the link's own past; with 60 of them the past reaches back two minutes.
_CHUNK_SECONDS = 2.0
_CHUNKS = 60
_CHUNKS_NEEDED = 10
# A share of a handful of packets is mostly interpolation noise and teaches nothing about the link.
_CHUNK_PACKETS = 10
# At least this many packets must have been offered since the last alarm before "none lost" ends it, per share lost.
_PACKETS_TO_CLEAR = 5.0
# A small share is waited for longer: bursts in step with the readings, whose phase drifts, look like it for seconds.
_WEAK_SHARE, _WEAK_PATIENCE = 0.2, 6
# The view shown with a symptom reaches back at most this far, so that it speaks of now.
_VIEW_SECONDS = 6.0
# A link whose probes find this much of them unanswered without one packet missing has a deaf peer, not a bad wire.
_DEAF_AFTER_PROBES = 12


@dataclass(slots=True)
class Alarm:
    """The state of one test: how often in a row it found something, since when it stands, and what is over."""

    agreed: int = 0
    over_until: float = 0.0
    until: float = 0.0
    since: float | None = None
    share: float = 0.0
    strength: float = 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one standing test found.

    Attributes:
        way: None where both directions were tested together (probes).
        test: A name of `GROUPS`, or `probe <kind> <size>`.
        since: POSIX seconds at which it began.
        until: POSIX seconds of the newest evidence.
        share: Share lost since.
        strength: Distance from the link's own past, in units of its doubt.
    """

    way: Way | None
    test: str
    since: float
    until: float
    share: float
    strength: float


@dataclass(frozen=True, slots=True)
class ProbingEnd:
    """An end that reports, and since when its peer may be expected to answer.

    Attributes:
        way: From this end to the other.
        interface: At this end.
        node: Whose readings tell of the probes.
        answering: POSIX seconds; what was judged before tells nothing.
    """

    way: Way
    interface: str
    node: NodeHistory
    answering: float

    def judged(self, windows: FloatArray) -> FloatArray:
        """Return `NodeHistory.judged` over windows of so many seconds, as far as the peer answers."""
        since = np.maximum(self.node.readings[-1].time - windows, self.answering)
        return self.node.judged(self.interface, since)

    def round_trips(self, since: float) -> list[tuple[float, float]]:
        """Return the slowest answer from an instant on with the median before it, in ms; empty where either lacks."""
        trips, is_new = self.node.round_trips(self.interface), self.node.times >= since
        is_known = ~np.isnan(trips)
        new, past = trips[is_known & is_new], trips[is_known & ~is_new]
        return [(float(new.max()), float(np.median(past)))] if new.size and past.size else []


@dataclass(slots=True)
class LinkWatch:
    """State of one link's tests between evaluations."""

    link: Link
    tuning: Tuning
    alarms: dict[tuple[Way | None, str], Alarm] = field(default_factory=dict)
    pasts: dict[tuple[Way, str], deque[float]] = field(default_factory=dict)
    learnt_until: dict[Way, float] = field(default_factory=dict)

    def ends(self, way: Way) -> tuple[Interface, Interface]:
        """Return the sending and the receiving interface of a direction."""
        return (self.link.a, self.link.b) if way is Way.FORWARD else (self.link.b, self.link.a)

    def findings(self, nodes: Mapping[NodeId, NodeHistory], *, now: float, patience: float) -> list[Finding]:
        """Test both directions' counters and the probes once; return what stands.

        Called again without fresh samples it finds the same; evidence that went stale ends what rested on it.
        """
        measured: dict[Way, Deficits] = {}
        for way in Way:
            found = self._deficits(way, nodes, now=now, patience=patience)
            if found is None:
                for test in GROUPS:
                    self.alarms.pop((way, test), None)
                continue
            measured[way] = found
            for index, test in enumerate(GROUPS):
                self._test_deficit(way, test, index, found, patience=patience)
            self._learn(way, found)
        self._test_probes(nodes, measured, now=now, patience=patience)
        # A probe is judged a time-out after it was sent.
        return [
            Finding(
                way,
                test,
                alarm.since - (self.tuning.probe_timeout if way is None else 0.0),
                alarm.until,
                alarm.share,
                alarm.strength,
            )
            for (way, test), alarm in self.alarms.items()
            if alarm.since is not None
        ]

    # --- counters

    def _counters(self, way: Way, nodes: Mapping[NodeId, NodeHistory], since: float) -> tuple[Counter, Counter] | None:
        sender, receiver = self.ends(way)
        near, far = nodes[sender.node], nodes[receiver.node]
        if min(len(near.readings), len(far.readings)) < self.tuning.min_samples:
            return None
        sent = near.counter(sender.name, Direction.TX, since=since)
        received = far.counter(receiver.name, Direction.RX, since=since)
        return (sent, received) if sent is not None and received is not None else None

    def _deficits(
        self, way: Way, nodes: Mapping[NodeId, NodeHistory], *, now: float, patience: float
    ) -> Deficits | None:
        # Two intervals beyond the longest window, so that its start can be interpolated.
        pair = self._counters(way, nodes, now - self.tuning.windows[-1] - self.tuning.fresh_seconds)
        if pair is None:
            return None
        sent, received = (Counter(one.times, one.values @ _SUMS) for one in pair)
        found = deficits(
            sent,
            received,
            windows=self.tuning.window_lengths,
            jitter_seconds=self.tuning.jitter_seconds * patience,
        )
        return found if found is not None and found.until > now - self.tuning.fresh_seconds * patience else None

    def slack(self, way: Way, test: str) -> float:
        """Return the share of loss this link's own past excuses."""
        past = np.array(self.pasts.get((way, test), ()), dtype=np.float64)
        return own_slack(past, least=_CHUNKS_NEEDED, most=self.tuning.max_slack)

    def _test_deficit(self, way: Way, test: str, index: int, found: Deficits, *, patience: float) -> None:
        alarm = self.alarms.setdefault((way, test), Alarm())
        if found.until <= alarm.until:
            return
        alarm.until = found.until
        sent, lost = found.sent[:, index], found.lost[:, index]
        least = self.tuning.min_lost * (1 + (patience - 1) / 3)
        if alarm.since is None and float(lost.max()) < least:
            alarm.agreed = 0  # as `_judged` would find, without the doubt and the past that cost most of a look
            return
        doubt = found.doubt[:, index]
        slack = self.slack(way, test)
        certain = lost - slack * sent - doubt
        share = np.divide(lost, sent, out=np.zeros_like(lost), where=sent > 0)
        worth = max(self.tuning.min_share, slack + self.tuning.share_over_past)
        alarming = (certain >= least) & (share >= worth) & (found.until - found.windows >= alarm.over_until)
        needed = self.tuning.persistence + round((patience - 1) * 2 / 3)
        best = _judged(alarm, found.windows, sent, share, alarming, needed=needed, expected=max(0.01, slack))
        if best is not None:
            alarm.strength = float(lost[best] / (1 + doubt[best]))

    def _learn(self, way: Way, found: Deficits) -> None:
        """Add one chunk to the link's own past, unless something is or may be wrong with it now."""
        if any(self.alarms[way, test].agreed or self.alarms[way, test].since for test in GROUPS):
            return
        if found.until - self.learnt_until.get(way, 0.0) < _CHUNK_SECONDS:
            return
        self.learnt_until[way] = found.until
        chunk = int(np.searchsorted(found.windows, _CHUNK_SECONDS))
        if chunk >= found.windows.size:
            return
        for index, test in enumerate(GROUPS):
            if found.sent[chunk, index] >= _CHUNK_PACKETS:
                share = found.lost[chunk, index] / found.sent[chunk, index]
                self.pasts.setdefault((way, test), deque(maxlen=_CHUNKS)).append(float(share))

    # --- probes

    def _fresh_ends(self, nodes: Mapping[NodeId, NodeHistory], now: float) -> list[ProbingEnd]:
        fresh = []
        for way in Way:
            near, far = self.ends(way)
            node, peer = nodes[near.node], nodes[far.node]
            latest = node.latest
            if (
                latest is not None
                and peer.latest is not None
                and len(node.readings) >= self.tuning.min_samples
                and latest.time > now - self.tuning.fresh_seconds
            ):
                fresh.append(ProbingEnd(way, near.name, node, peer.answers_from(self.tuning.probe_timeout_busy)))
        return fresh

    def _test_probes(
        self,
        nodes: Mapping[NodeId, NodeHistory],
        measured: Mapping[Way, Deficits],
        *,
        now: float,
        patience: float,
    ) -> None:
        ends = self._fresh_ends(nodes, now)
        if not ends:
            for name in _PROBE_TESTS:
                self.alarms[None, name] = Alarm()
            return
        until = max(one.node.readings[-1].time for one in ends)
        windows = self.tuning.probe_windows
        judged = np.zeros((windows.size, len(PROBES), 2))
        for end in ends:
            judged += np.nan_to_num(end.judged(windows), copy=False)
        for name, index in _PROBE_TESTS.items():
            alarm = self.alarms.setdefault((None, name), Alarm())
            if until > alarm.until:
                alarm.until = until
                self._test_answers(alarm, judged[:, index], measured, patience=patience)

    def _test_answers(
        self, alarm: Alarm, judged: FloatArray, measured: Mapping[Way, Deficits], *, patience: float
    ) -> None:
        windows, sent, lost = self.tuning.probe_windows, judged[:, 0], judged[:, 0] - judged[:, 1]
        least = self.tuning.probe_lost * patience
        if alarm.since is None and float(lost.max()) < least:
            alarm.agreed = 0
            return
        asked = [Tally(float(settled), float(gone)) for settled, gone in zip(sent, lost, strict=True)]
        share = np.array([one.share for one in asked])
        surprise = np.array([chance_of(one, expected=0.01) for one in asked])
        alarming = (lost >= least) & (surprise <= self.tuning.probe_surprise)
        for index in np.flatnonzero(alarming):
            alarming[index] = _is_missed_on_the_wire(asked[index], float(windows[index]), measured)
        alarming &= alarm.until - windows >= alarm.over_until
        needed = self.tuning.persistence + round(patience - 1)
        best = _judged(alarm, windows, sent, share, alarming, needed=needed, expected=0.01)
        if best is not None:
            alarm.strength = float(lost[best] / (1 + math.sqrt(0.01 * sent[best])))

    # --- the view

    def view(self, nodes: Mapping[NodeId, NodeHistory], *, since: float, now: float) -> LinkView:
        """Return what was counted and probed since an instant (at most the last six seconds of it)."""
        counted: dict[tuple[Way, TrafficClass, SizeClass], Tally] = {}
        figures: dict[str, float] = {}
        seconds = min(_VIEW_SECONDS, max(now - since, self.tuning.windows[0]))
        for way in Way:
            pair = self._counters(way, nodes, now - self.tuning.keep_seconds / 2)
            if pair is None:
                continue
            until = min(float(pair[0].times[-1]), float(pair[1].times[-1]))
            length = min(_VIEW_SECONDS, max(until - since, self.tuning.windows[0]))
            found = deficits(*pair, windows=np.array([length]), jitter_seconds=self.tuning.jitter_seconds)
            if found is None:
                continue
            for index, channel in enumerate(CHANNELS):
                counted[way, *channel] = Tally(float(found.sent[0, index]), float(found.lost[0, index]))
            figures["rate_ratio"] = max(figures.get("rate_ratio", 0.0), _rate_ratio(pair[0], until - length))
        ends = self._fresh_ends(nodes, now)
        lately = np.array([max(0.6, seconds - self.tuning.probe_timeout)])
        probed = {
            (end.way, *kind): tally for end in ends for kind, tally in tallies(PROBES, end.judged(lately)[0]).items()
        }
        if trips := [found for end in ends for found in end.round_trips(now - seconds)]:
            figures["rtt_ms"], figures["rtt_past_ms"] = max(trips)
        return LinkView(seconds, counted, probed, figures)


def chance_of(tally: Tally, *, expected: float) -> float:
    """Bound the probability of so many losses where each is lost with probability `expected`.

    Source: Chernoff (1952), P(X >= k) <= exp(-n KL(k/n || p)).
    """
    if tally.sent <= 0 or tally.share <= expected:
        return 1.0
    return math.exp(-tally.sent * _divergence(tally.share, expected))


def _divergence(share: float, expected: float) -> float:
    share = min(max(share, 0.0), 1.0)
    gained = share * math.log(share / expected) if share > 0 else 0.0
    kept = (1 - share) * math.log((1 - share) / (1 - expected)) if share < 1 else 0.0
    return gained + kept


def _judged(
    alarm: Alarm,
    windows: FloatArray,
    sent: FloatArray,
    share: FloatArray,
    alarming: np.ndarray,
    *,
    needed: int,
    expected: float,
) -> int | None:
    """Move an alarm on by one look; return the window that tells most, or None where nothing alarms.

    What the newest packets no longer show is over: it neither begins an alarm nor keeps one, and windows that reach
    back to it are not asked again.
    """
    best = _likeliest_start(sent, share, alarming, expected=expected) if alarming.any() else None
    expected_share = alarm.share if alarm.since is not None else float(share[best]) if best is not None else 0.0
    if expected_share > 0 and _is_clean(sent, share, expected_share):
        alarm.over_until = alarm.until - float(windows[0]) if alarm.since is not None else alarm.over_until
        alarm.agreed, alarm.since = 0, None
        return None
    if best is None:
        alarm.agreed = 0
        return None
    alarm.agreed += 1
    if float(share[best]) < _WEAK_SHARE:
        needed += _WEAK_PATIENCE
    if alarm.since is not None or alarm.agreed >= needed:
        alarm.since = alarm.since or alarm.until - float(windows[best])
        # The greatest share seen: longer windows dilute it once the fault is over, and would hide that it is.
        alarm.share = max(alarm.share, float(share[best])) if alarm.agreed > needed else float(share[best])
    return best


def _likeliest_start(sent: FloatArray, share: FloatArray, alarming: np.ndarray, *, expected: float) -> int:
    """Return the window whose start best parts before from after: the largest likelihood ratio."""
    score = [
        float(one) * _divergence(float(part), expected) if alarm else -1.0
        for one, part, alarm in zip(sent, share, alarming, strict=True)
    ]
    return int(np.argmax(score))


def _is_clean(sent: FloatArray, share: FloatArray, alarm_share: float) -> bool:
    """Say whether the shortest window that would have shown the alarm's loss five times shows next to none."""
    enough = np.flatnonzero(sent * max(alarm_share, 1e-6) >= _PACKETS_TO_CLEAR)
    return enough.size > 0 and float(share[enough[0]]) < alarm_share / 4


def _is_missed_on_the_wire(tally: Tally, window: float, measured: Mapping[Way, Deficits]) -> bool:
    """Say whether unanswered probes are also packets missing at an end: late answers of a busy host are not.

    Without counters on both ways it cannot be told, and the probes are believed.
    """
    if len(measured) < len(Way):
        return True
    missing = 0.0
    for found in measured.values():
        reach = min(int(np.searchsorted(found.windows, window)), found.windows.size - 1)
        missing += max(0.0, float(found.lost[reach, 0] - found.doubt[reach, 0]))
    # Half, because a request lost on the way out never becomes an answer to lose.
    return missing >= tally.lost / 2 or (tally.sent >= _DEAF_AFTER_PROBES and tally.lost >= tally.sent)


def _rate_ratio(sender: Counter, since: float) -> float:
    """Return the data rate since an instant against the median rate before it; one packet a second counts as none."""
    data = sender.values @ _SUMS[:, list(GROUPS).index("data")]
    rates = np.diff(data) / np.diff(sender.times)
    before = rates[sender.times[1:] <= since]
    after = rates[sender.times[1:] > since]
    if before.size == 0 or after.size == 0:
        return 1.0
    return float((np.mean(after) + 1) / (np.median(before) + 1))
