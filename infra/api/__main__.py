"""`python -m infra.api`: serve the gateway over this installation's database until told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import prometheus_client
import structlog
import uvicorn

from infra.api.app import create_app
from infra.clock import SystemClock
from infra.db.cluster import database_url
from infra.db.unit import PostgresStore
from infra.log import configure
from infra.settings import Settings

log = structlog.get_logger()

# Requests in flight get this long to end; the supervisor's own patience with a child is longer.
DRAIN_SECONDS = 3


class _Server(uvicorn.Server):
    """Uvicorn that leaves signals to us: its own way raises them again at the end, before anything can be closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for one in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(one, self.handle_exit, one, None)
        yield


async def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM; drain, then give the database its connections back.

    Starts without a database too: /ready says what is missing until it answers.
    """
    store = PostgresStore(database_url(settings))
    app = create_app(store, settings, SystemClock())
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
    log.info("gateway starts", host=settings.api_host, port=settings.api_port, mesh=settings.mesh)
    try:
        await server.serve()
    finally:
        await store.close()


def main() -> None:
    """Read the settings once and serve."""
    # A `_created` series beside every counter doubles the exposition and no rule of ours reads it.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library forgot its `-> None`
    configure()
    asyncio.run(serve(Settings()))


if __name__ == "__main__":
    main()
