"""`python -m infra.lab.chains`: serve a lab's chains on loopback until told to stop."""

from __future__ import annotations

import asyncio
import signal

import structlog

from infra.clock import SystemClock
from infra.lab.chains.living import LivingChains, going_on, read_facts
from infra.lab.chains.server import serving
from infra.log import configure
from infra.settings import Settings

log = structlog.get_logger()


async def serve() -> None:
    """Serve the chains of the state folder's lab."""
    settings = Settings()
    stop = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    chains = LivingChains.of(settings.state, SystemClock())
    async with going_on(chains), serving(chains, port=read_facts(settings.state).port):
        log.info("lab chains serve", url=chains.url)
        await stop.wait()


if __name__ == "__main__":
    configure()
    asyncio.run(serve())
