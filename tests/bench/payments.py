"""Whether payments are fast: answers, provider calls, bookings, and the way from a block to its credit.

    x0tta6bl4 bench payments --json FILE [--quick]

Real Postgres, the real gateway and scan as processes, made-up chains over real HTTP. Exit 1 when a goal is missed.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from infra.clock import SystemClock
from infra.db.unit import PostgresStore
from infra.lab.chains.made import account
from infra.log import configure
from infra.settings import Settings
from models.errors import MeshError
from models.payment import Asset
from models.payment_address import Chain
from tests.bench import house
from tests.bench.payments_gateway import Answers, ask, counter, harm, spread
from tests.bench.payments_world import (
    FLOOR_S,
    MAIN,
    NAIVE_EVERY_S,
    Batch,
    Scanned,
    book_all,
    open_orders,
    scan_for,
    work_off,
)
from tests.bench.report import Row, Run, show

RATE = 20.0  # questions a second: 1,200 customers who each ask once a minute
HANG_S = 12.0  # past the freshness of the last scan (5 s) and a provider's deadline (4 s)
VERIFY_P99_MS, HANG_MAX_MS = 300.0, 4500.0
DISCOVERY_A_SECOND, PROOFS_A_TRANSFER, CREDITS_A_SECOND = 0.9, 1.0, 1000.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done.

    Attributes:
        orders: Open ones, of the gateway's part and of the scan's.
        ask_s: How long callers ask with providers healthy.
        scan_s: How long one order a second is paid, by the chain's time.
        credits: Booked in each of the two ways.
    """

    orders: int
    ask_s: float
    scan_s: int
    credits: int


WHOLE = Size(orders=10_000, ask_s=45, scan_s=330, credits=10_000)
QUICK = Size(orders=1_000, ask_s=8, scan_s=90, credits=1_000)


def verify_rows(healthy: Answers, hanging: Answers, *, rate: float) -> tuple[Row, ...]:
    """Return how fast the gateway answers. What was not answered as documented counts as unanswered."""
    case = f"verify, {rate:g}/s"
    answered = sum(healthy.statuses.get(one, 0) for one in (200, 202)) == len(healthy.waits_s)
    told = sum(hanging.statuses.get(one, 0) for one in (200, 202, 503)) == len(hanging.waits_s)

    def row(metric: str, answers: Answers, share: float, goal: float | None, *, is_whole: bool) -> Row:
        value = spread(answers.waits_s, share) * 1000 if is_whole else None
        return Row(case=case, metric=metric, unit="ms", value=value, n=len(answers.waits_s), goal=goal)

    return (
        row("verify_ms_p50", healthy, 0.5, None, is_whole=answered),
        row("verify_ms_p99", healthy, 0.99, VERIFY_P99_MS, is_whole=answered),
        row("verify_hang_ms_max", hanging, 1, HANG_MAX_MS, is_whole=told),
    )


def scan_rows(chain: Chain, scanned: Scanned, *, orders: int) -> tuple[Row, ...]:
    """Return what the scan costs and how soon money counts. A payment that never counted leaves no figure."""
    case = f"{chain}, {orders} open orders, one payment a second"
    calls, paid = scanned.calls, scanned.payments
    discovery = (calls["discovery"] + calls["head"]) / scanned.seconds
    proofs = scanned.proofs / paid
    peers = {"naive": scanned.naive_calls / NAIVE_EVERY_S} if scanned.naive_calls else {}
    is_whole = len(scanned.waits_s) == paid
    return (
        Row(
            case=case,
            metric="provider_calls_per_s",
            unit="1/s",
            value=sum(calls.values()) / scanned.seconds,
            n=sum(calls.values()),
            peers=peers,
            goal=DISCOVERY_A_SECOND + PROOFS_A_TRANSFER,
        ),
        Row(
            case=case,
            metric="discovery_calls_per_s",
            unit="1/s",
            value=discovery,
            n=calls["discovery"] + calls["head"],
            goal=DISCOVERY_A_SECOND,
        ),
        Row(
            case=case,
            metric="proof_calls_per_transfer",
            unit="calls",
            value=proofs,
            n=paid,
            goal=PROOFS_A_TRANSFER,
        ),
        Row(
            case=case,
            metric="block_to_credit_p95",
            unit="s",
            value=spread(scanned.waits_s, 0.95) if is_whole else None,
            n=len(scanned.waits_s),
            peers={"finality": FLOOR_S[chain]},
        ),
        Row(case=case, metric="tick_s_p95", unit="s", value=spread(scanned.ticks_s, 0.95), n=len(scanned.ticks_s)),
    )


