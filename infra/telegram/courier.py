"""What the bot says unasked: what the outbox holds, cards that change, plans that wait, heals that ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from infra.outbox import deliver_due
from infra.telegram.cards import card, state_of
from infra.telegram.meshdesk import REMEDY, MeshDesk
from infra.telegram.metrics import TelegramMetrics
from infra.telegram.operators import listed
from infra.telegram.screens import Screen
from infra.telegram.secrecy import trace
from infra.telegram.sender import ChatClosed, MessageGone, Sender
from infra.telegram.speech import Speech
from infra.telegram.words import Counted, Text
from models.chat import Card
from models.errors import MeshError, RefusedError
from models.ledger import IssuedLicence, Language, Message, MessageKind, Sale
from models.payment import Flag, OrderId, OrderState
from models.ports import Clock, Store
from models.remedy import PlanHash

log = structlog.get_logger()

ADMINS = "admins"
PERSON = "telegram:"
RECIPIENTS = (ADMINS, PERSON, "api:")
"""Whose messages we take: those of people here, and of buyers over the API, who are told at the order."""
# A hint wakes us at once; without one the outbox is looked at this often.
TURN = timedelta(seconds=2)
# However often the bell rings: the rest of the gateway lives in this loop too.
BREATH_SECONDS = 0.05
# Telegram lets a bot send some 30 messages a second to all; one turn's edits must leave room for answers.
CARDS_A_TURN = 20
BUTTONS_EVERY = timedelta(hours=1)
# A press of an old button should be told that it expired rather than that nobody knows it; a day is plenty.
BUTTONS_KEPT = timedelta(days=1)
FAILURES_BEFORE_GIVING_UP = 5
TOLD_ALOUD = frozenset({OrderState.EXPIRED, OrderState.REVIEW, OrderState.HOLD, OrderState.REFUNDED})
"""Changes that a message of its own tells; others only change the card, and a settled order's licence tells itself."""


