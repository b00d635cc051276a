"""How a process hosts the bot: beside its own work, and never in its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from fastapi import FastAPI, Request, Response

from infra.telegram.bot import WEBHOOK_PATH, Premises, TelegramBot
from infra.telegram.secrecy import trace
from infra.telegram.settings import TelegramSettings

log = structlog.get_logger()

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - a header's name


def open_webhook(app: FastAPI, bot: TelegramBot) -> None:
    """Let Telegram bring updates to this app; whoever does not know the secret is turned away."""

    async def webhook(request: Request) -> Response:
        taken = await bot.take(request.headers.get(SECRET_HEADER, ""), await request.body())
        return Response(status_code=200 if taken else 403)

    app.add_api_route(WEBHOOK_PATH, webhook, methods=["POST"], include_in_schema=False)


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
