"""Restoring: giving a costed-out link its traffic back once its probes stayed clean, one link at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from models.detection import Detector
from models.guardrails import Known, costed_out, refusal
from models.incident import Cause, Evidence, FaultKind, IncidentId
from models.linkview import Tally
from models.mesh import Element, LinkId, Mesh
from models.planning import cost_actions
from models.remedy import Limits, OperationRecord, Remedy, RemedyName, Tier
from models.telemetry import ProbeKind, SizeClass, TrafficClass

# The window a link is looked at over: at two probes a second of the rarest kind it holds ten.
CLEAN_WINDOW = timedelta(seconds=5)
# Of each kind and size that is probed at all, so many must have been judged from either end within the window.
JUDGED = 3
# One unlucky probe does not start ten minutes over again; two do.
LOST = 1


def clean_since(
    before: Mapping[LinkId, datetime],
    standing: Sequence[OperationRecord],
    mesh: Mesh,
    detector: Detector,
    *,
    now: datetime,
) -> dict[LinkId, datetime]:
    """Follow since when each costed-out link has been clean; ask at least every five seconds.

    Args:
        before: What this returned the last time.
        standing: Committed cost changes.
        mesh: As declared.
        detector: Up to date.
        now: Aware UTC.

    Returns:
        Link -> since when every probe kind and size was answered in both directions and no packet went missing. A
        link that is not clean, or that nobody could measure, is not in it.
    """
    return {
        link: before.get(link, now)
        for link in sorted(costed_out(standing, mesh))
        if is_clean(detector, mesh, link, now=now)
    }


def is_clean(detector: Detector, mesh: Mesh, link: LinkId, *, now: datetime) -> bool:
    """Say whether a link's newest probes all came back, small and large, neighbour and transit, from both ends."""
    losses = detector.losses(now, now - CLEAN_WINDOW)
    for node in mesh.link(link).nodes:
        one = losses.links[link, node]
        for kind in ProbeKind:
            for size in (SizeClass.SMALL, SizeClass.LARGE):
                tally = one.probed.get((kind, size), Tally())
                if tally.sent < JUDGED or tally.lost > LOST:
                    return False
        data = one.carried(TrafficClass.DATA, TrafficClass.PROBE)
        # Two readings half a period apart differ by the packets in between: less than a twentieth of the window.
        if data.lost > max(2 * LOST, data.sent / 10):
            return False
    return True


def due(
    standing: Sequence[OperationRecord],
    mesh: Mesh,
    known: Known,
    limits: Limits,
    *,
    now: datetime,
    clean_since: Mapping[LinkId, datetime],
    incident: IncidentId | None = None,
) -> Remedy | None:
    """Return the remedy that gives the longest-clean link back, or None when none is due.

    Args:
        standing: Committed cost changes that nothing replaced.
        mesh: As declared.
        known: For the guards: flap damping, pause, storm, one writer per element.
        limits: `clean_before_restore` and the guards' limits.
        now: Aware UTC.
        clean_since: From `clean_since`.
        incident: Whose the restoration is. Give a fresh one for each attempt: a plan seen twice acts once, so a second
            attempt under the same incident would change nothing. Left out: the incident that took the link out.

    Returns:
        One UNCOST_LINK for one link; None while another restoration is in flight, so it is one at a time.
    """
    if any(one.remedy is RemedyName.UNCOST_LINK for one in known.in_flight):
        return None
    out = costed_out(standing, mesh)
    waiting = sorted((since, link) for link, since in clean_since.items() if link in out)
    for since, link in waiting:
        if now - since < limits.clean_before_restore:
            continue
        owner = next(one.incident for one in standing if one.action.element == Element.of_link(link))
        seconds = (now - since).total_seconds()
        statement = f"every probe over {link} was answered for {seconds:.0f} s, both sizes, both kinds, both ways"
        cause = Cause(Element.of_link(link), FaultKind.UNKNOWN, 1.0, (Evidence(f"probes {link}", statement),))
        remedy = Remedy(
            incident or owner,
            RemedyName.UNCOST_LINK,
            cause,
            cost_actions(mesh.link(link), mesh.link(link).cost),
            Tier.AUTO,
            f"{statement}; it carries traffic again at cost {mesh.link(link).cost}",
            now,
        )
        if refusal(remedy, mesh, known, limits, now=now) is None:
            return remedy
    return None
