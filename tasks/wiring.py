"""The one composition root: which adapter stands behind which port, built once a process from the settings.

`using(fakes)` puts others in their place for a test or a trial; it holds for the calling context only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache

from infra.clock import SystemClock
from infra.log import configure
from infra.settings import Settings
from models.errors import ConfigurationInvalid
from models.ports import Clock, Signer, Store
from models.remedy import Limits
from tasks.observer import Observer


@dataclass(slots=True)
class Adapters:
    """Everything a stage may touch.

    Attributes:
        settings: As read once.
        clock: The one clock.
        store: Postgres.
        database: Its address, for the connection that holds a role's lock.
        signer: The control key; None on a process that may not act.
        limits: Guardrails.
        epoch: The watch run's fencing token in the process that watches; None elsewhere (the stored one is used).
    """

    settings: Settings
    clock: Clock
    store: Store
    database: str
    signer: Signer | None
    limits: Limits
    epoch: int | None = None
    _observers: dict[str, Observer] = field(default_factory=dict)

    async def observer(self, mesh: str) -> Observer:
        """Return the observer of that mesh, made at the first call.

        Raises:
            ConfigurationInvalid: no such mesh was declared.
        """
        if mesh not in self._observers:
            async with self.store.unit() as uow:
                declared = await uow.meshes.load(mesh)
            if declared is None:
                raise ConfigurationInvalid(f"no mesh named {mesh} was declared", "bring one up with `x0tta6bl4 up`")
            self._observers[mesh] = Observer(self.store, declared)
        return self._observers[mesh]


_override: ContextVar[Adapters | None] = ContextVar("adapters", default=None)


def limits_of(settings: Settings) -> Limits:
    """Build the guardrails an installation asked for."""
    return Limits(
        lease=timedelta(seconds=settings.lease_seconds),
        clean_before_restore=timedelta(seconds=settings.clean_seconds_before_restore),
    )


@cache
def _production() -> Adapters:
    from infra.db.cluster import database_url  # noqa: PLC0415 - a test under `using` needs no database driver
    from infra.db.unit import PostgresStore  # noqa: PLC0415 - as above
    from infra.node.signing import Ed25519Signer, load_private_key  # noqa: PLC0415 - as above

    configure()
    settings = Settings()
    database = database_url(settings)
    key = settings.state / "control.key"
    return Adapters(
        settings=settings,
        clock=SystemClock(),
        store=PostgresStore(database),
        database=database,
        signer=Ed25519Signer(load_private_key(key)) if key.exists() else None,
        limits=limits_of(settings),
    )


def adapters() -> Adapters:
    """Return this context's adapters; production's are built at the first call."""
    return _override.get() or _production()


@contextmanager
def using(replacement: Adapters) -> Iterator[Adapters]:
    """Put other adapters in place for the calling context."""
    token = _override.set(replacement)
    try:
        yield replacement
    finally:
        _override.reset(token)


def pace_of_watch() -> timedelta:
    """Return the period of the watch."""
    return timedelta(seconds=adapters().settings.tick_seconds)


def sign_with(epoch: int) -> None:
    """Let this process's orders carry the epoch of the role it holds."""
    adapters().epoch = epoch
