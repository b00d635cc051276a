"""Execute: hand a remedy to the nodes, once, after a last look at the evidence and the limits.

Write-ahead in Postgres, signed, leased: whatever dies here, the node undoes what nobody verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from models.errors import BrokenError, ConfigurationInvalid, RemedyRejected
from models.guardrails import after_action, refusal
from models.incident import Incident, IncidentState
from models.ports import Signer, UnitOfWork
from models.remedy import ActionState, Closing, ClosingOrder, OperationRecord, Order, Remedy
from tasks.diary import stage
from tasks.known import known_in
from tasks.wiring import Adapters, adapters

log = structlog.get_logger()

# A babeld cost change with its read-back takes 0.3-2 s, a daemon restart up to 4 s; then the node counts as absent.
ANSWER_WITHIN = timedelta(seconds=6)
# A node refuses an order older than this: what it rests on would be stale.
ORDER_EXPIRY = timedelta(seconds=10)
# NOTIFY may be lost, so whoever waits for a report also looks this often.
POLL = timedelta(milliseconds=200)

OPEN_STATES = {ActionState.REQUESTED}
FAILED_STATES = {ActionState.REFUSED, ActionState.FAILED, ActionState.UNDONE}


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of a remedy.

    Attributes:
        was_applied: Every action was applied and read back.
        reason: One sentence; when not applied, why.
        operations: As last reported; empty when nothing was asked of any node.
    """

    was_applied: bool
    reason: str
    operations: tuple[OperationRecord, ...] = ()


@stage("execute")
async def apply(incident: Incident, remedy: Remedy) -> Execution:
    """Apply every action of a remedy and wait for the nodes' read-back; one that fails takes the others back.

    A remedy without actions (observe, escalate) is an execution that applied nothing. Called twice, it acts once:
    operations are named by the plan.
    """
    if not remedy.actions:
        return Execution(was_applied=False, reason=remedy.reason)
    world = adapters()
    try:
        await _request(world, incident, remedy)
    except RemedyRejected as refused:
        return Execution(was_applied=False, reason=str(refused))
    operations = await _settled(world, remedy)
    if all(one.state in {ActionState.APPLIED, ActionState.COMMITTED} for one in operations):
        return Execution(was_applied=True, reason="applied and read back on every node", operations=operations)
    await close(operations, Closing.UNDO)
    faults = [f"{one.action.node}: {_said(one)}" for one in operations if one.state is not ActionState.APPLIED]
    return Execution(was_applied=False, reason="not applied; " + "; ".join(faults), operations=operations)


async def _request(world: Adapters, incident: Incident, remedy: Remedy) -> None:
    signer = signing_key(world)
    now = world.clock.now()
    observer = await world.observer(incident.mesh)
    if incident.symptoms:
        detector = await observer.refresh(now)
        fresh = {one.element for one in detector.symptoms(now)}
        if not fresh & {one.element for one in incident.symptoms}:
            raise RemedyRejected(remedy.name, "the symptoms were gone at the last look before acting")
    async with world.store.unit() as uow:
        if await uow.actions.of_plan(remedy.plan_hash):
            # A turn that died went this far; asking again would count one action twice.
            return
        current = await uow.incidents.get(incident.id, for_update=True) or incident
        if current.state is IncidentState.CLOSED:
            raise RemedyRejected(remedy.name, "the incident ended before anything was done")
        known = await known_in(uow, incident.mesh, incident.id)
        limit = refusal(remedy, observer.mesh, known, world.limits, now=now)
        if limit is not None:
            raise RemedyRejected(remedy.name, limit)
        epoch = await fencing_epoch(world, uow, incident.mesh)
        for index, action in enumerate(remedy.actions):
            operation = remedy.operation_id(index)
            order = Order(operation, remedy.plan_hash, action, epoch, now + ORDER_EXPIRY, world.limits.lease)
            record = OperationRecord(
                operation, incident.id, remedy.name, remedy.plan_hash, action, ActionState.REQUESTED, now
            )
            await uow.actions.request(incident.mesh, record, signer.sign(order))
        await uow.guards.save(incident.mesh, after_action(known.guards, remedy, world.limits, now=now))
        await uow.incidents.save(replace(current, state=IncidentState.HEALING))
    log.info("remedy requested", incident=incident.id, remedy=remedy.name, actions=len(remedy.actions))


def signing_key(world: Adapters) -> Signer:
    """Return the control key.

    Raises:
        ConfigurationInvalid: this process holds none and so may not act.
    """
    if world.signer is None:
        raise ConfigurationInvalid("this process has no control key and cannot act", "run it on the control host")
    return world.signer


async def fencing_epoch(world: Adapters, uow: UnitOfWork, mesh: str) -> int:
    """Return the epoch orders carry: the watch run's own, or the newest stored one for a run started by hand."""
    if world.epoch is not None:
        return world.epoch
    runs = {one.role: one.epoch for one in await uow.long_runs.all()}
    return runs.get(f"watch-mesh:{mesh}", 0)


async def _settled(world: Adapters, remedy: Remedy) -> tuple[OperationRecord, ...]:
    deadline = world.clock.now() + ANSWER_WITHIN
    while True:
        async with world.store.unit() as uow:
            operations = tuple(await uow.actions.of_plan(remedy.plan_hash))
        if all(one.state not in OPEN_STATES for one in operations) or world.clock.now() >= deadline:
            return operations
        await world.store.wait("reports", at_most=POLL)


async def close(operations: Sequence[OperationRecord], closing: Closing) -> bool:
    """Commit or undo operations, and wait for the nodes to report it.

    Returns:
        Whether every operation is reported as asked. An undo that was not confirmed is done by the lease; a commit that
        was not confirmed did not happen.
    """
    world = adapters()
    signer = signing_key(world)
    mine = [one for one in operations if one.state not in FAILED_STATES]
    if not mine:
        return closing is Closing.UNDO
    now = world.clock.now()
    async with world.store.unit() as uow:
        for one in mine:
            mesh = await _mesh_of(uow, one)
            epoch = await fencing_epoch(world, uow, mesh)
            order = ClosingOrder(one.operation, one.action.node, closing, epoch, now + ORDER_EXPIRY)
            await uow.actions.close(one.operation, signer.sign(order))
    wanted = ActionState.COMMITTED if closing is Closing.COMMIT else ActionState.UNDONE
    deadline = now + ANSWER_WITHIN
    while world.clock.now() < deadline:
        async with world.store.unit() as uow:
            records = [await uow.actions.get(one.operation) for one in mine]
        states = {one.state for one in records if one is not None}
        if states <= {wanted, *FAILED_STATES}:
            return states == {wanted} and len(mine) == len(operations)
        await world.store.wait("reports", at_most=POLL)
    log.warning("closing not confirmed in time", closing=closing, operations=[one.operation for one in mine])
    return False


async def _mesh_of(uow: UnitOfWork, record: OperationRecord) -> str:
    incident = await uow.incidents.get(record.incident)
    if incident is None:
        raise BrokenError(f"operation {record.operation} belongs to no incident; the ledger of actions is damaged")
    return incident.mesh


def _said(record: OperationRecord) -> str:
    return record.report.message if record.report else "no answer in time"
