"""Access: keep a gateway node's gate as the licences say, by signed orders that nobody has to decide on."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from models.errors import BrokenError, RefusedError
from models.gate import FAILED, Duty, named, plan, wanted
from models.mesh import NodeId
from models.ports import UnitOfWork
from models.remedy import ActionState, Order
from tasks.execute import fencing_epoch, signing_key
from tasks.wiring import Adapters, adapters

log = structlog.get_logger()

# A customer who activates a licence waits for this look and for the courier's; each is two queries.
LOOK_EVERY = timedelta(seconds=1)

# Nothing here rests on evidence that goes stale; a thousand addresses take a node half a minute.
ORDER_EXPIRY = timedelta(seconds=60)


class Doorkeeper:
    """Looks at the gate once a second, however often it is asked to."""

    def __init__(self, mesh: str) -> None:
        self._mesh = mesh
        self._look_at: datetime | None = None
        self._trouble = ""

    async def look(self) -> None:
        """Keep the admissions unless that was done within the last second.

        What our rules or our configuration refuse is said once and does not stop the watch: healing is not less needed
        because a gate cannot be kept.

        Raises:
            SourceUnavailable: the database does not answer.
        """
        now = adapters().clock.now()
        if self._look_at is not None and now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        try:
            await keep_admissions(self._mesh)
        except (RefusedError, BrokenError) as error:
            if str(error) != self._trouble:
                log.warning("gate cannot be kept", mesh=self._mesh, reason=str(error))
            self._trouble = str(error)
        else:
            self._trouble = ""


async def keep_admissions(mesh: str) -> int:
    """Ask the gateway node for whatever its gate lacks or has too much; return for how many addresses.

    Not a remedy: no incident, no guard, no lease, and the pause switch does not hold it, since a customer's hour runs
    on. What a node could not do is asked for again; a new watch run asks for everything anew.
    """
    world = adapters()
    if world.settings.gateway_node is None:
        return 0
    node = NodeId(world.settings.gateway_node)
    now = world.clock.now()
    async with world.store.unit() as uow:
        admissions = [one for one in await uow.licences.admissions(node=node) if one.mesh == mesh]
        duties = await uow.duties.of_node(mesh, node)
        if not admissions and not duties:
            return 0
        for one in admissions:
            if one.until <= now:
                await uow.licences.close(one, now=now)
        epoch = await fencing_epoch(world, uow, mesh)
        todo = plan(wanted(admissions, now=now), duties, node=node, epoch=epoch, now=now)
        for action in todo.due:
            operation, what = named(action, epoch=epoch, now=now)
            order = Order(operation, what, action, epoch, now + ORDER_EXPIRY, timedelta(0))
            await _request(world, uow, mesh, order, now=now)
        if todo.over:
            await uow.duties.forget(mesh, node, todo.over)
    for duty in duties:
        if duty.report is not None and duty.state in FAILED and duty.action in todo.due:
            log.warning("gateway refused, asking again", node=node, verb=duty.action.verb, reason=duty.report.message)
    return len(todo.due)


async def _request(world: Adapters, uow: UnitOfWork, mesh: str, order: Order, *, now: datetime) -> None:
    duty = Duty(order.operation, order.action, order.epoch, ActionState.REQUESTED, now)
    await uow.duties.request(mesh, duty, signing_key(world).sign(order))
    log.info("gate order sent", node=order.action.node, verb=order.action.verb, operation=order.operation)
