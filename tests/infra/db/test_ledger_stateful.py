"""Whatever happens in whatever order, money is counted once: a made-up chain, flaky tellings, crashes and people.

The machine keeps the truth (which transfers are final) and drives one or two ledgers through the same steps; the fake
and Postgres must answer alike at each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from infra.db.unit import PostgresStore
from infra.lab.chains.made import NOON, account, made_hash
from models.errors import AmountTaken, PaymentMismatch
from models.ledger import Reach, Sale
from models.payment import Asset, Money, Order, OrderId, OrderState, Provider, Transfer, TransferKey
from models.payment_address import Address, Chain
from models.payment_matching import Unmatched, code_from, match
from models.payment_policy import PaymentPolicy
from models.payment_ports import Watermark
from models.payment_quorum import Sighting, TxState, weigh
from models.payment_state import Decision, advance, decide
from models.ports import Store, UnitOfWork
from tests.contracts.ledger_examples import ALICE, MONTH
from tests.fakes.chains.examples import TON_BOTH
from tests.fakes.store import FakeStore

POLICY = PaymentPolicy()
PRICES = (5_000_000_000, 30_000_000_000)
_examples = count()


class Crash(Exception):
    """The scanner died before its commit."""


class LedgerMachine(RuleBasedStateMachine):
    """The truth, and the ledgers that must come to know it."""

    made = Bundle("made")
    sent = Bundle("sent")

    def __init__(self, url: str | None = None) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stores: list[Store] = [FakeStore()]
        if url is not None:
            self.stores.append(PostgresStore(url))
        # A world of its own in a common database: nothing of another example's can mean anything here.
        self.world = next(_examples)
        self.deposit = account(Chain.TON, f"ours in world {self.world}")
        self.now = NOON
        self.orders: dict[OrderId, Order] = {}
        self.final: dict[TransferKey, Transfer] = {}
        self.decided: set[OrderId] = set()

    def teardown(self) -> None:
        try:
            self._all_is_told_in_the_end()
        finally:
            for store in self.stores:
                self.runner.run(store.close())
            self.runner.close()

    # --- what is done to every ledger alike ---

    def everywhere(self, work: Callable[[UnitOfWork], Awaitable[Any]]) -> Any:
        """Do the same in each ledger; they must answer the same."""
        answers = [self.runner.run(_in_unit(store, work)) for store in self.stores]
        assert all(answer == answers[0] for answer in answers)
        return answers[0]

    # --- the shop ---

    @rule(target=made, price=st.sampled_from(PRICES), tail=st.integers(0, 2))
    def somebody_orders(self, price: int, tail: int) -> OrderId:
        number = len(self.orders)
        new = Order(
            id=OrderId(f"w{self.world}-{number}"),
            amount=Money(Asset.TON, price + tail * 1_000),
            deposit=self.deposit,
            code=code_from(self.world * 1_000 + number),
            created_at=self.now,
            expires_at=self.now + POLICY.window,
            watched_until=self.now + POLICY.window + POLICY.late_grace,
        )
        opened = self.everywhere(lambda unit: _open(unit, Sale(new, ALICE, MONTH)))
        clash = any(
            one.amount == new.amount and one.watched_until >= self.now - timedelta(minutes=10)
            for one in self.orders.values()
        )
        assert opened is not clash
        if opened:
            self.orders[new.id] = new
        return new.id

    @rule(order=made, decision=st.sampled_from(Decision))
    def a_person_decides(self, order: OrderId, decision: Decision) -> None:
        if order not in self.orders:
            return

        async def change(unit: UnitOfWork) -> bool:
            sale = await unit.ledger.sale(order, for_update=True)
            assert sale is not None
            try:
                await unit.ledger.save(decide(sale.order, decision), [])
            except PaymentMismatch:
                return False
            return True

        if self.everywhere(change):
            self.decided.add(order)

    # --- the chain, and those who tell of it ---

    @rule(
        target=sent,
        order=made,
        share=st.sampled_from(["exact", "half", "more", "dust"]),
        has_code=st.booleans(),
        halves=st.integers(1, 2),
        is_final=st.booleans(),
    )
    def somebody_pays(
        self, order: OrderId, share: str, *, has_code: bool, halves: int, is_final: bool
    ) -> tuple[Transfer, ...]:
        known = self.orders.get(order)
        if known is None:
            return ()
        due = known.amount.units
        units = {"exact": due, "half": due // 2, "more": due + 7, "dust": 5}[share]
        tx = made_hash((self.world, len(self.final), self.now, order, share, has_code, halves))
        paying = tuple(
            Transfer(
                chain=Chain.TON,
                tx=tx,
                event_index=index,
                asset=Asset.TON,
                sender=None,
                receiver=self.deposit,
                units=units,
                position=1,
                block_time=self.now,
                memo=known.code if has_code else None,
            )
            for index in range(halves)
        )
        if is_final:
            self.final.update({one.key: one for one in paying if one.key})
        return paying

    @rule(paying=sent)
    def it_becomes_final(self, paying: tuple[Transfer, ...]) -> None:
        self.final.update({one.key: one for one in paying if one.key})

    @rule(paying=sent, provider=st.sampled_from(sorted(TON_BOTH)), is_plain=st.booleans(), ago=st.integers(0, 90))
    def a_provider_tells(self, paying: tuple[Transfer, ...], provider: Provider, *, is_plain: bool, ago: int) -> None:
        """Perhaps without event indices, perhaps with an old word, perhaps again; but it does not lie."""
        if paying:
            self._tell(paying, provider, is_plain=is_plain, ago=timedelta(seconds=ago))

    def _tell(
        self, paying: tuple[Transfer, ...], provider: Provider, *, is_plain: bool = False, ago: timedelta = timedelta(0)
    ) -> None:
        is_final = paying[0].key in self.final
        told = tuple(replace(one, event_index=None) if is_plain else one for one in paying)
        state = TxState.FINAL if is_final else TxState.PENDING
        said = Sighting(provider, paying[0].tx, state, told, self.now - (timedelta(0) if is_final else ago))
        now = self.now
        self.everywhere(lambda unit: unit.ledger.sight(Chain.TON, self.deposit, [said], now=now))

    @rule(paying=sent)
    def it_vanishes(self, paying: tuple[Transfer, ...]) -> None:
        """A reorganisation took what was not final: both providers no longer know it."""
        if not paying or paying[0].key in self.final:
            return
        now = self.now
        gone = [Sighting(one, paying[0].tx, TxState.UNKNOWN, (), now) for one in sorted(TON_BOTH)]
        self.everywhere(lambda unit: unit.ledger.sight(Chain.TON, self.deposit, gone, now=now))

    # --- the scanner ---

    @rule(minutes=st.sampled_from([1, 40, 90, 24 * 60]))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(dies=st.booleans())
    def the_scanner_turns(self, *, dies: bool) -> None:
        self._scan(dies=dies)

    def _scan(self, *, dies: bool = False) -> None:
        async def turn(unit: UnitOfWork) -> Any:
            due = await unit.ledger.cases(Chain.TON, now=self.now, limit=10_000)
            cases = [one for one in due if one.address == self.deposit]
            told = await unit.ledger.sightings(Chain.TON, [one.tx for one in cases])
            done = [await self._weigh(unit, one.tx, told.get(one.tx, ())) for one in cases]
            await unit.ledger.conclude(Chain.TON, [one.tx for one, is_done in zip(cases, done, strict=True) if is_done])
            for one in await unit.ledger.overdue(Chain.TON, scanned_until=self.now):
                if one.deposit == self.deposit:
                    await unit.ledger.save(self._moved(one, []), [])
            await unit.ledger.save_reach(Reach(Watermark(Provider.TONAPI, self.deposit, self.now), self.now))
            return sorted(one.tx for one in cases)

        async def dying(unit: UnitOfWork) -> None:
            await turn(unit)
            raise Crash

        if not dies:
            self.everywhere(turn)
            return
        for store in self.stores:
            with pytest.raises(Crash):
                self.runner.run(_in_unit(store, dying))

    async def _weigh(self, unit: UnitOfWork, tx: bytes, told: tuple[Sighting, ...]) -> bool:
        """Bring one transaction home; tell whether it is done with."""
        transfers = weigh(told)
        for transfer in transfers:
            orders = await unit.ledger.candidates([transfer])
            answer = match(transfer, orders, policy=POLICY)
            assert answer is not Unmatched.AMBIGUOUS, "one amount at one time means one order"
            for owner in orders:
                if owner.id == answer:
                    await unit.ledger.save(self._moved(owner, [transfer]), [transfer])
            if transfer.key is None or not transfer.final:
                continue
            is_counted = bool(await unit.ledger.credited_to([transfer.key]))
            if isinstance(answer, Unmatched):
                await unit.ledger.set_aside([(transfer, answer)], now=self.now)
            elif not is_counted and transfer.vouched_by == TON_BOTH:
                await unit.ledger.set_aside([(transfer, Unmatched.ORDER_CLOSED)], now=self.now)
        return bool(transfers) and all(one.final and one.vouched_by == TON_BOTH for one in transfers)

    def _moved(self, order: Order, transfers: list[Transfer]) -> Order:
        return advance(order, transfers, self.now, policy=POLICY, scanned_until=self.now)

    # --- what must be so, always and in the end ---

    @invariant()
    def credits_are_final_transfers_and_each_counts_once(self) -> None:
        sales = self._sales()
        credited = [credit for one in sales for credit in one.order.credits]
        assert len({credit.transfer for credit in credited}) == len(credited)
        for credit in credited:
            assert self.final[credit.transfer].units == credit.units
        keys = [*self.final, *(one.transfer for one in credited)]
        owners = {credit.transfer: one.order.id for one in sales for credit in one.order.credits}
        assert self.everywhere(lambda unit: unit.ledger.credited_to(keys)) == owners
        for one in sales:
            if one.order.state is OrderState.SETTLED and one.order.id not in self.decided:
                assert one.order.paid.units >= one.order.amount.units

    def _sales(self) -> list[Sale]:
        async def read(unit: UnitOfWork) -> list[Sale | None]:
            return [await unit.ledger.sale(one) for one in self.orders]

        return [one for one in self.everywhere(read) if one is not None]

    def _all_is_told_in_the_end(self) -> None:
        """Once both have told all, each final transfer is counted or lies before a person, and never both."""
        paid_in: dict[bytes, tuple[Transfer, ...]] = {}
        for one in self.final.values():
            paid_in[one.tx] = (*paid_in.get(one.tx, ()), one)
        for paying in paid_in.values():
            for provider in sorted(TON_BOTH):
                self._tell(paying, provider)
        self._scan()
        keys = list(self.final)
        credited = self.everywhere(lambda unit: unit.ledger.credited_to(keys))
        set_aside = self.everywhere(lambda unit: _aside(unit, self.deposit))
        for key, transfer in self.final.items():
            is_dust = transfer.units < POLICY.dust[Asset.TON]
            assert (key in credited) + (key in set_aside) + is_dust == 1
        self.credits_are_final_transfers_and_each_counts_once()


async def _in_unit(store: Store, work: Callable[[UnitOfWork], Awaitable[Any]]) -> Any:
    async with store.unit() as unit:
        return await work(unit)


async def _open(unit: UnitOfWork, sale: Sale) -> bool:
    try:
        await unit.ledger.open_order(sale)
    except AmountTaken:
        return False
    return True


async def _aside(unit: UnitOfWork, deposit: Address) -> set[TransferKey | None]:
    return {one.transfer.key for one in await unit.ledger.aside(limit=10_000) if one.transfer.receiver == deposit}


def test_credited_money_is_final_money_once_whatever_happens():
    run_state_machine_as_test(LedgerMachine, settings=settings(max_examples=100, stateful_step_count=40, deadline=None))


@pytest.mark.postgres
def test_postgres_and_the_fake_stay_one_ledger_whatever_happens(database: str):
    run_state_machine_as_test(
        lambda: LedgerMachine(database),
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
