"""What the shop thinks: what is on its list, how an order is drawn up, and what is told when one changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import quote

from models.errors import PaymentInvalid, PaymentMismatch
from models.ledger import CLAIMED, AuditEntry, BuyerId, Language, Message, MessageKind, Plan, Sale, SetAside
from models.payment import CLOSED, Asset, Money, Order, OrderId, OrderState
from models.payment_address import Address, Chain
from models.payment_matching import CODE_LENGTH, CODE_LETTERS, code_from, unique_amount
from models.payment_policy import PaymentPolicy
from models.payment_state import due

NAMES = len(CODE_LETTERS) ** CODE_LENGTH
"""How many orders can be told apart by name."""

CLAIMS_AN_HOUR = 10
"""Hashes one order may claim in an hour: a mistyped one or two, not a search through the chain's public ones."""

UNPAID_A_DAY = 20
"""Orders one person may leave unpaid in a day: each reserves one of 20,000 amounts until its watch ends."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is sold, and where it is paid to.

    Attributes:
        plans: In the order in which they are shown.
        deposits: Our address on each chain that we are paid on.
    """

    plans: tuple[Plan, ...] = ()
    deposits: Mapping[Chain, Address] = field(default_factory=dict)

    def plan(self, name: str) -> Plan:
        """Return a plan by its name.

        Raises:
            PaymentInvalid: there is none; says which there are.
        """
        found = next((one for one in self.plans if one.name == name), None)
        if found is None:
            names = ", ".join(one.name for one in self.plans)
            raise PaymentInvalid("the plan", f"choose one of: {names}" if names else "nothing is sold here yet")
        return found

    def price(self, plan: Plan, asset: Asset) -> Money:
        """Return what a plan costs in an asset.

        Raises:
            PaymentInvalid: the asset is not taken for it; says which are.
        """
        units = plan.prices.get(asset)
        if units is None or asset.chain not in self.deposits:
            taken = ", ".join(one for one in plan.prices if one.chain in self.deposits)
            raise PaymentInvalid("the currency", f"{plan.name} is paid with {taken or 'nothing yet'}")
        return Money(asset, units)


NOTHING_SOLD = Catalogue()
"""A shop that was not set up takes no order, and so no money."""


@dataclass(frozen=True, slots=True)
class ReviewQueue:
    """What waits for a person, oldest first.

    Attributes:
        held: Providers contradict each other, or a person put it on hold.
        in_review: Money came that does not settle by itself.
        aside: Final transfers that are no order's.
    """

    held: tuple[Sale, ...]
    in_review: tuple[Sale, ...]
    aside: tuple[SetAside, ...]


def tails_of(price: Money, policy: PaymentPolicy) -> tuple[int, int]:
    """Return the least and the greatest amount, in base units, that an order at this price may be given."""
    step = policy.tail_step[price.asset]
    return price.units + step, price.units + policy.tails * step


def draw_up(
    price: Money,
    deposit: Address,
    taken: Collection[int],
    *,
    name: int,
    tail: int,
    now: datetime,
    policy: PaymentPolicy,
) -> Order:
    """Draw up a NEW order. Its id is its code; only chains with comments have it as one.

    Args:
        price: What the plan costs.
        deposit: Where to pay.
        taken: Units, between `tails_of`, that are still reserved there.
        name: Random, 0 <= name < NAMES.
        tail: Random, >= 0: where to begin looking for a free amount.
        now: When it is made.
        policy: Tails, windows.

    Raises:
        PaymentInvalid: every amount near the price is reserved.
    """
    code = code_from(name)
    expires_at = now + policy.window
    return Order(
        id=OrderId(code),
        amount=unique_amount(price, taken, start=tail, policy=policy),
        deposit=deposit,
        code=code if deposit.chain is Chain.TON else None,
        created_at=now,
        expires_at=expires_at,
        watched_until=expires_at + policy.late_grace,
    )


def may_order(buyer: BuyerId, latest: Sequence[Sale], now: datetime) -> bool:
    """Tell whether a buyer may reserve another amount.

    Args:
        buyer: A person. Tokens of the API (`api:`) stand for a shop's many customers and are held back by rate.
        latest: Their newest UNPAID_A_DAY orders.
        now: The present.
    """
    recent = [one for one in latest if now - one.order.created_at < timedelta(days=1)]
    unpaid = [one for one in recent if not one.order.credits and one.order.state is not OrderState.SETTLED]
    return buyer.startswith("api:") or len(unpaid) < UNPAID_A_DAY


def check_claims(order: Order, history: Sequence[AuditEntry], tx: bytes, now: datetime) -> bool:
    """Tell whether a claim is new to an order's history; the same hash again is no news.

    Raises:
        PaymentMismatch: too many different hashes within the hour.
    """
    claims = [one for one in history if one.what == CLAIMED]
    if any(one.detail.startswith(tx.hex()) for one in claims):
        return False
    if sum(now - one.at < timedelta(hours=1) for one in claims) >= CLAIMS_AN_HOUR:
        raise PaymentMismatch(order.id, f"{CLAIMS_AN_HOUR} hashes were claimed within the hour; write to support")
    return True


def changed(sale: Sale, *, now: datetime) -> Message:
    """Write the message that an order changed; one a state and paid amount, however often it is written."""
    order = sale.order
    return Message(
        key=f"changed:{order.id}:{order.state.value}:{order.paid.units}",
        kind=MessageKind.ORDER_CHANGED,
        to=sale.buyer,
        order=order.id,
        facts={
            "order": order.id,
            "state": order.state.value,
            "flags": ",".join(sorted(order.flags)),
            "asset": order.amount.asset.value,
            "paid": order.paid.units,
            "due": due(order).units,
            "plan": sale.plan.name,
            "language": sale.language.value,
        },
        written_at=now,
    )


def claim_for_review(sale: Sale, tx: bytes, *, now: datetime) -> Message:
    """Write the alert that a claimed transaction pays us but is not provably for this order."""
    return Message(
        key=f"claim:{sale.order.id}:{tx.hex()}",
        kind=MessageKind.ALERT,
        to="admins",
        order=sale.order.id,
        facts={"what": "claim-in-review", "transaction": tx.hex(), "chain": sale.order.amount.asset.chain.value},
        written_at=now,
    )


def payment_link(order: Order) -> str:
    """Return what a wallet opens: a ton:// link with amount and comment on TON, the bare address on TRON.

    Wallets for TRON agree on no link that carries an amount.
    """
    if order.deposit.chain is Chain.TRON or order.amount.asset is not Asset.TON or order.state in CLOSED:
        return str(order.deposit)
    text = f"&text={quote(order.code)}" if order.code else ""
    return f"ton://transfer/{order.deposit}?amount={order.remainder.units}{text}"


def language_of(code: str | None) -> Language:
    """Return the language of a buyer by the tag their client sends (`ru`, `ru-RU`); English for all others."""
    return Language.RUSSIAN if (code or "").lower().partition("-")[0] == "ru" else Language.ENGLISH
