"""The one composition root: which adapter stands behind which port, built once a process from the settings.

`using(fakes)` puts others in their place for a test or a trial; it holds for the calling context only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from infra.clock import SystemClock
from infra.log import configure
from infra.settings import Settings
from models.diagnosing import ON_THE_LAB, Engine, Measured
from models.errors import ConfigurationInvalid
from models.incident import FaultKind
from models.meshsnapshot import MeshWindow
from models.payment_address import Address, Chain
from models.payment_policy import PaymentPolicy
from models.ports import Clock, Signer, Store
from models.remedy import Limits

if TYPE_CHECKING:  # a node's collector has no use for what payments and the watch import
    from infra.chains.providers import ChainProviders
    from infra.telemetry_prometheus import PrometheusSamples
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
        chains: The chains' providers, opened in this event loop; None: whoever scans opens the installation's own.
        deposits: Our addresses on each chain, a chain without one is not scanned; None: as the shop's settings say.
        policy: The rules of payment that are a choice; None: as the shop's settings say.
        engine: Ranks elements beside the rules; None: the rules alone.
        measured: Where it was measured better than they, and so decides.
        epoch: The watch run's fencing token in the process that watches; None elsewhere (the stored one is used).
        storing: The turn that collectors of this process take to store samples.
    """

    settings: Settings
    clock: Clock
    store: Store
    database: str
    signer: Signer | None
    limits: Limits
    chains: ChainProviders | None = None
    deposits: Mapping[Chain, tuple[Address, ...]] | None = None
    policy: PaymentPolicy | None = None
    engine: Engine | None = None
    measured: Mapping[FaultKind, Measured] = field(default_factory=lambda: ON_THE_LAB)
    epoch: int | None = None
    storing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _observers: dict[str, Observer] = field(default_factory=dict)

    async def observer(self, mesh: str) -> Observer:
        """Return the observer of that mesh, made at the first call.

        Raises:
            ConfigurationInvalid: no such mesh was declared, or the settings name no source of samples.
        """
        from tasks.observer import Observer  # noqa: PLC0415 - 20 MB of graphs that only the process that watches needs

        if mesh not in self._observers:
            async with self.store.unit() as uow:
                declared = await uow.meshes.load(mesh)
            if declared is None:
                raise ConfigurationInvalid(f"no mesh named {mesh} was declared", "bring one up with `x0tta6bl4 up`")
            window = None if self.engine is None else MeshWindow(declared)
            self._observers[mesh] = Observer(self.store, declared, window=window, samples=samples_of(self.settings))
        return self._observers[mesh]


_override: ContextVar[Adapters | None] = ContextVar("adapters", default=None)


def limits_of(settings: Settings) -> Limits:
    """Build the guardrails an installation asked for."""
    return Limits(
        lease=timedelta(seconds=settings.lease_seconds),
        clean_before_restore=timedelta(seconds=settings.clean_seconds_before_restore),
    )


def samples_of(settings: Settings) -> PrometheusSamples | None:
    """Return where the watch reads samples, None for the store.

    Raises:
        ConfigurationInvalid: the setting names no source.
    """
    source, _, address = settings.telemetry.partition(":")
    if source == "prometheus":
        from infra.telemetry_prometheus import PrometheusSamples  # noqa: PLC0415 - only where samples come from there

        return PrometheusSamples(address)
    if settings.telemetry != "postgres":
        raise ConfigurationInvalid("X0_TELEMETRY names no source", "write postgres, or prometheus:http://HOST:PORT")
    return None


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


@cache
def _shop() -> tuple[Mapping[Chain, tuple[Address, ...]], PaymentPolicy]:
    """Read the shop's settings where they are needed only: a mistake in them must not stop healing."""
    from infra.shop.settings import ShopSettings, catalogue_of, policy_of  # noqa: PLC0415 - as above

    settings = ShopSettings()
    deposits = {chain: (address,) for chain, address in catalogue_of(settings).deposits.items()}
    return deposits, policy_of(settings)


def deposits(chain: Chain) -> tuple[Address, ...]:
    """Return our addresses on a chain; none when nothing is sold for what lives there.

    Raises:
        ConfigurationInvalid: the shop's settings cannot be used.
    """
    given = adapters().deposits
    return (_shop()[0] if given is None else given).get(chain, ())


def payment_policy() -> PaymentPolicy:
    """Return the rules of payment that are a choice.

    Raises:
        ConfigurationInvalid: the shop's settings cannot be used.
    """
    return adapters().policy or _shop()[1]


def pace_of_watch() -> timedelta:
    """Return the period of the watch."""
    return timedelta(seconds=adapters().settings.tick_seconds)


def sign_with(epoch: int) -> None:
    """Let this process's orders carry the epoch of the role it holds."""
    adapters().epoch = epoch
