"""`python -m infra.api`: serve the gateway over this installation's database until told to stop.

Exit code 2 when a setting, the list of plans or a key cannot be used: starting again would not help.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import prometheus_client
import structlog
import uvicorn

from infra.access import Access
from infra.api.app import create_app
from infra.api.gateway import Gateway, Trade
from infra.clock import SystemClock
from infra.db.cluster import database_url
from infra.db.unit import PostgresStore
from infra.licences import PRIVATE_NAME, LicenceSigner, load_signer
from infra.log import configure
from infra.prefect_door import PrefectDoor
from infra.settings import Settings
from infra.shop.settings import ShopSettings, catalogue_of, policy_of
from infra.telegram.bot import Premises
from infra.telegram.hosting import bot_beside, open_webhook
from infra.telegram.metrics import TelegramMetrics
from infra.telegram.settings import TelegramSettings
from models.errors import BrokenError, ConfigurationInvalid
from models.ledger import IssuedLicence

log = structlog.get_logger()

# Requests in flight get this long to end; the supervisor's own patience with a child is longer.
DRAIN_SECONDS = 3
BROKEN = 2  # as the command line's: we or the configuration are wrong


class _Server(uvicorn.Server):
    """Uvicorn that leaves signals to us: its own way raises them again at the end, before anything can be closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for one in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(one, self.handle_exit, one, None)
        yield


def trade_of(settings: Settings, shop: ShopSettings) -> Trade:
    """Read what is sold, by which rules, and the key that writes licences, if this host has it.

    Raises:
        ConfigurationInvalid: one of them cannot be used. A shop with half a list of prices does not open.
    """
    key = settings.state / PRIVATE_NAME
    return Trade(
        catalogue=catalogue_of(shop),
        policy=policy_of(shop),
        signer=load_signer(key) if key.exists() else None,
        calls_per_minute=shop.shop_calls_per_minute,
    )


def _door() -> PrefectDoor | None:
    """Open nodes' way to Prefect by the variables that Prefect's own client reads; without them there is none."""
    api = os.environ.get("PREFECT_API_URL")
    return PrefectDoor(api, auth=os.environ.get("PREFECT_API_AUTH_STRING")) if api else None


def _access(store: PostgresStore, settings: Settings, signer: LicenceSigner | None) -> Access | None:
    if signer is None:
        return None
    return Access(store, SystemClock(), licences=signer, mesh=settings.mesh, gateway_node=settings.gateway_node)


def _writer(signer: LicenceSigner | None) -> Callable[[IssuedLicence], str]:
    """Return what writes licences for the bot; without the key each stays in the outbox, and the log says why."""
    if signer is not None:
        return signer.text_of

    def refuse(licence: IssuedLicence) -> str:
        raise ConfigurationInvalid(f"licence {licence.id} cannot be written without {PRIVATE_NAME}", "restore the key")

    return refuse


async def serve(settings: Settings, trade: Trade, telegram: TelegramSettings) -> None:
    """Serve, with the bot beside if there is one, until SIGINT or SIGTERM; drain, then close the database.

    Starts without a database too: /ready says what is missing until it answers.
    """
    store = PostgresStore(database_url(settings))
    door = _door()
    access = _access(store, settings, trade.signer)
    app = create_app(store, settings, SystemClock(), trade=trade, access=access, door=door)
    gateway: Gateway = app.state.gateway
    premises = Premises(
        store,
        gateway.clock,
        gateway.shop,
        gateway.verifier,
        _writer(trade.signer),
        settings.mesh,
        TelegramMetrics(gateway.metrics.registry),
    )
    server = _Server(
        uvicorn.Config(
            app,
            host=settings.api_host,
            port=settings.api_port,
            access_log=False,  # the app logs each request itself, without paths and query strings
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )
    log.info(
        "gateway starts",
        host=settings.api_host,
        port=settings.api_port,
        mesh=settings.mesh,
        plans=len(trade.catalogue.plans),
    )
    try:
        async with bot_beside(premises, telegram) as bot:
            if bot is not None and telegram.telegram_webhook:
                open_webhook(app, bot)
            await server.serve()
    finally:
        if door is not None:
            await door.close()
        await store.close()


def main() -> None:
    """Read the settings once and serve."""
    # A `_created` series beside every counter doubles the exposition and no rule of ours reads it.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library forgot its `-> None`
    configure()
    try:
        settings = Settings()
        trade, telegram = trade_of(settings, ShopSettings()), TelegramSettings()
    except BrokenError as error:
        log.error("gateway cannot start", reason=str(error))  # noqa: TRY400 - the sentence says it all
        sys.exit(BROKEN)
    asyncio.run(serve(settings, trade, telegram))


if __name__ == "__main__":
    main()
