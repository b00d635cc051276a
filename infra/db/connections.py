"""How we connect: one set of manners for the pool, for the listener and for the holder of a role."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from models.errors import ConfigurationInvalid

APPLICATION = "x0tta6bl4"
# A connection on this machine takes 5 ms, across a site 100 ms; after this long nobody is there.
CONNECT_SECONDS = 5.0
# A unit of work takes milliseconds. Whoever waits this long for a row is behind a stuck process, and whoever holds
# one this long is it: the server ends that transaction, so that a stopped collector cannot stop the others.
LOCK_MS = 5_000
IDLE_IN_TRANSACTION_MS = 10_000
STATEMENT_MS = 15_000
DRIVER = "postgresql+asyncpg"
MALFORMED = "DATABASE_URL is not a database's address"
ADDRESS = f"write {DRIVER}://USER:PASSWORD@HOST:PORT/DATABASE, with special characters of the password as %XX"
# A gateway under load needs all of them, a watch run a handful; six nodes' processes together stay below 200. Nothing
# overflows: what does is opened and closed for each unit of work, some 30 times a second with 50 callers.
POOL_SIZE = 15
POOL_OVERFLOW = 0
POOL_WAIT_SECONDS = 5.0


def server_settings() -> dict[str, str]:
    """Return what every connection asks of the server."""
    return {
        "application_name": APPLICATION,
        "lock_timeout": str(LOCK_MS),
        "statement_timeout": str(STATEMENT_MS),
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
        # A compiled plan costs more than our statements take.
        "jit": "off",
        # Every question of ours has an index, and a kept plan outlives the small table that it was made for: ADR 0024.
        "enable_seqscan": "off",
        # Over TCP a vanished client gives back its locks after 5 + 3 x 2 s; unix sockets tell at once.
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_interval": "2",
        "tcp_keepalives_count": "3",
    }


def parsed(url: str) -> URL:
    """Read a database's address.

    Raises:
        ConfigurationInvalid: it is none, or not for the driver we use; the sentence quotes nothing of it, for it may
            hold a password.
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        # Not chained: their words quote the address.
        raise ConfigurationInvalid(MALFORMED, ADDRESS) from None
    if address.drivername != DRIVER:
        raise ConfigurationInvalid(f"DATABASE_URL is for {address.drivername}", ADDRESS)
    return address


def pooled_engine(url: str) -> AsyncEngine:
    """Return an engine with a pool; nothing is connected yet. It belongs to the event loop that uses it first."""
    engine = create_async_engine(
        parsed(url),
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=POOL_WAIT_SECONDS,
        connect_args=_manners(),
        # Documents are written and read as JSON text by their own column type.
        json_serializer=str,
        json_deserializer=str,
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def single_engine(url: str) -> AsyncEngine:
    """Return an engine without a pool: each `connect` is a connection of its own, closed when given back.

    For migrations and roles; it cannot carry documents.
    """
    return create_async_engine(parsed(url), poolclass=NullPool, connect_args=_manners())


def listener_arguments(url: str) -> dict[str, Any]:
    """Return asyncpg's own arguments for the same address."""
    address = parsed(url)
    # A parameter given twice (hosts of a cluster) comes as a tuple, which asyncpg takes as a list.
    asked = {name: list(value) if isinstance(value, tuple) else value for name, value in address.query.items()}
    arguments = {
        "host": address.host,
        "port": address.port,
        "user": address.username,
        "password": address.password,
        "database": address.database,
    }
    arguments = {name: value for name, value in arguments.items() if value is not None}
    return {**arguments, **asked, **_manners()}


def _manners() -> dict[str, Any]:
    return {"timeout": CONNECT_SECONDS, "server_settings": server_settings()}


def _refuse_closed(
    connection: DBAPIConnection,
    record: ConnectionPoolEntry,  # noqa: ARG001 - SQLAlchemy's signature
    proxy: object,  # noqa: ARG001 - as above
) -> None:
    """Let the pool replace a connection whose server went away, without asking the server each time."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError
