"""What a customer may ask for, answered from the shop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from infra.shop.shop import Shop
from infra.shop.verifier import PaymentVerifier
from infra.telegram.cards import card, picture, state_of
from infra.telegram.screens import Key, Press, Screen
from infra.telegram.speech import Html, Speech
from infra.telegram.words import Command, Counted, Text
from models.chat import Button, ButtonKind
from models.errors import OrderUnknown, PaymentInvalid, PaymentMismatch
from models.ledger import BuyerId, Language, Plan, Sale
from models.payment import CLOSED, Asset, Money, OrderId, OrderState
from models.payment_matching import ClaimAnswer
from models.ports import Clock, Store

# A price list on a phone is read at once or not at all; after this somebody asks again and sees today's.
OFFER_LASTS = timedelta(hours=1)
NETWORKS: Mapping[Asset, str] = {Asset.USDT_TRON: " (TRC-20)", Asset.TON: "", Asset.USDT_TON: " (TON)"}
CLAIM_ANSWERS = {
    ClaimAnswer.ACCEPTED: Text.CLAIM_TAKEN,
    ClaimAnswer.PENDING: Text.CLAIM_TAKEN,
    ClaimAnswer.REVIEW: Text.CLAIM_REVIEW,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody asks.

    Attributes:
        user: Their Telegram id.
        words: What stood behind the command.
        speech: Their language.
        update: Telegram's number for this, the same when it is told again.
    """

    user: int
    words: tuple[str, ...]
    speech: Speech
    update: int

    @property
    def buyer(self) -> BuyerId:
        """Return who they are to the shop."""
        return BuyerId(f"telegram:{self.user}")


Answers = Sequence[Screen]
Handler = Callable[[Asked], Awaitable[Answers]]


