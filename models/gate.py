"""A gateway node's gate: which addresses it should let through, and the duties that bring it there. Pure.

A duty is a signed order like a remedy's action, but nobody decides on it, nobody verifies it on the mesh, and it ends
by itself: an admitted address carries the instant at which the kernel forgets it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from models.ledger import Admission
from models.mesh import Element, NodeId
from models.remedy import Action, ActionReport, ActionState, OperationId, PlanHash, Verb

RETRY = timedelta(seconds=10)
"""A node that could not do a duty is asked again this long after it was asked: soon, and no storm."""

FAILED = frozenset({ActionState.REFUSED, ActionState.FAILED, ActionState.UNDONE})


@dataclass(frozen=True, slots=True)
class Duty:
    """The newest order to a gateway node about one address, and how far it came.

    Attributes:
        operation: Unique for each asking.
        action: ADMIT or EXPEL.
        epoch: Under which it was signed; a new watch run asks for everything anew, since the node may be a new one.
        state: REQUESTED until the node answers.
        requested_at: When it was asked for.
        report: The node's answer.
    """

    operation: OperationId
    action: Action
    epoch: int
    state: ActionState
    requested_at: datetime
    report: ActionReport | None = None

    @property
    def address(self) -> str:
        """Return whom it is about."""
        return str(self.action.arguments["address"])


@dataclass(frozen=True, slots=True)
class Round:
    """What one look at the gate asks for.

    Attributes:
        due: Orders to sign and send.
        over: Addresses about which nothing is left to do.
    """

    due: tuple[Action, ...]
    over: tuple[str, ...]


def wanted(admissions: Collection[Admission], *, now: datetime) -> dict[str, datetime]:
    """Return each address that stands and until when; where two licences let it in, the longer one counts."""
    found: dict[str, datetime] = {}
    for one in admissions:
        if one.closed_at is None and one.until > now:
            found[one.address] = max(one.until, found.get(one.address, one.until))
    return found


def let_through(duties: Collection[Duty]) -> set[str]:
    """Return the addresses of which their node said that they pass."""
    return {one.address for one in duties if one.action.verb is Verb.ADMIT and one.state is ActionState.COMMITTED}


def admission(node: NodeId, address: str, until: datetime) -> Action:
    """Return the order that lets an address in until then."""
    arguments: dict[str, str | int] = {"address": address, "until": int(until.timestamp())}
    return Action(node, Verb.ADMIT, arguments, Element.of_node(node))


def expulsion(node: NodeId, address: str) -> Action:
    """Return the order that lets an address in no longer."""
    return Action(node, Verb.EXPEL, {"address": address}, Element.of_node(node))


def plan(
    standing: Mapping[str, datetime], duties: Collection[Duty], *, node: NodeId, epoch: int, now: datetime
) -> Round:
    """Compare what should be with what was asked for.

    Args:
        standing: As `wanted` returns it.
        duties: The newest duty of each address.
        node: The gateway node.
        epoch: Ours.
        now: Aware UTC.
    """
    known = {one.address: one for one in duties}
    due: list[Action] = []
    over: list[str] = []
    for address, until in sorted(standing.items()):
        action = admission(node, address, until)
        if _is_due(action, known.get(address), epoch=epoch, now=now):
            due.append(action)
    for address, duty in sorted(known.items()):
        if address in standing:
            continue
        expulsion_done = duty.action.verb is Verb.EXPEL and duty.state is ActionState.COMMITTED
        if expulsion_done or _has_run_out(duty.action, now):
            over.append(address)
        elif _is_due(action := expulsion(node, address), duty, epoch=epoch, now=now):
            due.append(action)
    return Round(tuple(due), tuple(over))


def _is_due(action: Action, duty: Duty | None, *, epoch: int, now: datetime) -> bool:
    if duty is None or duty.action != action or duty.epoch != epoch:
        return True
    return duty.state in FAILED and now - duty.requested_at >= RETRY


def _has_run_out(action: Action, now: datetime) -> bool:
    return action.verb is Verb.ADMIT and int(action.arguments["until"]) <= now.timestamp()


def named(action: Action, *, epoch: int, now: datetime) -> tuple[OperationId, PlanHash]:
    """Name one asking for ever, and what is asked."""
    content = [action.node, action.verb, sorted(action.arguments.items())]
    what = hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
    asking = hashlib.sha256(f"{what} {epoch} {now.isoformat()}".encode()).hexdigest()
    return OperationId(f"duty-{asking[:24]}"), PlanHash(what)
