"""`python -m infra.lab.telegram`: serve a lab's Telegram on loopback until told to stop; its chats end with it."""

from __future__ import annotations

import asyncio
import signal

import structlog

from infra.lab.chains.server import serving
from infra.lab.telegram.api import BotApi
from infra.lab.telegram.living import port_of
from infra.log import configure
from infra.settings import Settings

log = structlog.get_logger()


async def serve() -> None:
    """Serve the Bot API of the state folder's lab, and the door through which people write."""
    stop = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    async with serving(BotApi(), port=port_of(Settings().state)) as api:
        log.info("lab telegram serves", url=api.url)
        await stop.wait()


if __name__ == "__main__":
    configure()
    asyncio.run(serve())
