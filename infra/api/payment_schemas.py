"""What buying and verifying say over the wire. Amounts are whole base units; the text beside them is for people."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, Field

from infra.api.schemas import Ask, View
from models.errors import PaymentInvalid
from models.ledger import IssuedLicence, Language, Plan, Sale
from models.payment import Asset, Flag, Money, OrderState, Transfer, parse_asset
from models.shop import payment_link

# An order's name is a few letters; anything else never was one.
ORDER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
ORDER_EXAMPLE = "ord-k3mn7pqr"
# A link with a hash in it is longer than a hash; longer than this it is something else.
LONGEST_TX = 512
# One hash of 64 hex digits, perhaps inside a link; or one in base64, as TON's wallets show it.
TX_PATTERN = r"(^|[^0-9a-fA-F])[0-9a-fA-F]{64}([^0-9a-fA-F]|$)|^\s*[A-Za-z0-9+/_-]{43}=?\s*$"
# One sentence for the record, or a short paragraph; the table keeps it for ever.
LONGEST_NOTE = 500
# No price comes near it, and unlike the ledger's own bound it is the same number after a detour through a float.
MOST_ASKED = 10**18
MOST_DIGITS = len(str(MOST_ASKED))


def _units(value: object) -> object:
    """Let digits in a string count as the number they are; everything else is for the strict integer to judge."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS:
        return int(value)
    return value


def _asset(value: object) -> object:
    """Read a currency as callers write it: `usdt`, `USDT-TRC20`, `TON`."""
    if not isinstance(value, str):
        return value
    try:
        return parse_asset(value)
    except PaymentInvalid as error:
        raise ValueError(error.mend) from error


Currency = Annotated[
    Asset,
    BeforeValidator(_asset),
    Field(description="USDT means the one on TRON; spellings such as `usdt` and `USDT-TRC20` are read too."),
]
Units = Annotated[int, Field(strict=True, ge=1, le=MOST_ASKED), BeforeValidator(_units)]


class PriceView(View):
    """What a plan costs in one currency."""

    currency: Asset
    units: int = Field(description="Base units: 1 USDT is 1000000, 1 TON is 1000000000.", examples=[9990000])
    text: str = Field(examples=["9.99 USDT"])


class PlanView(View):
    """Something to buy."""

    name: str = Field(examples=["month"])
    days: int = Field(description="How long its licence is good for.")
    devices: int = Field(description="How many addresses it lets through at once.")
    prices: list[PriceView]

    @classmethod
    def of(cls, plan: Plan) -> PlanView:
        """Show a plan."""
        priced = [Money(asset, units) for asset, units in plan.prices.items()]
        prices = [PriceView(currency=one.asset, units=one.units, text=str(one)) for one in priced]
        return cls(name=plan.name, days=plan.days, devices=plan.devices, prices=prices)


class PlanPage(View):
    """What is sold; empty until the operator names plans and deposit addresses."""

    plans: list[PlanView]


class OrderAsk(Ask):
    """Buy a plan."""

    plan: str = Field(min_length=1, max_length=32, examples=["month"])
    currency: Currency
    language: Language = Field(default=Language.ENGLISH, description="For messages about it.")


class TransferView(View):
    """A transfer of this order's that is not counted yet."""

    transaction: str = Field(description="Its hash in hexadecimal.")
    units: int
    block_time: datetime
    is_final: bool = Field(description="The chain will not take it back.")
    vouched_by: int = Field(description="Providers that say so.")

    @classmethod
    def of(cls, transfer: Transfer) -> TransferView:
        """Show a transfer."""
        return cls(
            transaction=transfer.tx.hex(),
            units=transfer.units,
            block_time=transfer.block_time,
            is_final=transfer.final,
            vouched_by=len(transfer.vouched_by),
        )


class LicenceView(View):
    """What a settled order earned."""

    id: str
    plan: str
    devices: int
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    text: str | None = Field(
        description="The signed licence, for the client; null where this gateway has no signing key."
    )

    @classmethod
    def of(cls, licence: IssuedLicence, text: str | None) -> LicenceView:
        """Show a licence."""
        return cls(
            id=licence.id,
            plan=licence.plan,
            devices=licence.devices,
            issued_at=licence.issued_at,
            expires_at=licence.expires_at,
            revoked_at=licence.revoked_at,
            text=text,
        )


class OrderView(View):
    """An order: what to pay, where, until when, and where it stands."""

    order_id: str = Field(examples=[ORDER_EXAMPLE])
    plan: str
    state: OrderState = Field(description="SETTLED is paid, for good.")
    flags: list[Flag] = Field(description="What was unusual.")
    currency: Asset
    amount: int = Field(description="Pay exactly this many base units: the amount is what names the order.")
    amount_text: str = Field(description="The same for people.", examples=["9.990123 USDT"])
    paid: int = Field(description="Base units counted so far.")
    remainder: int = Field(description="Base units still due.")
    address: str = Field(description="Where to pay.")
    comment: str | None = Field(description="Write exactly this as the comment; null where the chain has none.")
    link: str = Field(description="For a wallet or a QR code; the bare address where the chain has no such link.")
    created_at: datetime
    expires_at: datetime = Field(description="Last block time that is on time.")
    watched_until: datetime = Field(description="Last block time that still finds this order.")

    @classmethod
    def of(cls, sale: Sale) -> OrderView:
        """Show an order."""
        order = sale.order
        return cls(
            order_id=order.id,
            plan=sale.plan.name,
            state=order.state,
            flags=sorted(order.flags),
            currency=order.amount.asset,
            amount=order.amount.units,
            amount_text=str(order.amount),
            paid=order.paid.units,
            remainder=order.remainder.units,
            address=str(order.deposit),
            comment=order.code,
            link=payment_link(order),
            created_at=order.created_at,
            expires_at=order.expires_at,
            watched_until=order.watched_until,
        )


class OrderStory(View):
    """An order, and the licence it earned once it is settled."""

    order: OrderView
    licence: LicenceView | None


class VerifyAsk(Ask):
    """Is this order paid? Amount and currency must be the order's own, so that nobody asks about another by mistake."""

    order_id: str = Field(pattern=ORDER_PATTERN, examples=[ORDER_EXAMPLE])
    amount: Units = Field(description="The order's amount in base units.", examples=[9990123])
    currency: Currency
    tx_hash: str | None = Field(
        default=None,
        max_length=LONGEST_TX,
        pattern=TX_PATTERN,
        description="The transaction, as a wallet shows it: it is looked up and claimed for this order.",
    )


class PaymentAnswer(View):
    """What is known of an order's payment."""

    verified: bool = Field(description="Paid, proved and counted, for good.")
    order: OrderView
    seen: list[TransferView] = Field(description="This order's, and not counted yet.")
    scanned_at: datetime | None = Field(description="When our address was last read on its chain.")
    next_check_seconds: float = Field(description="Asking sooner shows nothing new; 0: nothing will change.")
    licence: LicenceView | None


class RefundAsk(Ask):
    """Note that an order's money was sent back."""

    order_id: str = Field(pattern=ORDER_PATTERN, examples=[ORDER_EXAMPLE])
    note: str = Field(
        min_length=1,
        max_length=LONGEST_NOTE,
        pattern=r"\S",
        description="To where and how much; kept for ever, so no personal data.",
        examples=["sent 9.990123 USDT back to the payer, transaction 3f5a..."],
    )