class Customers:
    """The customer's side of the bot. Holds nothing: what it knows is in the store."""

    def __init__(
        self, store: Store, clock: Clock, *, shop: Shop, verifier: PaymentVerifier, sells: bool, support: str
    ) -> None:
        self._store = store
        self._clock = clock
        self._shop = shop
        self._verifier = verifier
        self._sells = sells
        self._support = support

    @property
    def commands(self) -> Mapping[str, Handler]:
        """Return what answers each command."""
        return {
            "start": self.start,
            "help": self.start,
            Command.PLANS: self.plans,
            Command.BUY: self.buy,
            Command.PAY: self.pay,
            Command.PAID: self.paid,
            Command.STATUS: self.status,
            Command.ORDERS: self.orders,
            Command.CANCEL: self.cancel,
            Command.SUPPORT: self.support,
            Command.LANGUAGE: self.language,
        }

    async def start(self, asked: Asked) -> Answers:
        """Say what this is and what one can type."""
        return [Screen(asked.speech.say(Text.START, commands=asked.speech.commands()))]

    async def plans(self, asked: Asked) -> Answers:
        """List plans and prices."""
        if not self._offers():
            return [Screen(asked.speech.say(Text.NOTHING_SOLD))]
        lines = [_plan_line(one, asked.speech) for one in self._shop.plans()]
        return [Screen(asked.speech.say(Text.PLANS, plans=Html("\n".join(lines))))]

    async def buy(self, asked: Asked) -> Answers:
        """Offer a button for each plan and currency."""
        offers = self._offers()
        if not offers:
            return [Screen(asked.speech.say(Text.NOTHING_SOLD))]
        keys = tuple(
            (Key(f"{plan.name} · {_price(price)}", Press(ButtonKind.BUY, f"{plan.name}:{price.asset}", OFFER_LASTS)),)
            for plan, price in offers
        )
        return [Screen(asked.speech.say(Text.CHOOSE), keys)]

    async def pay(self, asked: Asked) -> Answers:
        """Show how to pay an order."""
        sale = await self._meant(asked, at=0)
        return _no_order(asked) if sale is None else self._to_pay(sale, asked.speech)

    async def paid(self, asked: Asked) -> Answers:
        """Hear a transaction's hash."""
        if not asked.words:
            return [Screen(asked.speech.say(Text.PAID_HOW))]
        sale = await self._meant(asked, at=1)
        if sale is None:
            return _no_order(asked)
        say = asked.speech.say
        try:
            answer = await self._shop.claim(sale.order.id, asked.words[0], buyer=asked.buyer)
        except PaymentInvalid:
            return [Screen(say(Text.BAD_HASH))]
        except PaymentMismatch:
            return [Screen(say(Text.CLAIM_REFUSED, order=sale.order.id))]
        if sale.order.state is OrderState.SETTLED:
            return [Screen(say(Text.CLAIM_SETTLED, order=sale.order.id))]
        return [Screen(say(CLAIM_ANSWERS[answer], order=sale.order.id))]

    async def status(self, asked: Asked) -> Answers:
        """Show how an order stands, after the scan that is under way."""
        sale = await self._meant(asked, at=0, open_first=False)
        return _no_order(asked) if sale is None else [await self._looked(sale.order.id, asked)]

    async def orders(self, asked: Asked) -> Answers:
        """List somebody's orders."""
        found = await self._shop.sales_of(asked.buyer)
        if not found:
            return [Screen(asked.speech.say(Text.NO_ORDERS))]
        lines = [
            asked.speech.say(
                Text.ORDER_LINE,
                order=one.order.id,
                plan=one.plan.name,
                amount=one.order.amount,
                state=state_of(one.order, asked.speech),
            )
            for one in found
        ]
        return [Screen(asked.speech.say(Text.ORDERS, orders=Html("\n".join(lines))))]

    async def cancel(self, asked: Asked) -> Answers:
        """Give an order up."""
        sale = await self._meant(asked, at=0)
        return _no_order(asked) if sale is None else await self._cancelled(sale.order.id, asked)

    async def support(self, asked: Asked) -> Answers:
        """Say where a person is."""
        if not self._support:
            return [Screen(asked.speech.say(Text.NO_SUPPORT))]
        return [Screen(asked.speech.say(Text.SUPPORT, contact=self._support))]

    async def language(self, asked: Asked) -> Answers:
        """Speak the language named, or the other one."""
        other = Language.ENGLISH if asked.speech.language is Language.RUSSIAN else Language.RUSSIAN
        named = asked.words[0].lower() if asked.words else other.value
        chosen = Language(named) if named in set(Language) else other
        async with self._store.unit() as unit:
            await unit.chats.speak(asked.user, chosen)
        return [Screen(Speech(chosen).say(Text.LANGUAGE))]

    async def pressed(self, button: Button, asked: Asked) -> Answers:
        """Answer a customer's button that was theirs to press."""
        if button.kind is ButtonKind.BUY:
            return await self._bought(button.subject, asked)
        if button.kind is ButtonKind.CANCEL:
            return await self._cancelled(OrderId(button.subject), asked)
        return [await self._looked(OrderId(button.subject), asked)]

    async def _bought(self, subject: str, asked: Asked) -> Answers:
        plan, _, asset = subject.partition(":")
        if not self._sells:
            return [Screen(asked.speech.say(Text.NOTHING_SOLD))]
        try:
            sale = await self._shop.place_order(asked.buyer, plan, Asset(asset), language=asked.speech.language)
        except (PaymentInvalid, PaymentMismatch):
            return [Screen(asked.speech.say(Text.CANNOT_ORDER))]
        return self._to_pay(sale, asked.speech)

    async def _cancelled(self, order: OrderId, asked: Asked) -> Answers:
        try:
            await self._shop.cancel(order, buyer=asked.buyer)
        except OrderUnknown:
            return [Screen(asked.speech.say(Text.NO_SUCH_ORDER))]
        except PaymentMismatch:
            return [Screen(asked.speech.say(Text.CANNOT_CANCEL, order=order))]
        return [Screen(asked.speech.say(Text.CANCELLED, order=order))]

    async def _looked(self, order: OrderId, asked: Asked) -> Screen:
        try:
            view = await self._verifier.confirm_payment(order, buyer=asked.buyer)
        except OrderUnknown:
            return Screen(asked.speech.say(Text.NO_SUCH_ORDER))
        return card(view.sale, asked.speech, now=self._clock.now(), seen=view.seen)

    async def _meant(self, asked: Asked, *, at: int, open_first: bool = True) -> Sale | None:
        """Return the order named by the word at this place, else the newest one (that is open, if there is one)."""
        mine = await self._shop.sales_of(asked.buyer)
        if len(asked.words) > at:
            named = asked.words[at].strip("<>").lower()
            return next((one for one in mine if one.order.id == named), None)
        still_open = [one for one in mine if one.order.state not in CLOSED]
        newest = mine[0] if mine else None
        return still_open[0] if open_first and still_open else newest

    def _to_pay(self, sale: Sale, speech: Speech) -> Answers:
        """The picture first: the card is the newest message, where a person looks for it."""
        drawn = card(sale, speech, now=self._clock.now())
        is_payable = any(key.label == speech.label(Text.COPY_ADDRESS) for row in drawn.keys for key in row)
        return [picture(sale.order, speech), drawn] if is_payable else [drawn]

    def _offers(self) -> list[tuple[Plan, Money]]:
        deposits = self._shop.catalogue.deposits
        return [
            (plan, Money(asset, units))
            for plan in self._shop.plans()
            for asset, units in plan.prices.items()
            if self._sells and asset.chain in deposits
        ]


def _no_order(asked: Asked) -> Answers:
    return [Screen(asked.speech.say(Text.NO_SUCH_ORDER if asked.words else Text.NO_ORDERS))]


def _plan_line(plan: Plan, speech: Speech) -> Html:
    return speech.say(
        Text.PLAN_LINE,
        plan=plan.name,
        days=speech.days(plan.days),
        devices=speech.count(plan.devices, Counted.DEVICE),
        prices=", ".join(_price(Money(asset, units)) for asset, units in plan.prices.items()),
    )


def _price(price: Money) -> str:
    return f"{price}{NETWORKS[price.asset]}"
