"""Screens become Telegram's messages: buttons are stored before they are shown, cards are remembered once they are."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from telegram import Bot, CopyTextButton, InlineKeyboardButton, InlineKeyboardMarkup, LinkPreviewOptions
from telegram.constants import ParseMode
from telegram.error import BadRequest, Forbidden, InvalidToken, TelegramError

from infra.telegram.metrics import TelegramMetrics
from infra.telegram.screens import Copy, Key, Screen
from infra.telegram.secrecy import redacted
from models.chat import Button, Card
from models.errors import BrokenError, ConfigurationInvalid, MeshError, RefusedError, SourceUnavailable
from models.ports import Clock, Store

# 128 bits: nobody guesses a button. Telegram takes 64 bytes, this makes 22.
BUTTON_BYTES = 16
NO_PREVIEW = LinkPreviewOptions(is_disabled=True)


class ChatClosed(RefusedError):
    """Raised when somebody blocked the bot, or never wrote to it."""

    def __init__(self) -> None:
        super().__init__("Telegram refuses: this person blocked the bot or never wrote to it")


class MessageGone(RefusedError):
    """Raised when a message that should change is no longer there to be changed."""

    def __init__(self) -> None:
        super().__init__("Telegram refuses: this message is gone or too old to change")


class Sender:
    """Writes to chats and keeps the store in step."""

    def __init__(self, bot: Bot, store: Store, clock: Clock, *, metrics: TelegramMetrics) -> None:
        self._bot = bot
        self._store = store
        self._clock = clock
        self._metrics = metrics

    async def send(self, chat: int, screen: Screen) -> None:
        """Send a message; if it is an order's card, it becomes the one that is kept up to date.

        Raises:
            SourceUnavailable: Telegram does not answer, or not in time; it may have been sent.
            ChatClosed: this person cannot be written to.
        """
        markup = await self._markup(chat, screen)
        with self._at_the_door():
            if screen.picture is not None:
                await self._bot.send_photo(chat, screen.picture, caption=screen.text, parse_mode=ParseMode.HTML)
                return
            sent = await self._bot.send_message(
                chat, screen.text, parse_mode=ParseMode.HTML, reply_markup=markup, link_preview_options=NO_PREVIEW
            )
        if screen.card is not None:
            await self._pin(Card(screen.card, chat, sent.message_id, screen.digest, screen.look_at))

    async def show(self, card: Card, screen: Screen) -> None:
        """Bring an order's card up to date; nothing is sent when it shows this already. Raises as `redraw`."""
        if screen.digest != card.shown:
            await self.redraw(card, screen)
        else:
            await self._pin(replace(card, look_at=screen.look_at))

    async def redraw(self, card: Card, screen: Screen) -> None:
        """Change an order's card, with new buttons, whatever it shows.

        Raises:
            SourceUnavailable: Telegram does not answer.
            ChatClosed: this person cannot be written to.
            MessageGone: there is no such message any more.
        """
        markup = await self._markup(card.chat, screen)
        with self._at_the_door():
            try:
                await self._bot.edit_message_text(
                    screen.text,
                    card.chat,
                    card.message,
                    parse_mode=ParseMode.HTML,
                    reply_markup=markup,
                    link_preview_options=NO_PREVIEW,
                )
            except BadRequest as error:
                # Somebody else changed it into this meanwhile: that is what was wanted.
                if "not modified" not in error.message:
                    raise
        await self._pin(replace(card, shown=screen.digest, look_at=screen.look_at))

    async def answer(self, query: str, text: str) -> None:
        """Stop a pressed button's clock, with a few words.

        Raises:
            SourceUnavailable: Telegram does not answer.
        """
        with self._at_the_door():
            try:
                await self._bot.answer_callback_query(query, text)
            except BadRequest as error:
                # Telegram forgets a press within a minute; what it asked for is done all the same.
                if "query is too old" not in error.message.lower():
                    raise

    async def _markup(self, user: int, screen: Screen) -> InlineKeyboardMarkup | None:
        """Store the buttons and return Telegram's; in a private chat the chat is the person."""
        stored: list[Button] = []
        rows = [[self._button(user, key, stored) for key in row] for row in screen.keys]
        if stored:
            async with self._store.unit() as unit:
                await unit.chats.offer(stored)
        return InlineKeyboardMarkup(rows) if rows else None

    def _button(self, user: int, key: Key, stored: list[Button]) -> InlineKeyboardButton:
        if isinstance(key.does, Copy):
            return InlineKeyboardButton(key.label, copy_text=CopyTextButton(key.does.text))
        name = secrets.token_urlsafe(BUTTON_BYTES)
        stored.append(Button(name, key.does.kind, key.does.subject, user, self._clock.now() + key.does.lasts))
        return InlineKeyboardButton(key.label, callback_data=name)

    async def _pin(self, card: Card) -> None:
        async with self._store.unit() as unit:
            await unit.chats.pin(card)

    @contextmanager
    def _at_the_door(self) -> Iterator[None]:
        """Translate Telegram's errors and count them. No text of theirs crosses: it may tell a token."""
        try:
            yield
        except TelegramError as error:
            ours = _translated(error)
            self._metrics.message("refused" if isinstance(ours, RefusedError) else "failed")
            raise ours from None
        self._metrics.message("delivered")


def _translated(error: TelegramError) -> MeshError:
    if isinstance(error, InvalidToken):
        return ConfigurationInvalid(
            "Telegram refuses the bot's token", "set TELEGRAM_BOT_TOKEN to the one of BotFather"
        )
    if isinstance(error, Forbidden) or (isinstance(error, BadRequest) and "chat not found" in error.message.lower()):
        return ChatClosed()
    if isinstance(error, BadRequest) and ("to edit" in error.message or "can't be edited" in error.message):
        return MessageGone()
    if isinstance(error, BadRequest):
        return BrokenError(f"Telegram takes no such message: {redacted(error.message)}")
    # A flood to wait for, a time-out, a broken connection.
    return SourceUnavailable("Telegram", type(error).__name__)
