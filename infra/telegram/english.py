"""What the bot says in English."""

from __future__ import annotations

from collections.abc import Mapping

from infra.telegram.words import Command, Counted, Text

TEXTS: Mapping[Text, str] = {
    Text.START: (
        "Hello. I sell access to the mesh for USDT (TRC-20) and TON, and hand your licence over here as soon as your "
        "payment is final on chain.\n\n{commands}"
    ),
    Text.PLANS: "<b>Plans</b>\n{plans}\n\n/buy starts an order.",
    Text.PLAN_LINE: "<b>{plan}</b>: {days}, {devices} at once: {prices}",
    Text.NOTHING_SOLD: "Nothing is sold here at the moment.",
    Text.CHOOSE: "What would you like, and how will you pay?",
    Text.CARD: (
        "<b>Order</b> <code>{order}</code>\n{plan}: {days}, {devices} at once\n<b>{state}</b>\n\n"
        "Send exactly <code>{number}</code> {ticker} ({network}) to\n<code>{address}</code>"
    ),
    Text.CARD_COMMENT: "with the comment <code>{code}</code>",
    Text.CARD_UNTIL: (
        "{left} left, until {until}. Every digit of the amount counts: by it your payment is found. The network's fee "
        "comes on top."
    ),
    Text.CARD_PAID: "<b>Order</b> <code>{order}</code>\n{plan}: {days}, {devices} at once\n<b>{state}</b>",
    Text.CARD_SEEN: "Seen on chain: {amount}; it counts once the chain cannot take it back.",
    Text.QR: "For your wallet's camera: {address}",
    Text.PAID_HOW: (
        "Paying is enough, I see it by myself. If your order does not move, send the transaction's hash: "
        "/paid <i>hash</i>"
    ),
    Text.CLAIM_TAKEN: "Thank you. I am looking for that transaction; order <code>{order}</code> changes by itself.",
    Text.CLAIM_REVIEW: "That transaction does not fit order <code>{order}</code> exactly, so a person looks at it.",
    Text.CLAIM_SETTLED: "Order <code>{order}</code> is paid already.",
    Text.CLAIM_REFUSED: "I cannot take more hashes for order <code>{order}</code> now. /support reaches a person.",
    Text.BAD_HASH: "That is no transaction hash. Paste the 64 digits (or the link) that your wallet shows.",
    Text.ORDERS: "<b>Your orders</b>\n{orders}",
    Text.ORDER_LINE: "<code>{order}</code> {plan}, {amount}: {state}",
    Text.NO_ORDERS: "You have no order to speak of. /buy starts one.",
    Text.NO_SUCH_ORDER: "You have no such order. /orders lists yours.",
    Text.CANCELLED: "Order <code>{order}</code> is cancelled. Please do not pay it any more.",
    Text.CANNOT_CANCEL: "Order <code>{order}</code> cannot be cancelled any more. /support reaches a person.",
    Text.CANNOT_ORDER: "You have too many unpaid orders, or that plan is not sold any more. /orders, /plans",
    Text.CHANGED: "Order <code>{order}</code>: {state}",
    Text.LICENCE: (
        "Order <code>{order}</code> is paid. Here is your licence, good until {until} on {devices} at once:\n\n"
        "<code>{licence}</code>\n\nKeep it: whoever has it can use it."
    ),
    Text.SUPPORT: "You reach a person here: {contact}\nName your order, please; /orders lists yours.",
    Text.NO_SUPPORT: "There is nobody else to write to yet. Your orders: /orders",
    Text.LANGUAGE: "I speak English now. /language: по-русски.",
    Text.UNKNOWN: "I do not know that. {commands}",
    Text.TRY_LATER: "I cannot reach my books right now. Please try again in a minute; no payment is lost.",
    Text.WENT_WRONG: "That went wrong on our side; we were told. No payment is lost. Please try again.",
    Text.BUTTON_SPENT: "This button was used or has expired. /status shows a new one.",
    Text.COPY_AMOUNT: "Copy amount",
    Text.COPY_ADDRESS: "Copy address",
    Text.COPY_COMMENT: "Copy comment",
    Text.BUTTON_STATUS: "Look again",
    Text.BUTTON_CANCEL: "Cancel",
    Text.STATE_NEW: "waiting for your payment",
    Text.STATE_PROCESSING: "payment seen, waiting until it is final",
    Text.STATE_PARTIAL: "{paid} came in, {remainder} to go",
    Text.STATE_SETTLED: "paid",
    Text.STATE_EXPIRED: "time is up, please do not pay it any more; what you sent already is still looked for",
    Text.STATE_REVIEW: "money came in, a person looks at it",
    Text.STATE_HOLD: "on hold, a person looks at it",
    Text.STATE_CANCELLED: "cancelled",
    Text.STATE_REFUNDED: "refunded",
    Text.NOTE_OVER: "More than the price came in; /support",
    Text.NETWORK_TRON: "TRON, TRC-20",
    Text.NETWORK_TON: "TON",
}

COUNTED: Mapping[Counted, Mapping[str, str]] = {Counted.DEVICE: {"one": "{n} device", "other": "{n} devices"}}

COMMANDS: Mapping[Command, str] = {
    Command.PLANS: "what there is, and prices",
    Command.BUY: "start an order",
    Command.PAY: "how to pay your newest order",
    Command.PAID: "name the transaction if your order does not move",
    Command.STATUS: "how your newest order stands",
    Command.ORDERS: "all your orders",
    Command.CANCEL: "cancel your newest order",
    Command.SUPPORT: "reach a person",
    Command.LANGUAGE: "говорить по-русски",
}
