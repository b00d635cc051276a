"""Confirming a claim: a buyer said "I paid", and somebody sees to it that an answer comes.

Nothing is asked of a provider here: the scan in flight has it proved, this looks at what the ledger says of it.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from enum import StrEnum
from typing import Any

import structlog
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.errors import PaymentMismatch, PaymentPending, TransientError
from models.ledger import CLAIM_ANSWERED, AuditEntry
from models.payment import CLOSED, OrderId, OrderState
from models.payment_address import Chain
from models.payment_looking import CLAIM_PATIENCE
from tasks.diary import is_reported
from tasks.payments_booking import alert
from tasks.payments_reading import open_cases
from tasks.retry import is_transient
from tasks.wiring import adapters

log = structlog.get_logger()

ACTOR = "confirm-payment"

# TON answers within seconds and TRON after a minute; who is not done by then waits for a provider or paid elsewhere.
DELAYS_SECONDS = [2.0, 4.0, 8.0, 15.0, 20.0, 30.0, *([60.0] * 10), *([300.0] * 22)]
# Many buyers who claim at once, after an outage, must not all look in the same second.
JITTER = 0.3
# A claim older than this was answered, or its run was given up with an answer of its own.
CLAIMS_SINCE = CLAIM_PATIENCE * 2


class Answer(StrEnum):
    """What became of a claim."""

    SETTLED = "settled"
    EXPIRED = "expired"
    WITH_A_PERSON = "with-a-person"
    CLOSED = "closed"
    UNKNOWN = "unknown"


async def waiting(chain: Chain) -> list[tuple[OrderId, str]]:
    """Return claims nobody answered yet as (order, hash in hex), oldest first."""
    world = adapters()
    async with world.store.unit() as uow:
        claims = await uow.ledger.open_claims(chain, since=world.clock.now() - CLAIMS_SINCE)
    return [(one.order, one.detail.split(" ", 1)[0]) for one in claims if one.order is not None]


async def look(order: str, tx: str) -> Answer:
    """Look once what the ledger says of a claimed transaction and its order.

    Raises:
        PaymentPending: neither counted nor refuted yet.
        PaymentMismatch: there is no such order.
        SourceUnavailable: the database does not answer.
    """
    world = adapters()
    now = world.clock.now()
    async with world.store.unit() as uow:
        sale = await uow.ledger.sale(OrderId(order))
        if sale is None:
            raise PaymentMismatch(order, "there is no such order")
        chain, claimed = sale.order.amount.asset.chain, bytes.fromhex(tx)
        is_open = claimed in {case.tx for case in await open_cases(uow, chain, now=now)}
        is_known = bool(await uow.ledger.sightings(chain, [claimed]))
    state = sale.order.state
    if state is OrderState.SETTLED:
        return Answer.SETTLED
    if state in CLOSED:
        return Answer.CLOSED
    # Known, done with, and yet the order is not settled: it paid something else, or a person must place it.
    if state in {OrderState.HOLD, OrderState.REVIEW} or (is_known and not is_open and not sale.order.credits):
        return Answer.WITH_A_PERSON
    if is_open or sale.order.credits:
        raise PaymentPending(order)
    return Answer.EXPIRED if state is OrderState.EXPIRED else Answer.UNKNOWN


_reported_look: Any = task(
    name="look-for-payment",
    retries=len(DELAYS_SECONDS),
    retry_delay_seconds=DELAYS_SECONDS,
    retry_jitter_factor=JITTER,
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
    persist_result=False,
)(look)


async def answer(order: str, tx: str) -> Answer:
    """Look until there is an answer, and write it down; each look shows in Prefect while Prefect answers."""
    try:
        found = await (_reported_look(order, tx) if is_reported() else _look_patiently(order, tx))
    except PaymentPending:
        found = Answer.UNKNOWN
    await _record(order, tx, found)
    return Answer(found)


async def _look_patiently(order: str, tx: str) -> Answer:
    for delay in DELAYS_SECONDS:
        try:
            return await look(order, tx)
        except TransientError as error:
            log.debug("claim is not answered yet", order=order, reason=str(error))
        await asyncio.sleep(delay)
    return await look(order, tx)


async def _record(order: str, tx: str, found: Answer) -> None:
    world = adapters()
    now = world.clock.now()
    async with world.store.unit() as uow:
        await uow.ledger.record(AuditEntry(now, OrderId(order), ACTOR, CLAIM_ANSWERED, f"{tx} {found.value}"))
        if found is Answer.UNKNOWN:
            minutes = timedelta(seconds=sum(DELAYS_SECONDS)) // timedelta(minutes=1)
            await alert(
                uow,
                f"claim:{order}:{tx}",
                "claim-unknown",
                now=now,
                order=OrderId(order),
                transfer=tx,
                reason=f"a buyer claims it; nobody knew it or it did not become final within {minutes} minutes",
            )
    log.info("claim answered", order=order, transaction=tx, answer=found.value)
