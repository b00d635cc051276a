"""Everything the bot says to customers, by name; `english.py` and `russian.py` have the sentences."""

from __future__ import annotations

from enum import StrEnum


class Text(StrEnum):
    """One thing to say. The facts it takes stand in braces in the catalogues."""

    START = "start"
    PLANS = "plans"
    PLAN_LINE = "plan-line"
    NOTHING_SOLD = "nothing-sold"
    CHOOSE = "choose"
    CARD = "card"
    CARD_COMMENT = "card-comment"
    CARD_UNTIL = "card-until"
    CARD_PAID = "card-paid"
    CARD_SEEN = "card-seen"
    QR = "qr"
    PAID_HOW = "paid-how"
    CLAIM_TAKEN = "claim-taken"
    CLAIM_REVIEW = "claim-review"
    CLAIM_SETTLED = "claim-settled"
    CLAIM_REFUSED = "claim-refused"
    BAD_HASH = "bad-hash"
    ORDERS = "orders"
    ORDER_LINE = "order-line"
    NO_ORDERS = "no-orders"
    NO_SUCH_ORDER = "no-such-order"
    CANCELLED = "cancelled"
    CANNOT_CANCEL = "cannot-cancel"
    CANNOT_ORDER = "cannot-order"
    CHANGED = "changed"
    LICENCE = "licence"
    SUPPORT = "support"
    NO_SUPPORT = "no-support"
    LANGUAGE = "language"
    UNKNOWN = "unknown"
    TRY_LATER = "try-later"
    WENT_WRONG = "went-wrong"
    BUTTON_SPENT = "button-spent"
    COPY_AMOUNT = "copy-amount"
    COPY_ADDRESS = "copy-address"
    COPY_COMMENT = "copy-comment"
    BUTTON_STATUS = "button-status"
    BUTTON_CANCEL = "button-cancel"
    STATE_NEW = "state-NEW"
    STATE_PROCESSING = "state-PROCESSING"
    STATE_PARTIAL = "state-partial"
    STATE_SETTLED = "state-SETTLED"
    STATE_EXPIRED = "state-EXPIRED"
    STATE_REVIEW = "state-REVIEW"
    STATE_HOLD = "state-HOLD"
    STATE_CANCELLED = "state-CANCELLED"
    STATE_REFUNDED = "state-REFUNDED"
    NOTE_OVER = "note-over"
    NETWORK_TRON = "network-tron"
    NETWORK_TON = "network-ton"


class Counted(StrEnum):
    """Nouns that follow a number; days, hours and minutes come from CLDR."""

    DEVICE = "device"


class Command(StrEnum):
    """What customers may type, as Telegram's menu shows it."""

    PLANS = "plans"
    BUY = "buy"
    PAY = "pay"
    PAID = "paid"
    STATUS = "status"
    ORDERS = "orders"
    CANCEL = "cancel"
    SUPPORT = "support"
    LANGUAGE = "language"
