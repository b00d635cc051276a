"""A person at a terminal sees what waits for them, and decides with a reason."""

from __future__ import annotations

import pytest

from flows.commands.order import do, queue, story
from infra.lab.chains.made import NOON
from models.errors import OrderUnknown, PaymentInvalid
from models.payment_matching import Unmatched
from models.payment_state import Decision
from tests.contracts.ledger_examples import settled
from tests.fakes.chains.examples import paid
from tests.fakes.store import FakeStore
from tests.infra.shop.counter import a_sale


@pytest.fixture
async def store() -> FakeStore:
    made = FakeStore()
    async with made.unit() as uow:
        await uow.ledger.open_order(a_sale(0))
    return made


NAME = a_sale(0).order.id


async def test_nothing_waits_until_something_does(store):
    assert await queue(store=store) == ["nothing waits for a person"]
    await do(NAME, Decision.HOLD, reason="odd", store=store)
    async with store.unit() as uow:
        await uow.ledger.set_aside([(paid(77), Unmatched.NO_ORDER)], now=NOON)
    held, stray = await queue(store=store)
    assert held.startswith(f"{NAME}  HOLD  0 USDT of 9.99")
    assert "no_order  77 base units of USDT_TRON" in stray


async def test_a_decision_is_kept_with_who_and_why(store):
    told = await do(NAME, Decision.CONFIRM, reason="seen in the wallet", by="cli:eve", store=store)
    assert told.startswith(f"{NAME}  SETTLED (manual)")
    assert (await story(NAME, store=store))[-1].endswith("cli:eve  confirm  seen in the wallet")
    assert (await do(NAME, Decision.REFUND, reason="sent back", store=store)).startswith(f"{NAME}  REFUNDED")
    assert (await story(NAME, store=store))[-1].endswith("refund-note  sent back")


async def test_what_cannot_be_is_refused(store):
    with pytest.raises(OrderUnknown):
        await story("ord-22222223", store=store)
    with pytest.raises(PaymentInvalid):
        await do(NAME, Decision.HOLD, reason=" ", store=store)


async def test_a_story_names_each_transfer_that_was_counted(store):
    done = await settled(store)
    (transfer,) = [line for line in await story(done.id, store=store) if str(paid(name=done.id).key) in line]
    assert transfer.endswith(str(done.amount))
