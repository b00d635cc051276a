"""What somebody shall see: a text with buttons under it. Nothing here knows how Telegram sends it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from infra.telegram.speech import Html
from models.chat import ButtonKind
from models.payment import OrderId


@dataclass(frozen=True, slots=True)
class Press:
    """What a button asks for.

    Attributes:
        kind: What.
        subject: Of what.
        lasts: How long it may be pressed.
    """

    kind: ButtonKind
    subject: str
    lasts: timedelta


@dataclass(frozen=True, slots=True)
class Copy:
    """A button that puts a text into the clipboard; Telegram does that without us."""

    text: str


@dataclass(frozen=True, slots=True)
class Key:
    """A button: what stands on it, and what it does."""

    label: str
    does: Press | Copy


@dataclass(frozen=True, slots=True)
class Screen:
    """One message.

    Attributes:
        text: Telegram's HTML; under a picture, its caption.
        keys: Rows of buttons.
        picture: A PNG.
        card: The order whose card this message becomes.
        look_at: When the card should be looked at again; None: nothing changes any more.
    """

    text: Html
    keys: tuple[tuple[Key, ...], ...] = ()
    picture: bytes | None = None
    card: OrderId | None = None
    look_at: datetime | None = None

    @property
    def digest(self) -> str:
        """Return what tells two screens apart for whoever looks at them; the buttons' hidden ids do not."""
        labels = "\n".join(f"{one.label}\t{one.does}" for row in self.keys for one in row)
        return hashlib.sha256(f"{self.text}\0{labels}".encode()).hexdigest()[:32]
