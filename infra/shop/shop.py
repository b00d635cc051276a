"""The one counter: the API, the bot and the command line sell, hear claims and decide through it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from datetime import datetime

import structlog

from infra.access import earn
from models.errors import AmountTaken, OrderUnknown, PaymentInvalid, PaymentMismatch
from models.ledger import CLAIMED, AuditEntry, BuyerId, Language, LedgerCounts, Plan, Sale
from models.payment import CLOSED, Asset, Money, Order, OrderId, OrderState, Transfer
from models.payment_address import parse_tx_hash
from models.payment_matching import ClaimAnswer, judge_claim
from models.payment_policy import PaymentPolicy
from models.payment_quorum import weigh
from models.payment_state import Decision, decide
from models.ports import Clock, Store, UnitOfWork
from models.shop import (
    NAMES,
    UNPAID_A_DAY,
    Catalogue,
    ReviewQueue,
    changed,
    check_claims,
    claim_for_review,
    draw_up,
    may_order,
    tails_of,
)
from models.wishes import KeyedWish

log = structlog.get_logger()

# Two makers of orders that draw the same tail at once: the schema lets one win, the other draws again. Each draw starts
# at one of 20,000 places, so five collisions in a row mean that something else is wrong.
DRAWS = 5


class Shop:
    """Takes orders, hears claims, keeps people's decisions. Every call is one transaction; none asks a provider.

    Args:
        store: The database.
        clock: The one clock.
        policy: Windows, thresholds, tails.
        catalogue: What is sold, and where it is paid to.
        draw: Returns a random number below its argument, not to be guessed.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        policy: PaymentPolicy,
        catalogue: Catalogue,
        *,
        draw: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self.catalogue = catalogue
        self._store = store
        self._clock = clock
        self._policy = policy
        self._draw = draw

    def plans(self) -> tuple[Plan, ...]:
        """Return what is sold, in the order in which it is shown."""
        return self.catalogue.plans

    async def place_order(
        self,
        buyer: BuyerId,
        plan: str,
        asset: Asset,
        *,
        language: Language = Language.ENGLISH,
        wish: KeyedWish | None = None,
    ) -> Sale:
        """Reserve an exact amount for a plan; or return the order that the same wish was granted before.

        Args:
            buyer: Who buys.
            plan: Which, by its name.
            asset: What it is paid in.
            language: What its buyer is told in.
            wish: By what key it was asked for; None: each call is another order.

        Raises:
            KeyReused: the key came with another wish.
            KeyInFlight: the same wish is being granted at this moment.
            PaymentInvalid: no such plan, or it is not paid in this asset, or every amount near its price is reserved.
            PaymentMismatch: this buyer left too many orders unpaid today.
            AmountTaken: others drew the same amount five times in a row.
        """
        bought = self.catalogue.plan(plan)
        price = self.catalogue.price(bought, asset)
        for _ in range(DRAWS - 1):
            try:
                return await self._place(buyer, bought, price, language, wish)
            except AmountTaken:
                log.info("amount was taken meanwhile, drawing another", plan=plan, asset=asset.value)
        return await self._place(buyer, bought, price, language, wish)

    async def _place(
        self, buyer: BuyerId, plan: Plan, price: Money, language: Language, wish: KeyedWish | None
    ) -> Sale:
        now = self._clock.now()
        deposit = self.catalogue.deposits[price.asset.chain]
        lowest, highest = tails_of(price, self._policy)
        async with self._store.unit() as uow:
            granted = None if wish is None else await uow.wishes.begin(wish)
            if granted is not None:
                return await find(uow, granted, buyer=buyer)
            if not may_order(buyer, await uow.ledger.sales_of(buyer, UNPAID_A_DAY), now):
                raise PaymentMismatch("new", f"{UNPAID_A_DAY} orders of today are unpaid; pay one of them first")
            taken = await uow.ledger.taken(price.asset, deposit, lowest=lowest, highest=highest, now=now)
            order = draw_up(
                price,
                deposit,
                taken,
                name=self._draw(NAMES),
                tail=self._draw(self._policy.tails),
                now=now,
                policy=self._policy,
            )
            sale = Sale(order, buyer, plan, language)
            await uow.ledger.open_order(sale)
            await uow.ledger.record(AuditEntry(now, order.id, buyer, "created", f"{plan.name} for {order.amount}"))
            if wish is not None:
                await uow.wishes.keep(wish, order.id, now=now)
        log.info("order placed", order=order.id, plan=plan.name, asset=price.asset.value)
        return sale

    async def sale(self, order: OrderId, *, buyer: BuyerId | None = None) -> Sale:
        """Return an order; with `buyer` only if it is theirs.

        Raises:
            OrderUnknown: there is none, or it is somebody else's.
        """
        async with self._store.unit() as uow:
            return await find(uow, order, buyer=buyer)

    async def sales_of(self, buyer: BuyerId) -> list[Sale]:
        """Return a buyer's orders, newest first."""
        async with self._store.unit() as uow:
            return await uow.ledger.sales_of(buyer)

    async def cancel(self, order: OrderId, *, buyer: BuyerId) -> Sale:
        """Give up an order that nothing came in for. Its amount stays reserved until its watch ends.

        Raises:
            OrderUnknown: it is not theirs.
            PaymentMismatch: money came in or is on its way, or it is with a person.
        """
        now = self._clock.now()
        async with self._store.unit() as uow:
            sale = await find(uow, order, buyer=buyer, for_update=True)
            if sale.order.state not in {OrderState.NEW, OrderState.CANCELLED}:
                raise PaymentMismatch(order, f"it is {sale.order.state} and no longer yours to cancel")
            return await _decided(uow, sale, Decision.CANCEL, AuditEntry(now, order, buyer, Decision.CANCEL))

    async def claim(
        self,
        order: OrderId,
        tx_text: str,
        *,
        buyer: BuyerId | None,
        actor: str | None = None,
        wish: KeyedWish | None = None,
    ) -> ClaimAnswer:
        """Hear "I paid, here is the hash": look it up in the ledger, and have it proved if nobody has told us of it.

        A claim credits nothing by itself; hashes are public. Claiming the same hash again is claiming it once, and a
        settled order needs no claim any more.

        Args:
            order: Whose.
            tx_text: As it was pasted: a hash, or one link with a hash.
            buyer: Who claims; None: an operator, who may speak for any buyer.
            actor: For the record, where it is not the buyer.
            wish: By what key it was sent; None: by none.

        Raises:
            KeyReused: the key came with another wish.
            KeyInFlight: the same claim is being heard at this moment.
            OrderUnknown: it is not theirs.
            PaymentInvalid: no hash in it.
            PaymentMismatch: the transaction is another order's or older than this one, the order was cancelled or
                refunded, or too many were claimed.
        """
        now = self._clock.now()
        async with self._store.unit() as uow:
            sale = await find(uow, order, buyer=buyer)
            chain, deposit = sale.order.amount.asset.chain, sale.order.deposit
            tx = parse_tx_hash(tx_text, chain)
            if wish is not None:
                await uow.wishes.begin(wish)
                await uow.wishes.keep(wish, order, now=now)
            if sale.order.state is OrderState.SETTLED:
                return ClaimAnswer.ACCEPTED
            if sale.order.state in CLOSED:
                raise PaymentMismatch(order, f"it is {sale.order.state}; write to support about another payment")
            is_new = check_claims(sale.order, await uow.ledger.audit(order), tx, now)
            transfers = weigh((await uow.ledger.sightings(chain, [tx])).get(tx, ()))
            answer = await self._judge(uow, sale.order, transfers)
            if not is_new:
                return answer
            # Only once: a buyer who asks every second must not have it looked up every second.
            if not transfers:
                await uow.ledger.ask_for(chain, tx, deposit, now=now)
            if answer is ClaimAnswer.REVIEW:
                await uow.outbox.put(claim_for_review(sale, tx, now=now))
            who = actor or buyer or "operator"
            await uow.ledger.record(AuditEntry(now, order, who, CLAIMED, f"{tx.hex()} {answer.value}"))
        log.info("payment claimed", order=order, answer=answer.value, transaction=tx.hex())
        return answer

    async def _judge(self, uow: UnitOfWork, order: Order, transfers: Collection[Transfer]) -> ClaimAnswer:
        """Judge a claim against every order that its transfers may mean, this one included."""
        keys = [one.key for one in transfers if one.key is not None]
        credited = await uow.ledger.credited_to(keys) if keys else {}
        rivals = await uow.ledger.candidates(transfers) if transfers else []
        known = {one.id: one for one in (order, *rivals)}
        return judge_claim(order, transfers, orders=known.values(), credited_to=credited, policy=self._policy)

    async def decide(self, order: OrderId, decision: Decision, *, actor: str, reason: str) -> Sale:
        """Do what a person decided, and keep who and why. Deciding the same twice is deciding once.

        Raises:
            OrderUnknown: there is none.
            PaymentInvalid: no reason was given.
            PaymentMismatch: the order's state does not allow it.
        """
        entry = AuditEntry(self._clock.now(), order, actor, decision.value, _said("the reason", reason))
        async with self._store.unit() as uow:
            sale = await find(uow, order, for_update=True)
            moved = await _decided(uow, sale, decision, entry)
        if moved.order.state is not sale.order.state:
            log.info("order decided", order=order, decision=decision.value, state=moved.order.state.value, by=actor)
        return moved

    async def refund_note(self, order: OrderId, *, actor: str, note: str) -> Sale:
        """Keep that an order's money was sent back, by a person and outside of this system, and how.

        The order becomes REFUNDED and its licence is taken back. A further note on a refunded order is kept as well.

        Raises:
            OrderUnknown: there is none.
            PaymentInvalid: nothing was noted.
            PaymentMismatch: nothing can have come in for it.
        """
        entry = AuditEntry(self._clock.now(), order, actor, "refund-note", _said("the note", note))
        async with self._store.unit() as uow:
            sale = await find(uow, order, for_update=True)
            if sale.order.state is OrderState.REFUNDED:
                await uow.ledger.record(entry)
                return sale
            return await _decided(uow, sale, Decision.REFUND, entry)

    async def queue(self) -> ReviewQueue:
        """Return what waits for a person."""
        async with self._store.unit() as uow:
            return ReviewQueue(
                held=tuple(await uow.ledger.in_state({OrderState.HOLD})),
                in_review=tuple(await uow.ledger.in_state({OrderState.REVIEW})),
                aside=tuple(await uow.ledger.aside()),
            )

    async def history(self, order: OrderId) -> list[AuditEntry]:
        """Return what was done with an order, oldest first.

        Raises:
            OrderUnknown: there is none.
        """
        async with self._store.unit() as uow:
            await find(uow, order)
            return await uow.ledger.audit(order)

    async def stats(self) -> LedgerCounts:
        """Count orders, unmatched transfers, open cases and messages that wait."""
        async with self._store.unit() as uow:
            return await uow.ledger.counts()


