"""The life of an operation on its node: accepted, applied, then committed or undone. No sockets here.

Write-ahead: what will be touched and how to put it back is on the disk before anything is touched. Whatever a crash
leaves unfinished is undone by `settle`, which the server calls at its start and several times a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from infra.node.journal import STANDING, UNFINISHED, Entry, Journal, Phase
from infra.node.signing import decode, verify
from infra.node.verbs.base import ReadBack, VerbHandler
from models.errors import MeshError, OrderRefused
from models.mesh import NodeId
from models.ports import Clock, Signed
from models.remedy import DUTIES, ActionReport, ActionState, Closing, ClosingOrder, OperationId, Order, Verb

log = structlog.get_logger()

# The widest lease an installation may set (infra.settings): a longer one is a mistake or a forgery.
LONGEST_LEASE = timedelta(seconds=600)
# A daemon that refuses an undo is asked again this often: soon enough to matter, too rare to fill the journal's disk.
UNDO_RETRY = timedelta(seconds=2)


class Hands:
    """Executes signed orders of one node, once each. Blocking; call from one thread at a time."""

    def __init__(
        self,
        node: NodeId,
        journal: Journal,
        *,
        verbs: Mapping[Verb, VerbHandler],
        public_key: Ed25519PublicKey,
        clock: Clock,
        upkeep: Callable[[], None] | None = None,
    ) -> None:
        """Prepare.

        Args:
            node: Ours.
            journal: What was done before.
            verbs: What this node can do.
            public_key: The control key's.
            clock: Now.
            upkeep: What the node keeps true by itself between orders; called with every `settle`.
        """
        self._node = node
        self._journal = journal
        self._verbs = verbs
        self._public_key = public_key
        self._clock = clock
        self._upkeep = upkeep
        self._retry_at: dict[OperationId, datetime] = {}

    def execute(self, signed: Signed) -> ActionReport:
        """Do what was signed, once; a refusal is a report.

        Refusals of the envelope (unsigned, foreign, old epoch, expired) leave no trace: an operation's name in a
        forged order must not block the true one.
        """
        try:
            order = verify(signed, self._public_key)
            if isinstance(order, Order):
                return self._open(order).report()
            return self._close(order).report()
        except OrderRefused as error:
            log.warning("order refused", operation=_claimed_operation(signed), reason=error.reason)
            return ActionReport(
                operation=_claimed_operation(signed),
                state=ActionState.REFUSED,
                before="",
                after="",
                message=error.reason,
                at=self._clock.now(),
            )

    def reports(self) -> tuple[ActionReport, ...]:
        """Return the latest report of every operation in the journal but the duties: theirs ends with the answer."""
        return tuple(entry.report() for entry in self._journal if not _is_duty(entry.order))

    def settle(self) -> None:
        """Undo leases that ran out and whatever was left unfinished; then see to the upkeep."""
        now = self._clock.now()
        for entry in tuple(self._journal):
            expired = entry.phase is Phase.APPLIED and entry.lease_until is not None and entry.lease_until <= now
            waits = self._retry_at.get(entry.operation, now) > now
            if expired:
                self._take_back(entry, "its lease ran out without a commit")
            elif entry.phase is Phase.ACCEPTED:
                self._take_back(entry, "it was interrupted while it was being applied")
            elif entry.phase is Phase.UNDOING and not waits:
                self._take_back(entry, entry.message)
        if self._upkeep is not None:
            self._upkeep()

    def withdraw(self) -> None:
        """Undo everything that is not committed: the actuator is leaving."""
        for entry in tuple(self._journal):
            if entry.phase is Phase.APPLIED or entry.phase in UNFINISHED:
                self._take_back(entry, "the actuator was stopped before a commit")

    # --- orders ------------------------------------------------------------------------------------------------------

    def _admit(self, order: Order | ClosingOrder, node: NodeId) -> None:
        """Raise OrderRefused unless the order is for us, of the newest epoch, and in time."""
        if node != self._node:
            raise OrderRefused(f"it is for node {node}, this is {self._node}")
        if order.epoch < self._journal.epoch:
            raise OrderRefused(f"epoch {order.epoch} was superseded by {self._journal.epoch}")
        if order.expires_at <= self._clock.now():
            raise OrderRefused(f"it expired at {order.expires_at.isoformat()}")

    def _open(self, order: Order) -> Entry:
        if order.action.node != self._node:
            raise OrderRefused(f"it is for node {order.action.node}, this is {self._node}")
        known = self._journal.get(order.operation)
        if known is not None:
            if known.order is not None and known.order.action != order.action:
                raise OrderRefused("its operation id was used for another action")
            return known
        self._admit(order, order.action.node)
        self._journal.see(order.epoch)
        handler = self._verbs.get(order.action.verb)
        try:
            if handler is None:
                raise OrderRefused(f"{self._node} cannot {order.action.verb}")
            _check_lease(order)
            target = self._free_target(handler, order)
            handler.check(order.action)
            before = handler.capture(order.action)
        except (MeshError, OSError) as error:
            reason = error.reason if isinstance(error, OrderRefused) else str(error)
            log.warning("order refused", operation=order.operation, reason=reason)
            return self._journal.write(
                Entry(order.operation, Phase.REFUSED, self._clock.now(), order=order, message=reason)
            )
        accepted = self._journal.write(
            Entry(order.operation, Phase.ACCEPTED, self._clock.now(), order=order, target=target, before=before)
        )
        return self._apply(accepted, order, handler)

    def _free_target(self, handler: VerbHandler, order: Order) -> str:
        target = handler.target(order.action)
        for entry in self._journal:
            if entry.target == target and (entry.phase is Phase.APPLIED or entry.phase in UNFINISHED):
                raise OrderRefused(f"operation {entry.operation} still holds {target}")
        return target

    def _apply(self, accepted: Entry, order: Order, handler: VerbHandler) -> Entry:
        try:
            handler.apply(order.action)
            seen = handler.read_back(order.action)
        except (MeshError, OSError) as error:
            seen = ReadBack(matches=False, state="", note=str(error))
        if not seen.matches:
            reason = seen.note or f"read back {seen.state}"
            return self._take_back(accepted, f"it had no effect ({reason})", closed=Phase.FAILED)
        now = self._clock.now()
        log.info("change applied", operation=order.operation, verb=order.action.verb, after=seen.state)
        if _is_duty(order):
            return self._journal.write(accepted.moved(Phase.COMMITTED, now, after=seen.state, message="done"))
        return self._journal.write(
            accepted.moved(
                Phase.APPLIED,
                now,
                after=seen.state,
                message="; ".join(part for part in ("applied and read back", seen.note) if part),
                lease_until=now + order.lease,
            )
        )

    # --- closings ----------------------------------------------------------------------------------------------------

    def _close(self, closing: ClosingOrder) -> Entry:
        self._admit(closing, closing.node)
        self._journal.see(closing.epoch)
        self.settle()
        entry = self._journal.get(closing.operation)
        if closing.closing is Closing.COMMIT:
            return self._commit(closing, entry)
        if entry is None:
            # The undo overtook its order on the way; the order must then find itself closed.
            message = "withdrawn before it was applied"
            return self._journal.write(Entry(closing.operation, Phase.UNDONE, self._clock.now(), message=message))
        if entry.phase not in STANDING:
            return entry
        later = self._later_on(entry)
        if later is not None:
            raise OrderRefused(f"operation {later.operation} changed {entry.target} since; take that back first")
        return self._take_back(entry, "the controller took it back")

    def _commit(self, closing: ClosingOrder, entry: Entry | None) -> Entry:
        if entry is None:
            raise OrderRefused(f"there is no operation {closing.operation} to commit")
        if entry.phase is not Phase.APPLIED:
            return entry
        log.info("change committed", operation=entry.operation)
        return self._journal.write(entry.moved(Phase.COMMITTED, self._clock.now(), message="committed"))

    def _later_on(self, entry: Entry) -> Entry | None:
        entries = list(self._journal)
        after = entries[[one.operation for one in entries].index(entry.operation) + 1 :]
        return next((one for one in after if one.target == entry.target and one.phase in STANDING), None)

    def _take_back(self, entry: Entry, why: str, *, closed: Phase = Phase.UNDONE) -> Entry:
        """Undo and read back; where that fails the entry stays UNDOING, and `settle` tries again."""
        if entry.order is None:
            return entry
        handler = self._verbs[entry.order.action.verb]
        undoing = entry
        if entry.phase is not Phase.UNDOING:
            undoing = self._journal.write(entry.moved(Phase.UNDOING, self._clock.now(), message=why))
        try:
            seen = handler.undo(entry.order.action, entry.before)
        except (MeshError, OSError) as error:
            seen = ReadBack(matches=False, state="", note=str(error))
        now = self._clock.now()
        if not seen.matches:
            self._retry_at[entry.operation] = now + UNDO_RETRY
            log.error("undo did not hold", operation=entry.operation, state=seen.state, note=seen.note)
            return undoing
        self._retry_at.pop(entry.operation, None)
        message = "; ".join(part for part in (why, seen.note) if part)
        log.info("change undone", operation=entry.operation, reason=message)
        return self._journal.write(undoing.moved(closed, now, after=seen.state, message=message))


def _is_duty(order: Order | None) -> bool:
    return order is not None and order.action.verb in DUTIES


def _check_lease(order: Order) -> None:
    """Refuse a change that nobody would have to verify, and a duty that somebody would."""
    if _is_duty(order):
        if order.lease != timedelta(0):
            raise OrderRefused(f"{order.action.verb} ends by itself and takes no lease")
    elif not timedelta(0) < order.lease <= LONGEST_LEASE:
        raise OrderRefused(f"a lease of {order.lease} is outside 0 to {LONGEST_LEASE}")


def _claimed_operation(signed: Signed) -> OperationId:
    """Return the operation a refused payload names, for the answer only; empty when it names none."""
    try:
        return decode(signed.payload).operation
    except OrderRefused:
        return OperationId("")
