"""Verification: proof on the affected pairs that acting helped, or its absence.

Ask `judge` about twice a second after acting. It answers from the newest window that is long enough, so the seconds
in which routing still moves do not count against a remedy that worked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from models.detection import Detector, Losses
from models.graph import Pair, affected_pairs
from models.incident import FaultKind, Incident, IncidentId, SymptomKind, Verdict, Verification
from models.linkview import Tally, total
from models.mesh import ElementKind, LinkId, Mesh, NodeId
from models.remedy import Remedy, RemedyName
from models.telemetry import TrafficClass

# Newest windows tried, shortest first: two seconds hold about six reach probes a pair and direction.
WINDOWS = (2.0, 2.5, 3.0, 4.0, 6.0, 8.0)
PROBES_PER_DIRECTION, PROBES_IN_ALL = 6, 20
CLEAN_SHARE = 0.02
# Controls lose a probe now and then on a busy host: worse means by this share and by more than a packet or two.
WORSE_SHARE, WORSE_PACKETS = 0.1, 3
# A babeld cost change moves paths in 0.3-2 s, a restarted daemon in up to 6 s: before this nothing is "not healed".
SETTLE = timedelta(seconds=8)
# A dead daemon's routes vanish only when its neighbours give up on it, so after a restart things get worse first.
SETTLE_RESTART = timedelta(seconds=12)
# Harm to pairs that have nothing to do with the element shows sooner, and must not be waited out.
HARM_AFTER = timedelta(seconds=4)
# How far back "before" reaches: the fault is usually two or three seconds old when we act.
BEFORE = timedelta(seconds=3)


@dataclass(frozen=True, slots=True)
class Trial:
    """What is on trial: made by `begin` just before acting.

    Attributes:
        incident: Whose.
        plan_hash: Which remedy; empty when nothing was done.
        remedy: Its name.
        link: The link it answers for; None for a node.
        pairs: Ordered pairs that use the element.
        gone: Nodes that are dead, whose pairs prove nothing.
        before: Losses over the seconds before acting, affected pairs and controls.
        acted_at: When the last action was read back (for OBSERVE: when watching began).
    """

    incident: IncidentId
    plan_hash: str
    remedy: RemedyName
    link: LinkId | None
    pairs: frozenset[Pair]
    gone: frozenset[NodeId]
    before: tuple[Tally, Tally]
    acted_at: datetime


def begin(
    incident: Incident,
    remedy: Remedy,
    mesh: Mesh,
    detector: Detector,
    *,
    costs: Mapping[LinkId, int],
    now: datetime,
) -> Trial:
    """Measure the affected pairs and the controls before acting.

    Args:
        incident: Its unreachable pairs count as affected, wherever their path was thought to be.
        remedy: What will be tried.
        mesh: As declared.
        detector: Up to date.
        costs: Links' costs now, where they differ from the declared ones.
        now: Aware UTC.

    Returns:
        The trial; set `acted_at` (dataclasses.replace) once the actions were read back.
    """
    pairs: set[Pair] = set()
    element = remedy.cause.element
    losses = detector.losses(now, now - BEFORE)
    link = LinkId(element.name) if element is not None and element.kind is ElementKind.LINK else None
    if element is not None:
        pairs |= affected_pairs(mesh, element, costs, among=losses.pairs)
    if element is not None and link is not None and not pairs:
        # Nobody probes a pair that crosses it. Its ends, which do if any pair does, stand for them: unproven.
        a, b = mesh.link(link).nodes
        pairs |= affected_pairs(mesh, element, costs, among=((a, b), (b, a)))
    if element is not None and remedy.cause.fault is FaultKind.NODE_DEAD:
        # Nothing brings back the pairs that end at a dead node; those that passed it are what routing repairs.
        pairs = {one for one in pairs if element.name not in one}
    unreachable = [one.facts for one in incident.symptoms if one.kind is SymptomKind.UNREACHABLE]
    if remedy.cause.fault is not FaultKind.NODE_DEAD:
        pairs |= {(NodeId(str(one["from"])), NodeId(str(one["to"]))) for one in unreachable}
    gone = _ends_at_dead(remedy)
    before = (_of_pairs(losses, pairs), _of_controls(losses, pairs, gone))
    hashed = remedy.plan_hash if remedy.actions else ""
    return Trial(incident.id, hashed, remedy.name, link, frozenset(pairs), gone, before, now)


def judge(trial: Trial, detector: Detector, *, now: datetime) -> Verification:
    """Judge a trial from the newest samples.

    Returns:
        HEALED: enough probes, under 2 % of them lost on the affected pairs, the element loses no traffic but our own
            probes, controls no worse. NOT_HEALED: the settling time is over and it is not so. WORSE: controls, or the
            affected pairs themselves, lose clearly more than before. INCONCLUSIVE: not enough probes yet, or routing
            may still be moving; ask again, until your deadline.
    """
    # A busy host judges its probes later: until then the newest judgements are about probes sent before acting.
    patience = max(detector.patience().values())
    settled = trial.acted_at + timedelta(seconds=detector.tuning.probe_timeout * patience)
    starts = [now - timedelta(seconds=one) for one in WINDOWS]
    looks = [
        one for one in (_heard(detector, now, start) for start in starts if start >= settled) if _enough(trial, one)
    ]
    if not looks:
        reason = "not enough probes since acting to judge"
        return _verification(trial, None, now=now, verdict=Verdict.INCONCLUSIVE, reason=reason)
    weighed = [(one, *_weigh(trial, one)) for one in looks]
    # Any of the newest windows may prove health; only the longest, which has the most probes, may disprove it.
    losses, verdict, reason = next((one for one in weighed if one[1] is Verdict.HEALED), weighed[-1])
    waited = now - trial.acted_at
    due = HARM_AFTER if verdict is Verdict.WORSE else SETTLE
    if trial.remedy is RemedyName.RESTART_DAEMON:
        due = SETTLE_RESTART
    if verdict is not Verdict.HEALED and waited < due:
        verdict, reason = Verdict.INCONCLUSIVE, f"still settling: {reason}"
    return _verification(trial, losses, now=now, verdict=verdict, reason=reason)


def _heard(detector: Detector, now: datetime, since: datetime) -> Losses:
    """Return the losses without pairs at nodes whose collector was away: nobody was there to answer their probes."""
    # A probe judged right after `since` was sent, and not answered, up to a time-out before it.
    asked = since - timedelta(seconds=detector.tuning.probe_timeout)
    losses, away = detector.losses(now, since), detector.unheard(now, asked)
    return replace(losses, pairs={pair: tally for pair, tally in losses.pairs.items() if not away & set(pair)})


def _weigh(trial: Trial, losses: Losses) -> tuple[Verdict, str]:
    affected, control = _of_pairs(losses, trial.pairs), _of_controls(losses, trial.pairs, trial.gone)
    if trial.link is None and not trial.pairs:
        affected = control
    # Only controls tell of harm: what the affected pairs lost just before acting was not judged yet when we looked,
    # and a young fault grows in the window whatever one does.
    before = trial.before[1]
    if before.sent > 0 and control.share > before.share + WORSE_SHARE and control.lost >= WORSE_PACKETS:
        return Verdict.WORSE, f"control pairs lose {control.share:.0%}, {before.share:.0%} before acting"
    if affected.share >= CLEAN_SHARE:
        return Verdict.NOT_HEALED, f"affected pairs still lose {affected.lost:.0f} of {affected.sent:.0f} probes"
    still = _lost_by_customers(trial, losses)
    if still.lost > max(3.0, CLEAN_SHARE * still.sent):
        return Verdict.NOT_HEALED, f"{trial.link} still loses {still.lost:.0f} of {still.sent:.0f} data packets"
    return Verdict.HEALED, f"{affected.sent:.0f} probes on {len(trial.pairs)} pairs, {affected.lost:.0f} lost"


def _lost_by_customers(trial: Trial, losses: Losses) -> Tally:
    """Return the element's data traffic without our own probes.

    Probes go on over a link that was taken out, and may well go on being lost there; that is not harm.
    """
    if trial.link is None:
        return Tally()
    found = []
    for (link, _), one in losses.links.items():
        if link == trial.link:
            data = one.carried(TrafficClass.DATA)
            sent = max(0.0, data.sent - one.own_transit)
            found.append(Tally(sent, min(sent, max(0.0, data.lost - one.own_transit))))
    return total(found)


def _enough(trial: Trial, losses: Losses) -> bool:
    if not trial.pairs:
        return _of_controls(losses, trial.pairs, trial.gone).sent >= PROBES_IN_ALL
    mine = [losses.pairs.get(pair, Tally()) for pair in trial.pairs]
    return all(one.sent >= PROBES_PER_DIRECTION for one in mine) or total(mine).sent >= PROBES_IN_ALL


def _of_pairs(losses: Losses, pairs: Collection[Pair]) -> Tally:
    return total(tally for pair, tally in losses.pairs.items() if pair in pairs)


def _of_controls(losses: Losses, pairs: Collection[Pair], without: Collection[NodeId]) -> Tally:
    return total(tally for pair, tally in losses.pairs.items() if pair not in pairs and not set(pair) & set(without))


def _ends_at_dead(remedy: Remedy) -> frozenset[NodeId]:
    element = remedy.cause.element
    dead = remedy.cause.fault is FaultKind.NODE_DEAD and element is not None
    return frozenset({NodeId(element.name)}) if dead and element is not None else frozenset()


def _verification(trial: Trial, losses: Losses | None, *, now: datetime, verdict: Verdict, reason: str) -> Verification:
    before, control_before = trial.before
    after = _of_pairs(losses, trial.pairs) if losses else Tally()
    control = _of_controls(losses, trial.pairs, trial.gone) if losses else Tally()

    def share(one: Tally) -> float | None:
        return round(one.share, 4) if one.sent > 0 else None

    return Verification(
        incident=trial.incident,
        plan_hash=trial.plan_hash,
        at=now,
        verdict=verdict,
        loss_before=share(before),
        loss_after=share(after),
        control_before=share(control_before),
        control_after=share(control),
        pairs=tuple(sorted(trial.pairs)),
        reason=reason,
    )