async def find(uow: UnitOfWork, order: OrderId, *, buyer: BuyerId | None = None, for_update: bool = False) -> Sale:
    """Return a sale inside a unit of work; with `buyer` only if it is theirs.

    Raises:
        OrderUnknown: there is none, or it is somebody else's.
    """
    found = await uow.ledger.sale(order, for_update=for_update)
    if found is None or (buyer is not None and found.buyer != buyer):
        raise OrderUnknown(order)
    return found


async def _decided(uow: UnitOfWork, sale: Sale, decision: Decision, entry: AuditEntry) -> Sale:
    """Apply a decision and everything that it makes true, in the transaction at hand."""
    order: Order = decide(sale.order, decision)
    if order == sale.order:
        return sale
    moved = Sale(order, sale.buyer, sale.plan, sale.language)
    await uow.ledger.save(order, ())
    await uow.ledger.record(entry)
    await uow.outbox.put(changed(moved, now=entry.at))
    if decision is Decision.CONFIRM:
        await earn(uow, moved, now=entry.at)
    if decision is Decision.REFUND:
        await _take_back(uow, order.id, now=entry.at)
    return moved


async def _take_back(uow: UnitOfWork, order: OrderId, *, now: datetime) -> None:
    """Revoke what an order earned, and close the gate behind everyone it let in."""
    licence = await uow.licences.of_order(order)
    if licence is not None and await uow.licences.revoke(licence.id, now=now):
        for one in await uow.licences.admissions(licence=licence.id):
            await uow.licences.close(one, now=now)


def _said(what: str, text: str) -> str:
    """Return what a person wrote, in one line.

    Raises:
        PaymentInvalid: they wrote nothing.
    """
    line = " ".join(text.split())
    if not line:
        raise PaymentInvalid(what, "write one sentence; it is kept with the order")
    return line
