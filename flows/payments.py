"""Getting paid: one long run per chain that scans, a run per claim, and two that look after the ledger.

Read `scanning` first. Who checks what is in `tasks/payments.py`, and exactly-once is the schema's.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from pydantic import BaseModel, ConfigDict, Field

from models.payment_address import Chain
from tasks import longrun, payments, payments_claims, payments_reconcile
from tasks.crew import Crew
from tasks.diary import Diary, is_reported
from tasks.payments_claims import Answer
from tasks.payments_reconcile import Differences
from tasks.wiring import adapters

PACE = {Chain.TRON: timedelta(seconds=3), Chain.TON: timedelta(seconds=2)}
"""A block of TRON; on TON, with one call a second of a free key, half of them."""


class ScanParameters(BaseModel):
    """Which chain to scan."""

    model_config = ConfigDict(frozen=True)

    chain: Chain = Field(description="tron or ton.")


class ConfirmParameters(BaseModel):
    """Which claim to see to."""

    model_config = ConfigDict(frozen=True)

    order: str = Field(description="The order that the buyer says is paid.")
    tx: str = Field(pattern=r"^[0-9a-f]{64}$", description="Hash of the transaction, hex.")


class ReconcileParameters(BaseModel):
    """How far back to read."""

    model_config = ConfigDict(frozen=True)

    hours: int = Field(default=50, ge=1, le=24 * 90, description="Two nights, so that a night that failed is made up.")


@flow(name="scan-chain", flow_run_name="scan {asked.chain}", persist_result=False)
async def scan_chain(asked: ScanParameters) -> None:
    """Scan one chain for as long as we hold its post; start a run for each claim."""
    await scanning(asked)


async def scanning(asked: ScanParameters) -> None:
    """Do what `scan_chain` does, outside Prefect too."""
    crew, diary = Crew(), Diary()
    async with payments.scanner(asked.chain) as scanner:

        async def tick() -> None:
            await scanner.tick()
            for order, tx in await payments_claims.waiting(asked.chain):
                claim = ConfirmParameters(order=order, tx=tx)
                crew.send(f"claim {order} {tx}", partial(diary.run, confirm_payment, confirm, claim))
            await diary.catch_up()

        try:
            await longrun.hold(f"scan-chain:{asked.chain}", tick, every=PACE[asked.chain])
        finally:
            await crew.dismiss()


@flow(name="confirm-payment", flow_run_name="confirm {asked.order}", persist_result=False)
async def confirm_payment(asked: ConfirmParameters) -> Answer:
    """See to one claim until its order is settled, expired or with a person; each look is a retry."""
    return await confirm(asked)


async def confirm(asked: ConfirmParameters) -> Answer:
    """Do what `confirm_payment` does, outside Prefect too."""
    return await payments_claims.answer(asked.order, asked.tx)


@flow(name="expire-orders", persist_result=False)
async def expire_orders() -> int:
    """Move orders whose time is over, as far as each chain was read; the scan does so too. Never while blind."""
    return sum([await payments.expire(chain) for chain in Chain])


@flow(name="reconcile-ledger", persist_result=False)
async def reconcile_ledger(asked: ReconcileParameters) -> list[Differences]:
    """Read the chains anew and compare them with the ledger; what was missed goes to the scan."""
    since = adapters().clock.now() - timedelta(hours=asked.hours)
    found = [await payments_reconcile.reconcile(chain, since) for chain in Chain]
    if is_reported():
        await acreate_table_artifact(
            key="ledger-differences",
            table=[one.row() for one in found],
            description="What the chains and the ledger do not agree on; empty lists are good.",
        )
    return found