@dataclass(slots=True)
class Courier:
    """Carries what is due. One a bot.

    Attributes:
        text_of: Writes a licence.
        admins: Who gets alerts.
    """

    store: Store
    clock: Clock
    sender: Sender
    desk: MeshDesk
    metrics: TelegramMetrics
    text_of: Callable[[IssuedLicence], str]
    admins: tuple[int, ...]
    _swept_at: datetime | None = None
    _failures: int = 0
    _waits_for: str = ""

    async def run(self) -> None:
        """Carry until cancelled; five turns in a row that fail for no known reason end it."""
        while True:
            try:
                await self.turn()
                self._failures, self._waits_for = 0, ""
            except MeshError as error:
                if str(error) != self._waits_for:
                    log.warning("courier waits", reason=str(error))
                self._waits_for = str(error)
            except Exception as error:
                self._failures += 1
                self.metrics.error()
                log.error("courier failed", trace=trace(error))  # noqa: TRY400 - a traceback as it is could tell a token
                if self._failures >= FAILURES_BEFORE_GIVING_UP:
                    raise
            await self.store.wait("outbox", at_most=TURN)
            await asyncio.sleep(BREATH_SECONDS)

    async def turn(self) -> None:
        """Do everything that is due now."""
        await deliver_due(self.store, self.clock, self.deliver, recipients=RECIPIENTS)
        await self._refresh_cards()
        if self.admins:
            await self.desk.announce()
        for user, screen in await self.desk.finished():
            await self._tell(user, screen)
        await self._sweep()

    async def deliver(self, message: Message) -> None:
        """Deliver one message of the outbox.

        Raises:
            MeshError: it was not delivered to anybody; it is tried again.
        """
        if message.to == ADMINS:
            await self._alert_all(message)
        elif message.to.startswith(PERSON):
            await self._deliver_to(int(message.to.removeprefix(PERSON)), message)
        # A buyer over the API reads licence and changes at the order.

    async def _alert_all(self, message: Message) -> None:
        if not self.admins:
            log.warning("alert without readers, set X0_TELEGRAM_ADMINS", alert=message.key)
        missed: list[MeshError] = []
        for admin in self.admins:
            try:
                await self.sender.send(admin, _alert(message))
            except MeshError as error:
                missed.append(error)
        # Told to one is told: to repeat it to all because one of them blocked the bot would teach people to mute it.
        if missed and len(missed) == len(self.admins):
            raise missed[0]

    async def _deliver_to(self, user: int, message: Message) -> None:
        if message.kind is MessageKind.ALERT and message.facts.get("what") == REMEDY:
            question = await self.desk.question(PlanHash(str(message.facts["plan"])))
            if question is not None:
                await self.sender.send(user, question)
        elif message.kind is MessageKind.ALERT:
            await self.sender.send(user, _alert(message))
        elif message.kind is MessageKind.LICENCE and message.order is not None:
            await self._hand_over(user, message.order, await self._speech(user, message))
        elif message.order is not None:
            await self._tell_change(user, message.order, await self._speech(user, message))

    async def _hand_over(self, user: int, order: OrderId, speech: Speech) -> None:
        async with self.store.unit() as unit:
            licence = await unit.licences.of_order(order)
        if licence is None:
            raise RefusedError(f"order {order} has no licence to deliver")
        text = speech.say(
            Text.LICENCE,
            order=order,
            until=speech.at(licence.expires_at),
            devices=speech.count(licence.devices, Counted.DEVICE),
            licence=self.text_of(licence),
        )
        await self.sender.send(user, Screen(text))

    async def _tell_change(self, user: int, order: OrderId, speech: Speech) -> None:
        async with self.store.unit() as unit:
            sale = await unit.ledger.sale(order)
            pinned = await unit.chats.card(order)
        if sale is None:
            return
        if pinned is not None:
            await self._show(pinned, sale, speech)
        if sale.order.state in TOLD_ALOUD or Flag.PARTIAL in sale.order.flags:
            await self.sender.send(
                user, Screen(speech.say(Text.CHANGED, order=order, state=state_of(sale.order, speech)))
            )

    async def _refresh_cards(self) -> None:
        async with self.store.unit() as unit:
            due = await unit.chats.due_cards(now=self.clock.now(), limit=CARDS_A_TURN)
        for one in due:
            async with self.store.unit() as unit:
                sale = await unit.ledger.sale(one.order)
                chosen = await unit.chats.language(one.chat)
            if sale is None:
                await self._let_go(one)
            else:
                await self._show(one, sale, Speech(chosen or sale.language))

    async def _show(self, pinned: Card, sale: Sale, speech: Speech) -> None:
        try:
            await self.sender.show(pinned, card(sale, speech, now=self.clock.now()))
        except (ChatClosed, MessageGone):
            # The card was deleted or its reader is gone; /status makes a new one.
            await self._let_go(pinned)

    async def _let_go(self, pinned: Card) -> None:
        async with self.store.unit() as unit:
            await unit.chats.pin(replace(pinned, look_at=None))

    async def _tell(self, user: int, screen: Screen) -> None:
        try:
            await self.sender.send(user, screen)
        except RefusedError as error:
            log.info("a heal's outcome found no reader", reason=str(error))

    async def _sweep(self) -> None:
        now = self.clock.now()
        if self._swept_at is None or now - self._swept_at >= BUTTONS_EVERY:
            async with self.store.unit() as unit:
                await unit.chats.forget_buttons(before=now - BUTTONS_KEPT)
            self._swept_at = now

    async def _speech(self, user: int, message: Message) -> Speech:
        async with self.store.unit() as unit:
            chosen = await unit.chats.language(user)
        return Speech(chosen or Language(str(message.facts.get("language", Language.ENGLISH))))


def _alert(message: Message) -> Screen:
    what = message.facts.get("what", message.kind.value)
    facts = [f"{name}: {fact}" for name, fact in message.facts.items() if name not in {"what", "order"}]
    order = [f"order: {message.order}"] if message.order is not None else []
    return listed([f"ALERT {what}", *order, *facts])
