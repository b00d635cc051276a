"""The bot itself: who may ask what, how updates come in, and how it lives inside the process that hosts it."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from telegram import Bot, BotCommand, CallbackQuery, Update, User
from telegram.error import Conflict, InvalidToken, TelegramError
from telegram.ext import AIORateLimiter, Application, CallbackQueryHandler, ContextTypes, MessageHandler, filters
from telegram.request import HTTPXRequest

from infra.shop.shop import Shop
from infra.shop.verifier import PaymentVerifier
from infra.telegram.courier import Courier
from infra.telegram.customers import Answers, Asked, Customers, Handler
from infra.telegram.meshdesk import ANSWERS, MeshDesk
from infra.telegram.metrics import TelegramMetrics
from infra.telegram.operators import Operators, listed
from infra.telegram.screens import Screen
from infra.telegram.secrecy import quiet_libraries, trace
from infra.telegram.sender import ChatClosed, MessageGone, Sender
from infra.telegram.settings import TelegramSettings
from infra.telegram.speech import Speech
from infra.telegram.words import Text
from models.errors import AmountTaken, MeshError, TransientError
from models.ledger import IssuedLicence, Language
from models.ports import Clock, Store
from models.shop import language_of

log = structlog.get_logger()

AnyApplication = Application[Any, Any, Any, Any, Any, Any]
AnyContext = ContextTypes.DEFAULT_TYPE

# A person who waits for one slow answer must not make others wait; the database's pool is smaller than that.
AT_ONCE = 8
CONNECTIONS = 2 * AT_ONCE  # an answer each, and room for the courier
# Telegram answers a flood with how long to wait; the fourth flood in a row is told to whoever asked.
FLOOD_RETRIES = 3
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
POLL_SECONDS = 30  # one open request that Telegram answers as soon as somebody writes
UPDATES = ("message", "callback_query")
WEBHOOK_PATH = "/telegram/webhook"


@dataclass(frozen=True, slots=True)
class Premises:
    """What the bot works with; its owner opens and closes it."""

    store: Store
    clock: Clock
    shop: Shop
    verifier: PaymentVerifier
    text_of: Callable[[IssuedLicence], str]
    mesh: str
    metrics: TelegramMetrics


class TelegramBot:
    """One bot. `run` keeps it connected until cancelled; its host decides when that is."""

    def __init__(self, premises: Premises, settings: TelegramSettings, *, token: str) -> None:
        quiet_libraries()
        self._token = token
        self._settings = settings
        self._premises = premises
        store, clock, shop = premises.store, premises.clock, premises.shop
        self._customers = Customers(
            store,
            clock,
            shop=shop,
            verifier=premises.verifier,
            sells=settings.telegram_sells,
            support=settings.telegram_support,
        )
        self._desk = MeshDesk(store, clock, mesh=premises.mesh, admins=settings.telegram_admins)
        self._commands = dict(self._customers.commands)
        self._admin_commands = {**Operators(store, clock, shop=shop).commands, **self._desk.commands}
        self._live: AnyApplication | None = None

    async def run(self) -> None:
        """Connect, serve, and connect again whenever Telegram was away; ends only when the token is refused."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                async with self._connected() as application:
                    pause_s = FIRST_PAUSE_S
                    await self._courier(application.bot).run()
            except InvalidToken:
                log.error("telegram refuses the bot's token, set TELEGRAM_BOT_TOKEN and start anew")  # noqa: TRY400 - its text tells the token
                return
            except TelegramError as error:
                log.warning("telegram is away", kind=type(error).__name__, again_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def take(self, secret: str, body: bytes) -> bool:
        """Take an update that came to the webhook; once this returns it is done, so a killed process gets it again.

        Returns:
            False when the secret is not ours, or the bot is not connected; then nothing happened.
        """
        expected = self._settings.telegram_webhook_secret
        if expected is None or self._live is None:
            return False
        if not hmac.compare_digest(secret.encode(), expected.get_secret_value().encode()):
            return False
        update = Update.de_json(json.loads(body), self._live.bot)
        await self._live.process_update(update)
        return True

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AnyApplication]:
        # Ours, since the library forgets to close its own when Telegram does not answer the first call.
        asking, polling = HTTPXRequest(connection_pool_size=CONNECTIONS), HTTPXRequest(connection_pool_size=1)
        try:
            async with self._build(asking, polling) as application, self._started(application):
                yield application
        finally:
            await asking.shutdown()
            await polling.shutdown()

    @asynccontextmanager
    async def _started(self, application: AnyApplication) -> AsyncIterator[None]:
        for language in Language:
            menu = [BotCommand(*one) for one in Speech(language).menu()]
            code = None if language is Language.ENGLISH else language.value
            await application.bot.set_my_commands(menu, language_code=code)
        await application.start()
        self._live = application
        try:
            await self._open_ears(application)
            self._premises.metrics.is_up(True)
            log.info("telegram bot serves", bot=application.bot.username, polls=application.updater is not None)
            yield
        finally:
            self._live = None
            self._premises.metrics.is_up(False)
            if application.updater is not None and application.updater.running:
                await application.updater.stop()
            await application.stop()

    async def _open_ears(self, application: AnyApplication) -> None:
        secret = self._settings.telegram_webhook_secret
        if application.updater is None and secret is not None:
            url = self._settings.telegram_webhook.rstrip("/") + WEBHOOK_PATH
            await application.bot.set_webhook(url, secret_token=secret.get_secret_value(), allowed_updates=UPDATES)
        elif application.updater is not None:
            told: set[str] = set()

            def say_once(error: TelegramError) -> None:
                kind = type(error).__name__
                if kind not in told:
                    told.add(kind)
                    log.warning("telegram poll fails", kind=kind, another_bot_polls=isinstance(error, Conflict))

            await application.updater.start_polling(
                timeout=POLL_SECONDS, allowed_updates=UPDATES, error_callback=say_once
            )

    def _build(self, asking: HTTPXRequest, polling: HTTPXRequest) -> AnyApplication:
        builder = (
            Application.builder()
            .token(self._token)
            .base_url(f"{self._settings.telegram_url}/bot")
            .rate_limiter(AIORateLimiter(max_retries=FLOOD_RETRIES))
            .concurrent_updates(AT_ONCE)
            .request(asking)
            .get_updates_request(polling)
        )
        if self._settings.telegram_webhook:
            builder = builder.updater(None)
        application = builder.build()
        spoken = filters.UpdateType.MESSAGE & filters.ChatType.PRIVATE & filters.TEXT
        application.add_handler(MessageHandler(spoken, self._on_message))
        application.add_handler(CallbackQueryHandler(self._on_press))
        application.add_error_handler(self._on_error)
        return application

    def _courier(self, bot: Bot) -> Courier:
        here = self._premises
        return Courier(
            here.store,
            here.clock,
            self._sender(bot),
            self._desk,
            here.metrics,
            here.text_of,
            self._settings.telegram_admins,
        )

    def _sender(self, bot: Bot) -> Sender:
        return Sender(bot, self._premises.store, self._premises.clock, metrics=self._premises.metrics)

    async def _on_message(self, update: Update, context: AnyContext) -> None:
        user, message = update.effective_user, update.message
        if user is None or message is None or message.text is None:
            return
        self._premises.metrics.update("command")
        name, *words = message.text.split()
        asked = await self._asked(user, update, tuple(words))
        handler = self._handler(name, user.id)
        if handler is None:
            answers: Answers = [Screen(asked.speech.say(Text.UNKNOWN, commands=asked.speech.commands()))]
        else:
            answers = await self._answered(handler, asked)
        await self._send(self._sender(context.bot), user.id, answers)

    async def _on_press(self, update: Update, context: AnyContext) -> None:
        query = update.callback_query
        if query is None or query.data is None:
            return
        self._premises.metrics.update("press")
        asked = await self._asked(query.from_user, update, ())
        sender = self._sender(context.bot)
        answers = await self._pressed(query.data, asked)
        # The clock on the button stops first; what follows may take a moment.
        await sender.answer(query.id, asked.speech.label(Text.BUTTON_SPENT) if answers is None else "")
        if answers:
            await self._show(sender, query, asked, answers)

    async def _pressed(self, button_id: str, asked: Asked) -> Answers | None:
        """Use a button up and do what it asks; None when it is not theirs to press now."""
        now = self._premises.clock.now()

        async def press(_: Asked) -> Answers:
            async with self._premises.store.unit() as unit:
                button = await unit.chats.press(button_id, user=asked.user, now=now)
                if button is None:
                    return []
                if button.kind in ANSWERS:
                    return await self._desk.decided(unit, button, asked) if self._is_admin(asked.user) else []
            return await self._customers.pressed(button, asked)

        return await self._answered(press, asked) or None

    async def _show(self, sender: Sender, query: CallbackQuery, asked: Asked, answers: Answers) -> None:
        """Change the card under whose button somebody pressed; everything else is a message of its own."""
        only = answers[0]
        pinned = None
        if only.card is not None:  # "try again" must not need the database that is away
            async with self._premises.store.unit() as unit:
                pinned = await unit.chats.card(only.card)
        pressed_under = None if query.message is None else query.message.message_id
        if pinned is None or pinned.message != pressed_under or len(answers) > 1:
            await self._send(sender, asked.user, answers)
            return
        try:
            await sender.redraw(pinned, only)
        except MessageGone:
            await self._send(sender, asked.user, answers)

    async def _send(self, sender: Sender, user: int, answers: Answers) -> None:
        try:
            for one in answers:
                await sender.send(user, one)
        except (ChatClosed, TransientError) as error:
            # They asked and left, or Telegram is away: there is nobody to tell.
            log.info("an answer found no reader", reason=str(error))

    async def _answered(self, handler: Handler, asked: Asked) -> Answers:
        """Return a handler's answer; what our rules refuse and what is away is an answer too."""
        try:
            return await handler(asked)
        except MeshError as error:
            if self._is_admin(asked.user):
                log.info("an admin was refused", reason=str(error), admin=asked.buyer)
                return [listed([str(error)])]
            if isinstance(error, TransientError | AmountTaken):
                log.warning("a customer has to try again", reason=str(error))
                return [Screen(asked.speech.say(Text.TRY_LATER))]
            raise

    async def _on_error(self, update: object, context: AnyContext) -> None:
        """The top handler: tell whoever asked that it is not their fault, and log what nobody foresaw."""
        error, said = context.error, Text.WENT_WRONG
        if isinstance(error, TransientError):
            # The database went while an answer was on its way.
            log.warning("a customer has to try again", reason=str(error))
            said = Text.TRY_LATER
        else:
            self._premises.metrics.error()
            log.error("an update failed", trace="" if error is None else trace(error))
        user = update.effective_user if isinstance(update, Update) else None
        if user is not None:
            speech = Speech(language_of(user.language_code))
            await self._send(self._sender(context.bot), user.id, [Screen(speech.say(said))])

    async def _asked(self, user: User, update: Update, words: tuple[str, ...]) -> Asked:
        chosen: Language | None = None
        try:
            async with self._premises.store.unit() as unit:
                chosen = await unit.chats.language(user.id)
        except TransientError as error:
            log.warning("a language could not be looked up", reason=str(error))
        return Asked(user.id, words, Speech(chosen or language_of(user.language_code)), update.update_id)

    def _handler(self, name: str, user: int) -> Handler | None:
        command = name.removeprefix("/").partition("@")[0].lower() if name.startswith("/") else ""
        if self._is_admin(user) and command in self._admin_commands:
            return self._admin_commands[command]
        return self._commands.get(command)

    def _is_admin(self, user: int) -> bool:
        return user in self._settings.telegram_admins