def credit_rows(credits_: int, *, booked_s: float, whole_s: float) -> tuple[Row, ...]:
    """Return how many payments a second are counted."""

    def row(case: str, seconds: float, goal: float | None) -> Row:
        return Row(
            case=case, metric="credits_per_s", unit="1/s", value=credits_ / seconds, n=credits_, goal=goal,
            better="higher",
        )  # fmt: skip

    return (row("booking", booked_s, CREDITS_A_SECOND), row("whole ticks over a backlog", whole_s, None))


def main(
    *,
    json: Annotated[Path, typer.Option(help="The report.")],
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of it: does it all work?")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of when callers ask.")] = 1,
    state: Annotated[Path | None, typer.Option(help="State folder to use and keep; none: a temporary one.")] = None,
) -> None:
    """Measure how fast payments are."""
    configure(least=logging.WARNING)
    raise typer.Exit(house.run(_bench(json, QUICK if quick else WHOLE, seed=seed, state=state)))


async def _bench(path: Path, size: Size, *, seed: int, state: Path | None) -> int:
    run = Run.begin("payments", seed=seed)
    console = Console(soft_wrap=True)
    async with house.housed(state) as (settings, url):
        console.print(f"verify: {size.orders} open orders, {RATE:g} questions a second")
        healthy, hanging = await _asked(settings, url, size, np.random.default_rng(seed))
        rows = [*verify_rows(healthy, hanging, rate=RATE)]
        store = PostgresStore(url)
        try:
            for chain in Chain:
                console.print(f"scan: {chain}, {size.scan_s} s of payments")
                orders = _batch(chain, "scan", size.orders)
                await open_orders(url, orders)
                rows += scan_rows(chain, await scan_for(orders, store, size.scan_s), orders=size.orders)
            console.print(f"credits: {size.credits}, twice")
            booked, backlog = (_batch(Chain.TRON, name, size.credits) for name in ("book", "backlog"))
            for batch in (booked, backlog):
                await open_orders(url, batch)
            rows += credit_rows(
                size.credits, booked_s=await book_all(booked, store), whole_s=await work_off(backlog, store)
            )
        finally:
            await store.close()
    report = run.report(rows, (*_told("healthy", healthy), *_told("hanging", hanging), _load()))
    report.write(path)
    show(report, console)
    return 0 if report.is_met else 1


async def _asked(settings: Settings, url: str, size: Size, rng: np.random.Generator) -> tuple[Answers, Answers]:
    async with counter(settings, url, orders=size.orders) as here:
        healthy = await ask(here, rate=RATE, seconds=size.ask_s, rng=rng)
        await harm(here, "hang")
        hanging = await ask(here, rate=RATE, seconds=HANG_S, rng=rng)
        await harm(here, None)
    return healthy, hanging


def _batch(chain: Chain, name: str, count: int) -> Batch:
    asset: Asset = MAIN[chain]
    return Batch(
        f"{name}-{chain}-", asset, account(chain, f"bench {name}"), count, SystemClock().now().replace(microsecond=0)
    )


def _told(what: str, answers: Answers) -> Sequence[str]:
    counts = ", ".join(f"{count} x {status or 'none'}" for status, count in sorted(answers.statuses.items()))
    return (f"verify, providers {what}: {counts}; slowest {max(answers.waits_s) * 1000:.0f} ms",)


def _load() -> str:
    return f"load average at the end {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores"


if __name__ == "__main__":
    try:
        typer.run(main)
    except MeshError as error:
        sys.stderr.write(f"x0tta6bl4 bench payments: {error}\n")
        sys.exit(2)
