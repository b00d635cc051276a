"""The real gateway and the real scan as processes over made-up chains, and callers who ask whether they are paid."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from flows.commands import access
from infra.clock import SystemClock
from infra.db.unit import PostgresStore
from infra.lab.chains.living import prepare, read_facts
from infra.settings import Settings
from models.errors import SourceUnavailable
from models.payment import Asset, OrderId, OrderState, Provider
from models.payment_address import Chain, parse_address
from models.ports import Scope
from tests.bench.payments_world import Batch, open_orders
from tests.bench.report import ROOT

START_S = 90.0  # Prefect's import on a machine with other work
STOP_S = 20.0
PAID = 40  # orders on TON that are settled before the callers come: every second question is about one of them
SETTLE_S = 60.0
LOOK_S = 0.2
CALLERS_A_MINUTE = "1000000"  # what is measured is the answer, not the refusal
LONGEST_S = 30.0


@dataclass(frozen=True, slots=True)
class Counter:
    """A running gateway, with orders to ask about.

    Attributes:
        url: Where it answers.
        token: Of scope operate, that may ask about all.
        chains: Where the made-up chains are.
        open: Orders in USDT that nobody pays.
        paid: Orders in TON that are settled.
    """

    url: str
    token: str
    chains: str
    open: Batch
    paid: Batch


@dataclass(slots=True)
class Answers:
    """What callers heard.

    Attributes:
        waits_s: How long each answer took from the moment it was due to be asked, waiting for a free caller included.
        statuses: How often each came; 0: no answer.
    """

    waits_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    def note(self, status: int, wait_s: float) -> None:
        """Keep one."""
        self.waits_s.append(wait_s)
        self.statuses[status] = self.statuses.get(status, 0) + 1


@asynccontextmanager
async def counter(settings: Settings, url: str, *, orders: int) -> AsyncIterator[Counter]:
    """Run chains, scan and gateway for the body's time, with open orders and a few that are settled by then.

    Raises:
        SourceUnavailable: one of them did not come up, or nothing settles.
    """
    clock = SystemClock()
    api, tron, ton = _free_port(), _free_port(), _free_port()
    lab = prepare(settings.state, clock)
    environment = {
        **os.environ,
        **lab,
        "PYTHONPATH": str(ROOT),
        "X0_STATE": str(settings.state),
        "DATABASE_URL": url,
        "X0_API_PORT": str(api),
        "X0_TRON_METRICS_PORT": str(tron),
        "X0_TON_METRICS_PORT": str(ton),
        "X0_SHOP_CALLS_PER_MINUTE": CALLERS_A_MINUTE,
    }
    facts = read_facts(settings.state)
    made_at = clock.now()
    tron_deposit, ton_deposit = (parse_address(lab[f"X0_DEPOSIT_{one.name}"], one) for one in Chain)
    opened = Batch("verify-", Asset.USDT_TRON, tron_deposit, orders, made_at)
    paid = Batch("paid-", Asset.TON, ton_deposit, PAID, made_at)
    for batch in (opened, paid):
        await open_orders(url, batch)
    store = PostgresStore(url)
    try:
        token = await access.make("bench", Scope.OPERATE, store=store)
        async with AsyncExitStack() as running, httpx.AsyncClient(trust_env=False) as client:
            here_url = f"http://127.0.0.1:{api}"
            for module, answers in (
                ("infra.lab.chains", f"{facts.url}/{Provider.TRONSCAN}/api/block"),
                ("infra.api", f"{here_url}/health"),
                ("tests.bench.workers.scan", None),
            ):
                process = await running.enter_async_context(_process(module, environment, settings.state))
                if answers is not None:
                    await _answers(client, answers, process)
            here = Counter(here_url, token, facts.url, opened, paid)
            await _settle(here, store, client)
            yield here
    finally:
        await store.close()


async def ask(here: Counter, *, rate: float, seconds: float, rng: np.random.Generator) -> Answers:
    """Ask at random moments, that many times a second, whoever still waits: every second time about a paid order."""
    heard = Answers()
    due = np.cumsum(rng.exponential(1 / rate, size=int(rate * seconds)))
    headers = {"Authorization": f"Bearer {here.token}"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(
        base_url=here.url, headers=headers, trust_env=False, limits=limits, timeout=LONGEST_S
    ) as client:
        began = time.perf_counter()

        async def one(number: int, at_s: float) -> None:
            await asyncio.sleep(began + at_s - time.perf_counter())
            batch = here.paid if number % 2 else here.open
            order = number % batch.count
            wish = {
                "order_id": batch.id_of(order),
                "amount": batch.units_of(order),
                "currency": batch.asset.value,
            }
            try:
                status = (await client.post("/api/payment/verify", json=wish)).status_code
            except httpx.HTTPError:
                status = 0
            heard.note(status, time.perf_counter() - began - at_s)

        await asyncio.gather(*(one(number, float(at_s)) for number, at_s in enumerate(due)))
    return heard


async def harm(here: Counter, fault: str | None) -> None:
    """Let all four providers fail in one way, or be well again."""
    async with httpx.AsyncClient(trust_env=False) as client:
        for provider in Provider:
            wish = {"provider": provider.value, "fault": fault}
            (await client.post(f"{here.chains}/lab/trouble", json=wish)).raise_for_status()


async def _settle(here: Counter, store: PostgresStore, client: httpx.AsyncClient) -> None:
    """Pay the orders that are to be settled, and wait until they are."""
    for number in range(here.paid.count):
        wish = {"chain": "ton", "to": str(here.paid.deposit), "units": here.paid.units_of(number)}
        (await client.post(f"{here.chains}/lab/pay", json=wish)).raise_for_status()
    ids = [OrderId(here.paid.id_of(number)) for number in range(here.paid.count)]
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        async with store.unit() as uow:
            sales = await uow.ledger.sales(ids)
            read = await uow.ledger.reach(Provider.TRONSCAN, here.open.deposit)
        if read is not None and all(one.order.state is OrderState.SETTLED for one in sales):
            return
        await asyncio.sleep(LOOK_S)
    raise SourceUnavailable("the scan", f"{here.paid.count} payments did not settle in {SETTLE_S:g} s")


@asynccontextmanager
async def _process(
    module: str, environment: Mapping[str, str], folder: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module as a process for the body's time."""
    with (folder / f"{module}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            # Tied to our life: a killed benchmark leaves no gateway behind.
            *("setpriv", "--pdeathsig", "TERM", "--", sys.executable, "-m", module),
            env=environment,
            stdout=log,
            stderr=log,
            process_group=0,
        )
    try:
        yield process
        if process.returncode is not None:
            raise SourceUnavailable(module, f"it ended early with code {process.returncode}")
    finally:
        await asyncio.shield(_ended(process))


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _answers(client: httpx.AsyncClient, url: str, process: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + START_S
    while process.returncode is None and time.monotonic() < deadline:
        try:
            if (await client.get(url)).is_success:
                return
        except httpx.TransportError:
            await asyncio.sleep(LOOK_S)
    raise SourceUnavailable(url, f"no answer in {START_S:g} s; its log is in the folder that `--state` keeps")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def spread(answers: Sequence[float], share: float) -> float:
    """Return the wait below which that share of answers came; the slowest of them for 1."""
    return float(np.quantile(np.asarray(answers), share, method="higher"))
