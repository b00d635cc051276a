"""The payment flows as Prefect shows them; what they do is tested with their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from flows.payments import (
    ConfirmParameters,
    ReconcileParameters,
    confirm,
    confirm_payment,
    reconcile_ledger,
)
from models.payment import Asset
from models.payment_address import Chain
from tasks.diary import unreported
from tasks.payments_claims import Answer
from tests.fakes.store import FakeStore
from tests.tasks.till import Till, open_till

SHOWN_WITHIN_SECONDS = 90.0


@pytest.fixture
async def till() -> AsyncIterator[Till]:
    async with open_till(FakeStore()) as opened:
        yield opened


async def settled(till: Till) -> ConfirmParameters:
    order = await till.sell(asset=Asset.TON, units=5_000_001_000)
    await till.scan(Chain.TON)
    tx = till.pay(order)
    await till.claim(order, tx)
    await till.scan(Chain.TON, after=2)
    return ConfirmParameters(order=order.id, tx=tx.hex())


async def test_a_claim_is_answered_without_prefect_too(till: Till):
    with unreported():
        assert await confirm(await settled(till)) is Answer.SETTLED


async def test_reconciling_reads_both_chains(till: Till):
    with unreported():
        found = await reconcile_ledger.fn(ReconcileParameters(hours=1))
    assert [one.chain for one in found] == list(Chain)


@pytest.mark.flow
# Prefect's events client leaves its web sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_claims_run_carries_its_order_and_shows_its_looks(till: Till, prefect_server):
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - seconds of import, for this test only

    state = await confirm_payment(await settled(till), return_state=True)
    run_id = state.state_details.flow_run_id
    async with get_client() as client:
        run = await client.read_flow_run(run_id)
        # Prefect writes task runs down behind the run's back.
        async with asyncio.timeout(SHOWN_WITHIN_SECONDS):
            looks = []
            while not looks:
                looks = [one for one in await client.read_task_runs() if one.flow_run_id == run_id]
                await asyncio.sleep(0.2)
    assert run.name == "confirm o1"
    assert looks[0].name.startswith("look-for-payment")
