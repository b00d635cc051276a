"""How an order looks to its buyer: what to pay, how long there is, how it stands; and the picture for a camera."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime, timedelta

import segno

from infra.telegram.screens import Copy, Key, Press, Screen
from infra.telegram.speech import COARSE_MINUTES, FINE_FROM, Html, Speech
from infra.telegram.words import Counted, Text
from models.chat import ButtonKind
from models.ledger import Sale
from models.payment import CLOSED, Flag, Money, Order, OrderState, Transfer
from models.shop import payment_link

# Pixels a module: 33 modules of a ton:// link become a picture of some 400 pixels, which any phone reads.
QR_SCALE = 10
QR_BORDER = 4  # ISO/IEC 18004 wants four modules of silence
# An order with a person, or past its time, changes when somebody acts, and that is told. This is for a lost telling.
SLOW_LOOK = timedelta(hours=1)
PAYABLE = frozenset({OrderState.NEW, OrderState.PROCESSING})


def number(money: Money) -> str:
    """Return an amount without its ticker, as a wallet's field takes it."""
    return str(money).split(" ", maxsplit=1)[0]


def state_of(order: Order, speech: Speech) -> Html:
    """Say how an order stands."""
    if order.state in PAYABLE and order.credits:
        said = speech.say(Text.STATE_PARTIAL, paid=order.paid, remainder=order.remainder)
    else:
        said = speech.say(Text(f"state-{order.state.value}"))
    return Html(f"{said}. {speech.say(Text.NOTE_OVER)}") if Flag.OVER in order.flags else said


def card(sale: Sale, speech: Speech, *, now: datetime, seen: Sequence[Transfer] = ()) -> Screen:
    """Draw an order's card.

    Args:
        sale: The order and its plan.
        speech: The reader's language.
        now: For the countdown.
        seen: Transfers on their way that do not count yet.
    """
    order = sale.order
    facts: dict[str, object] = {
        "order": order.id,
        "plan": sale.plan.name,
        "days": speech.days(sale.plan.days),
        "devices": speech.count(sale.plan.devices, Counted.DEVICE),
        "state": state_of(order, speech),
    }
    coming = [speech.say(Text.CARD_SEEN, amount=Money(one.asset, one.units)) for one in seen]
    if order.state not in PAYABLE or now >= order.expires_at:
        text = Html("\n".join([speech.say(Text.CARD_PAID, **facts), *coming]))
        return Screen(text, _status_keys(order, speech), card=order.id, look_at=next_look(order, now))
    network = Text.NETWORK_TRON if order.code is None else Text.NETWORK_TON
    lines: list[str] = [
        speech.say(
            Text.CARD,
            **facts,
            number=number(order.remainder),
            ticker=order.amount.asset.ticker,
            network=speech.say(network),
            address=order.deposit,
        )
    ]
    if order.code is not None:
        lines.append(speech.say(Text.CARD_COMMENT, code=order.code))
    left, until = speech.left(order.expires_at - now), speech.at(order.expires_at)
    lines += ["", speech.say(Text.CARD_UNTIL, left=left, until=until), *coming]
    keys = (_copy_keys(order, speech), *_status_keys(order, speech))
    return Screen(Html("\n".join(lines)), keys, card=order.id, look_at=next_look(order, now))


def next_look(order: Order, now: datetime) -> datetime | None:
    """Return when the card may read differently without anything having happened; None once it never will."""
    if order.state in CLOSED:
        return None
    if order.state in PAYABLE and now < order.expires_at:
        left = order.expires_at - now
        step = timedelta(minutes=COARSE_MINUTES if left > FINE_FROM else 1)
        # At the next multiple of the step counted from the end, where the rounded number of minutes falls by one step.
        return order.expires_at - step * ((left - timedelta(microseconds=1)) // step)
    return now + SLOW_LOOK if now < order.watched_until else None


def picture(order: Order, speech: Speech) -> Screen:
    """Draw what a wallet's camera reads: on TON address, amount and comment, on TRON the address."""
    out = io.BytesIO()
    segno.make(payment_link(order), micro=False, error="m").save(out, kind="png", scale=QR_SCALE, border=QR_BORDER)
    return Screen(speech.say(Text.QR, address=order.deposit), picture=out.getvalue())


def _copy_keys(order: Order, speech: Speech) -> tuple[Key, ...]:
    keys = [
        Key(speech.label(Text.COPY_AMOUNT), Copy(number(order.remainder))),
        Key(speech.label(Text.COPY_ADDRESS), Copy(str(order.deposit))),
    ]
    if order.code is not None:
        keys.append(Key(speech.label(Text.COPY_COMMENT), Copy(order.code)))
    return tuple(keys)


def _status_keys(order: Order, speech: Speech) -> tuple[tuple[Key, ...], ...]:
    """Buttons that ask us: to look again while it may change, to cancel while nothing came in."""
    if order.state in CLOSED:
        return ()
    lasts = order.watched_until - order.created_at
    keys = [Key(speech.label(Text.BUTTON_STATUS), Press(ButtonKind.STATUS, order.id, lasts))]
    if order.state is OrderState.NEW:
        keys.append(Key(speech.label(Text.BUTTON_CANCEL), Press(ButtonKind.CANCEL, order.id, lasts)))
    return (tuple(keys),)
