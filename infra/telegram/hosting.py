"""How a process hosts the bot: beside its own work, and never in its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from infra.telegram.bot import Premises, TelegramBot
from infra.telegram.secrecy import trace
from infra.telegram.settings import TelegramSettings

log = structlog.get_logger()


@asynccontextmanager
async def bot_beside(premises: Premises, settings: TelegramSettings) -> AsyncIterator[TelegramBot | None]:
    """Run the bot until the block ends; None where no token is set.

    A bot that breaks is logged and counted; whatever else the process does goes on.
    """
    if settings.telegram_token is None:
        yield None
        return
    bot = TelegramBot(premises, settings, token=settings.telegram_token.get_secret_value())
    running = asyncio.create_task(_run(bot, premises), name="telegram-bot")
    try:
        yield bot
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def _run(bot: TelegramBot, premises: Premises) -> None:
    try:
        await bot.run()
    except Exception as error:  # noqa: BLE001 - the bot's boundary: its end must not end the API beside it
        premises.metrics.error()
        log.error("the telegram bot ended, start the gateway anew", trace=trace(error))  # noqa: TRY400 - a traceback as it is could tell a token
