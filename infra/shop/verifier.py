"""What is known of an order's payment, told in time: from the ledger, or after the scan that is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from infra.shop.shop import Shop, find
from models.errors import PaymentMismatch, SourceUnavailable
from models.ledger import BuyerId, IssuedLicence, Sale
from models.payment import CLOSED, Asset, Money, OrderId, OrderState, Transfer
from models.payment_address import Address, Chain
from models.payment_matching import match
from models.payment_policy import PaymentPolicy
from models.payment_quorum import PROVIDERS_OF, weigh
from models.ports import Clock, Store, UnitOfWork
from models.wishes import KeyedWish

# TRON is scanned every 3 s and TON every 2 s, and a reading takes its time: what was read within this long is the
# newest there is. Joining a scan sooner would make a third of all callers wait for nothing.
FRESH = timedelta(seconds=5)
# How long a caller waits for the scan that is under way; the answer's whole budget is 4.5 s.
PATIENCE = timedelta(seconds=4)
# The whole answer, database included. The rest of the 4.5 s is the gateway's: token, JSON, network.
ANSWER_WITHIN = timedelta(seconds=4.3)
# Twenty ticks missed: nobody reads the chain, and what the ledger says of an unpaid order means nothing.
BLIND_AFTER = timedelta(seconds=60)
# How old the knowledge of the last scan may be. The scan says when it has read; a lost hint costs no more than this.
LOOK_EVERY = timedelta(seconds=0.5)
# Hints of other orders come many times a second when it is busy; nobody needs an answer that much sooner.
LOOK_AT_MOST_EVERY_S = 0.1
# Open cases looked through for a payment that is on its way; there are more only when no provider proves anything.
CASES = 500
# A case is put off by minutes, never by a day: those due until then are all of them.
ALL_CASES = timedelta(days=1)

NEXT_CHECK_S = {Chain.TRON: 3.0, Chain.TON: 2.0}
"""When asking again can show something new: the tick of the chain's scan."""

NEXT_CHECK_BY_A_PERSON_S = 60.0
"""The same where a person has to decide first."""

WITH_A_PERSON = frozenset({OrderState.HOLD, OrderState.REVIEW})


@dataclass(frozen=True, slots=True)
class PaymentView:
    """What is known of a payment now.

    Attributes:
        sale: The order and what was counted for it.
        seen: Transfers known to be this order's and not counted yet: not final, or not proved.
        scanned_at: When its deposit address was last read completely; None: never.
        next_check_s: Seconds until asking again can show something new; 0 when nothing will.
        licence: What it earned.
        away: Why the chain cannot be read at present; empty while it can. Orders stay as they are meanwhile.
    """

    sale: Sale
    seen: tuple[Transfer, ...]
    scanned_at: datetime | None
    next_check_s: float
    licence: IssuedLicence | None
    away: str = ""

    @property
    def is_settled(self) -> bool:
        """Tell whether it is paid, for good."""
        return self.sale.order.state is OrderState.SETTLED


@dataclass(frozen=True, slots=True)
class _Reading:
    """How fresh the ledger is for one deposit address: when it was last read, and why nobody can, if nobody can."""

    scanned_at: datetime | None
    failing: str
    read_at: datetime


@dataclass(frozen=True, slots=True)
class _Question:
    """Which order, what the caller believes of it, and which transaction they claim for it."""

    order: OrderId
    buyer: BuyerId | None
    asset: Asset | None = None
    amount: Money | None = None
    tx: str | None = None
    actor: str | None = None
    wish: KeyedWish | None = None

    def check(self, sale: Sale) -> None:
        """Raise PaymentMismatch where the order is for something else."""
        owed = sale.order.amount
        if self.asset not in {None, owed.asset}:
            raise PaymentMismatch(self.order, f"it is for {owed} in {owed.asset}, not in {self.asset}")
        if self.amount not in {None, owed}:
            raise PaymentMismatch(self.order, f"it is for {owed}, not for {self.amount}")


