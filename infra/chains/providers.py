"""The four providers of an installation, built from settings and closed together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from aiolimiter import AsyncLimiter

from infra.chains.breaker import Breaker
from infra.chains.door import Door, DoorKey
from infra.chains.settings import ChainSettings
from infra.chains.tonapi import TonApi
from infra.chains.toncenter import TonCenter
from infra.chains.trongrid import TronGrid
from infra.chains.tronscan import TronScan
from models.payment import Provider
from models.payment_ports import ChainProvider, JettonFeed
from models.ports import Clock

CONNECT_S = 2.0
"""Half of a provider's deadline, so that a second try fits in."""

CONNECTIONS = 16
"""Four per provider; the budgets of calls keep it below that."""


@dataclass(frozen=True, slots=True)
class ChainProviders:
    """What `open_providers` gives.

    Attributes:
        all: Each provider by name.
        jettons: Who tells USDT on TON.
    """

    all: Mapping[Provider, ChainProvider]
    jettons: JettonFeed


@asynccontextmanager
async def open_providers(
    settings: ChainSettings, clock: Clock, *, now_s: Callable[[], float] | None = None
) -> AsyncIterator[ChainProviders]:
    """Open the four providers; they belong to the running event loop and end with the block.

    Proxies and netrc of the environment are not used: a key must only ever reach the host that the settings name.

    Args:
        settings: Where they are, their keys and budgets.
        clock: The one clock.
        now_s: What breakers rest by, monotonic seconds; None: the event loop's clock.
    """
    rests_by = now_s or asyncio.get_running_loop().time
    timeout = httpx.Timeout(settings.provider_deadline_seconds, connect=CONNECT_S)
    async with httpx.AsyncClient(
        follow_redirects=False, trust_env=False, timeout=timeout, limits=httpx.Limits(max_connections=CONNECTIONS)
    ) as client:
        doors = {provider: _door(provider, settings, client, clock, rests_by) for provider in Provider}
        tonapi = TonApi(doors[Provider.TONAPI], clock)
        yield ChainProviders(
            all={
                Provider.TRONSCAN: TronScan(doors[Provider.TRONSCAN], clock),
                Provider.TRONGRID: TronGrid(doors[Provider.TRONGRID], clock),
                Provider.TONAPI: tonapi,
                Provider.TONCENTER: TonCenter(doors[Provider.TONCENTER], clock),
            },
            jettons=tonapi,
        )


def _door(
    provider: Provider, settings: ChainSettings, client: httpx.AsyncClient, clock: Clock, now_s: Callable[[], float]
) -> Door:
    url, key, calls_per_s = _facts(provider, settings)
    return Door(
        provider=provider,
        client=client,
        url=url.rstrip("/"),
        key=key,
        # Below one call a second the period grows instead; a second is what the providers themselves count in.
        budget=AsyncLimiter(max(1.0, calls_per_s), max(1.0, 1 / calls_per_s)),
        breaker=Breaker(provider, now_s),
        clock=clock,
        deadline_s=settings.provider_deadline_seconds,
        most_bytes=settings.provider_body_bytes,
    )


def _facts(provider: Provider, settings: ChainSettings) -> tuple[str, DoorKey, float]:
    """Return where a provider is, how it wants its key, and the calls a second its plan allows."""
    match provider:
        case Provider.TRONSCAN:
            key = DoorKey("TRON-PRO-API-KEY", "", "TRONSCAN_API_KEY", settings.tronscan_key)
            return settings.tronscan_url, key, settings.tronscan_calls_per_second or (5.0 if key.secret else 1.0)
        case Provider.TRONGRID:
            key = DoorKey("TRON-PRO-API-KEY", "", "TRONGRID_API_KEY", settings.trongrid_key)
            return settings.trongrid_url, key, settings.trongrid_calls_per_second or (10.0 if key.secret else 1.0)
        case Provider.TONAPI:
            key = DoorKey("Authorization", "Bearer ", "TON_API_KEY", settings.tonapi_key)
            return settings.tonapi_url, key, settings.tonapi_calls_per_second or (1.0 if key.secret else 0.25)
        case Provider.TONCENTER:
            key = DoorKey("X-API-Key", "", "TONCENTER_API_KEY", settings.toncenter_key)
            return settings.toncenter_url, key, settings.toncenter_calls_per_second or (10.0 if key.secret else 1.0)
