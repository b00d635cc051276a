"""The first validation plan as one list of steps against an installation that runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

import httpx

from flows.installation import POOL
from infra.runfiles import recorded
from infra.scrape import places_of
from infra.settings import Settings
from infra.smoke import machine
from infra.smoke.caller import ANSWER_SECONDS, Caller
from infra.smoke.gateway import GatewaySteps
from infra.smoke.shop import Pay, ShopSteps
from infra.smoke.walk import Result, Skipped, Step, walk
from models.errors import ConfigurationInvalid
from models.payment import Asset
from tasks import smoke as kernel

LOOPBACKS = {"localhost", "127.0.0.1", "::1"}
# The faster chain first: it settles while the slower one is still waited for.
CURRENCIES = (Asset.TON, Asset.USDT_TRON)


@dataclass(frozen=True, slots=True)
class SmokeRequest:
    """Which installation is walked, and with what.

    Attributes:
        url: Of the gateway.
        token: Of scope operate; None: steps that need one are skipped.
        burst_token: Of scope pay, used for nothing else; None: the rate limit is not tried.
        prefect: Of Prefect's API; None: Prefect is not asked.
        prometheus: Of a Prometheus that scrapes the nodes; None: none is asked.
        pay: The lab's wallet; None: nothing is paid.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    burst_token: str | None = field(default=None, repr=False)
    prefect: str | None = None
    prometheus: str | None = None
    pay: Pay | None = None


def is_this_machine(url: str, settings: Settings) -> bool:
    """Tell whether a gateway listens on this machine: on its loopback, or where these settings say."""
    return urlsplit(url).hostname in LOOPBACKS | {settings.api_host}


def is_this_installation(url: str, settings: Settings) -> bool:
    """Tell whether a gateway is the one that `up` runs here with these settings."""
    run = settings.state / "run"
    return (
        is_this_machine(url, settings)
        and urlsplit(url).port == settings.api_port
        and run.is_dir()
        and any(one.name == "gateway" for one in recorded(run))
    )


def checked_address(option: str, url: str) -> str:
    """Return an address that can be asked.

    Raises:
        ConfigurationInvalid: it cannot be one, or holds a password, which would stand in sentences and in `ps`.
    """
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigurationInvalid(f"{option} is no address ({error})", "write it as http://HOST:PORT") from error
    if parts.userinfo:
        raise ConfigurationInvalid(
            f"{option} holds a user or a password", "leave it out; docs/smoke.md says what reads it"
        )
    if parts.scheme not in {"http", "https"} or not parts.host:
        raise ConfigurationInvalid(f"{option} {url} is no address", "write it as http://HOST:PORT")
    return url


async def smoke(
    asked: SmokeRequest, settings: Settings, *, begun: Callable[[Step], None], ended: Callable[[Result], None]
) -> tuple[Result, ...]:
    """Walk every step and return what each came to."""
    async with AsyncExitStack() as stack:

        async def client(url: str, auth: tuple[str, str] | None = None) -> httpx.AsyncClient:
            made = httpx.AsyncClient(base_url=url, timeout=ANSWER_SECONDS, trust_env=False, auth=auth)
            return await stack.enter_async_context(made)

        caller = Caller(await client(asked.url))
        prefect = machine.PrefectSteps(await client(asked.prefect, _prefect_auth())) if asked.prefect else None
        prometheus = await client(asked.prometheus) if asked.prometheus else None
        gateway = GatewaySteps(caller, asked.token)
        shop = ShopSteps(caller, asked.token, burst_token=asked.burst_token, pay=asked.pay)
        steps = [
            *_standing(gateway, has_token=asked.token is not None),
            *_machinery(asked.url, settings, prefect),
            *_counting(asked.url, settings, gateway, prometheus),
            *_buying(shop),
            *_thinking(gateway),
            # Last: the slower chain takes a minute.
            *(Step(f"settled {one}", partial(shop.settled, one), (f"pay {one}",)) for one in CURRENCIES),
        ]
        return await walk(steps, begun=begun, ended=ended)


def _prefect_auth() -> tuple[str, str] | None:
    user, colon, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    return (user, password) if colon else None


def _standing(gateway: GatewaySteps, *, has_token: bool) -> list[Step]:
    async def no_token() -> Skipped:
        return Skipped("no token: put one of scope operate (`x0tta6bl4 token create`) into a file for --token-file")

    return [
        Step("gateway", gateway.alive),
        Step("database", gateway.database, ("gateway",)),
        Step("watch", gateway.watch, ("database",)),
        Step("token", gateway.token if has_token else no_token, ("database",)),
    ]


def _machinery(url: str, settings: Settings, prefect: machine.PrefectSteps | None) -> list[Step]:
    is_ours = is_this_installation(url, settings)

    async def processes() -> str | Skipped:
        if not is_ours:
            return Skipped(f"{url} is no gateway that `up` started in {settings.state}")
        return machine.processes(settings.state / "run")

    async def not_asked() -> Skipped:
        return Skipped("its address is not known: give --prefect http://HOST:4200/api")

    return [
        Step("processes", processes),
        Step("prefect", prefect.well if prefect else not_asked),
        Step("workers", partial(prefect.workers, POOL) if prefect else not_asked, ("prefect",)),
    ]


def _counting(url: str, settings: Settings, gateway: GatewaySteps, prometheus: httpx.AsyncClient | None) -> list[Step]:
    elsewhere = Skipped("it is another machine's: run smoke there")

    async def checked() -> str | Skipped:
        return await kernel.kernel() if is_this_machine(url, settings) else elsewhere

    async def counted() -> str | Skipped:
        return await kernel.counts() if is_this_machine(url, settings) else elsewhere

    async def pages() -> str | Skipped:
        places = places_of(settings.state, settings.mesh) if is_this_machine(url, settings) else []
        if not places:
            return Skipped(f"no node of the mesh {settings.mesh} stands on this machine (in {settings.state})")
        if any(one.netns for one in places) and os.geteuid() != 0:
            return Skipped("needs root: the lab's nodes are in network namespaces")
        return await machine.node_pages(places, port=settings.node_metrics_port)

    async def stored() -> str | Skipped:
        if prometheus is None:
            return Skipped("no Prometheus named: give --prometheus http://HOST:9090")
        return await machine.in_prometheus(prometheus, settings.mesh)

    return [
        Step("kernel", checked),
        Step("program counts", counted, ("kernel",)),
        Step("nodes", gateway.nodes, ("token",)),
        Step("node pages", pages),
        Step("prometheus", stored),
    ]


def _buying(shop: ShopSteps) -> list[Step]:
    steps = []
    for one in CURRENCIES:
        steps += [
            Step(f"order {one}", partial(shop.order, one), ("token",)),
            Step(f"verify {one}", partial(shop.verify, one), (f"order {one}",)),
            Step(f"pay {one}", partial(shop.pay, one), (f"order {one}",)),
        ]
    return [*steps, Step("rate limit", shop.rate_limit, ("token",))]


def _thinking(gateway: GatewaySteps) -> list[Step]:
    return [
        Step("model", gateway.model, ("token",)),
        Step("anomaly", gateway.root_named, ("token",)),
        Step("calm", gateway.nobody_named, ("token",)),
        Step("dry-run heal", gateway.dry_heal, ("token",)),
        Step("incidents", gateway.incidents, ("token",)),
    ]