class PaymentVerifier:
    """Answers "is it paid?" for any number of callers without a single call to a provider.

    Callers that find the ledger stale wait together for the scan that is under way. One object for an event loop.

    Args:
        store: The database.
        clock: The one clock.
        policy: Windows and thresholds.
        shop: Hears the claims.
        patience: How long a caller may wait for a scan.
    """

    def __init__(
        self, store: Store, clock: Clock, policy: PaymentPolicy, shop: Shop, *, patience: timedelta = PATIENCE
    ) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy
        self._shop = shop
        self._patience = patience
        self._joined: dict[Address, asyncio.Task[bool]] = {}
        self._known: dict[Address, _Reading] = {}

    async def check_usdt_payment(
        self, order_id: OrderId, *, tx: str | None = None, buyer: BuyerId | None = None
    ) -> PaymentView:
        """Tell what is known of an order in USDT (TRC-20); as `confirm_payment`.

        Raises:
            PaymentMismatch: also when the order is in another asset.
        """
        return await self._within(_Question(order_id, buyer, asset=Asset.USDT_TRON, tx=tx))

    async def check_ton_payment(
        self, order_id: OrderId, *, tx: str | None = None, buyer: BuyerId | None = None
    ) -> PaymentView:
        """Tell what is known of an order in TON; as `confirm_payment`.

        Raises:
            PaymentMismatch: also when the order is in another asset.
        """
        return await self._within(_Question(order_id, buyer, asset=Asset.TON, tx=tx))

    async def confirm_payment(
        self,
        order_id: OrderId,
        *,
        tx: str | None = None,
        amount: Money | None = None,
        buyer: BuyerId | None = None,
        actor: str | None = None,
        wish: KeyedWish | None = None,
    ) -> PaymentView:
        """Tell what is known of an order's payment, after the scan under way if the last one is old.

        Args:
            order_id: Which.
            tx: A transaction's hash, as it was pasted: claimed for this order first.
            amount: What the caller believes the order is for; None: the caller does not say.
            buyer: Only if it is theirs; None: anybody's.
            actor: Who claims, for the record, where it is not the buyer.
            wish: By what key the claim was sent; only one that claims something is kept.

        Raises:
            KeyReused: the key came with another wish.
            KeyInFlight: the same claim is being heard at this moment.
            OrderUnknown: there is none, or it is somebody else's.
            PaymentInvalid: `tx` holds no hash.
            PaymentMismatch: the order is for another amount, or the transaction cannot be this order's.
            SourceUnavailable: the database does not answer in time.
        """
        asset = None if amount is None else amount.asset
        return await self._within(_Question(order_id, buyer, asset, amount, tx, actor, wish))

    async def _within(self, question: _Question) -> PaymentView:
        """Answer in time: what the ledger knows, or more if the scan under way tells it before the patience ends."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
                view, reading = await self._ask_ledger(question)
        except TimeoutError as error:
            raise SourceUnavailable("the database", f"no answer in {ANSWER_WITHIN.total_seconds():g} s") from error
        is_decided = view.sale.order.state in CLOSED | WITH_A_PERSON
        if is_decided or self._is_fresh(reading) or (view.away and reading.failing):
            return view
        try:
            async with asyncio.timeout_at(began + self._patience.total_seconds()):
                has_news = await self._join_scan(view.sale.order.deposit)
                return (await self._look(question))[0] if has_news else view
        except TimeoutError:
            return view

    async def _ask_ledger(self, question: _Question) -> tuple[PaymentView, _Reading]:
        view, reading = await self._look(question)
        if question.tx is None or view.is_settled:
            return view, reading
        await self._shop.claim(
            question.order, question.tx, buyer=question.buyer, actor=question.actor, wish=question.wish
        )
        return await self._look(question)

    async def _look(self, question: _Question) -> tuple[PaymentView, _Reading]:
        """Read everything the answer needs in one transaction."""
        now = self._clock.now()
        async with self._store.unit() as uow:
            sale = await find(uow, question.order, buyer=question.buyer)
            question.check(sale)
            state, deposit = sale.order.state, sale.order.deposit
            reading = await self._reading(uow, deposit, now)
            licence = await uow.licences.of_order(question.order) if state is OrderState.SETTLED else None
            # The scan makes an order PROCESSING in the transaction in which it sees something of it.
            seen = await self._seen(uow, sale, now) if state not in CLOSED | {OrderState.NEW} else ()
        view = PaymentView(
            sale=sale,
            seen=seen,
            scanned_at=reading.scanned_at,
            next_check_s=_next_check_s(sale),
            licence=licence,
            away=_away(reading, now),
        )
        return view, reading

    async def _reading(self, uow: UnitOfWork, deposit: Address, now: datetime) -> _Reading:
        """Return how fresh the ledger is, read once in a while for everybody who asks about this address."""
        known = self._known.get(deposit)
        if known is not None and timedelta(0) <= now - known.read_at < LOOK_EVERY:
            return known
        return await self._read_anew(uow, deposit, now)

    async def _read_anew(self, uow: UnitOfWork, deposit: Address, now: datetime) -> _Reading:
        found = [await uow.ledger.reach(one, deposit) for one in sorted(PROVIDERS_OF[deposit.chain])]
        known = [one for one in found if one is not None]
        scans = [one.scanned_at for one in known if one.scanned_at is not None]
        failing = [one.reason for one in known if one.failing_since is not None]
        # A provider that was never asked (the second one proves, and reads only when the first is away) does not count.
        all_fail = bool(failing) and len(failing) == len(known)
        reading = _Reading(max(scans, default=None), "; ".join(failing) if all_fail else "", now)
        self._known[deposit] = reading
        return reading

    async def _seen(self, uow: UnitOfWork, sale: Sale, now: datetime) -> tuple[Transfer, ...]:
        """Return what is on its way to an order: told by somebody, this order's by code or amount, not counted yet."""
        chain = sale.order.deposit.chain
        cases = await uow.ledger.cases(chain, now=now + ALL_CASES, limit=CASES)
        ours = [one.tx for one in cases if one.address == sale.order.deposit]
        if not ours:
            return ()
        told = await uow.ledger.sightings(chain, ours)
        transfers: Sequence[Transfer] = [one for heard in told.values() for one in weigh(heard)]
        counted = {credit.transfer for credit in sale.order.credits}
        return tuple(
            one
            for one in transfers
            if one.key not in counted and match(one, [sale.order], policy=self._policy) == sale.order.id
        )

    def _is_fresh(self, reading: _Reading) -> bool:
        return reading.scanned_at is not None and self._clock.now() - reading.scanned_at <= FRESH

    async def _join_scan(self, deposit: Address) -> bool:
        """Wait for the scan under way, together with everybody else who waits for it; tell whether it came."""
        waiting = self._joined.get(deposit)
        if waiting is None:
            waiting = asyncio.create_task(self._await_scan(deposit), name=f"join-scan:{deposit.chain}")
            self._joined[deposit] = waiting
            waiting.add_done_callback(lambda _: self._joined.pop(deposit))
        # A caller that leaves must not take the others' wait with it.
        return await asyncio.shield(waiting)

    async def _await_scan(self, deposit: Address) -> bool:
        began = self._clock.now()
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                while True:
                    await self._store.wait("orders", at_most=LOOK_EVERY)
                    async with self._store.unit() as uow:
                        reading = await self._read_anew(uow, deposit, self._clock.now())
                    if reading.failing or (reading.scanned_at is not None and reading.scanned_at >= began):
                        return True
                    await asyncio.sleep(LOOK_AT_MOST_EVERY_S)
        except TimeoutError:
            return False


def _away(reading: _Reading, now: datetime) -> str:
    """Say why the chain cannot be read; an address nobody has read for a minute is not read, whatever the reason."""
    if reading.scanned_at is None:
        return reading.failing or "it was not read yet"
    if now - reading.scanned_at <= BLIND_AFTER:
        return ""
    return reading.failing or f"it was last read at {reading.scanned_at:%Y-%m-%d %H:%M:%S} UTC"


def _next_check_s(sale: Sale) -> float:
    if sale.order.state in CLOSED:
        return 0.0
    if sale.order.state in WITH_A_PERSON:
        return NEXT_CHECK_BY_A_PERSON_S
    return NEXT_CHECK_S[sale.order.deposit.chain]
