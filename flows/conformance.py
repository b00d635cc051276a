"""Run a payment case: real scanning, shop and verifier over real HTTP, with a clock that only the case moves."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from flows.conformance_outcome import Facts, differences
from infra.chains.providers import open_providers
from infra.lab.casefile import (
    CancelStep,
    Case,
    CheckStep,
    ClaimStep,
    DecideStep,
    MovePart,
    OrderStep,
    Outcome,
    PayStep,
    PolicyPart,
    ProviderStep,
    ReadStep,
    Step,
    duration,
)
from infra.lab.chains.made import account
from infra.lab.chains.server import StandIn, serving
from infra.lab.chains.together import Together, contract_named
from infra.lab.chains.ton_world import Receipt
from infra.lab.chains.trouble import telling, trouble
from infra.metrics_payments import ScanMetrics
from infra.settings import Settings
from infra.shop.shop import Shop
from infra.shop.verifier import PaymentVerifier
from models.errors import ConfigurationInvalid, MeshError, PaymentInvalid, RefusedError
from models.ledger import BuyerId, Plan, Sale
from models.payment import Asset, Money, parse_asset
from models.payment_address import Address, Chain, parse_address, parse_deposit_address, parse_tx_hash
from models.payment_policy import PaymentPolicy
from models.payment_rules import USDT_TRON_CONTRACT
from models.ports import Store
from models.remedy import Limits
from models.shop import Catalogue
from tasks.payments import Scanner
from tasks.wiring import Adapters, using

SEED = 20261122
"""Of names and tails; a case that fails fails again."""

LOOKS = 2
"""Scans while time goes by: one that sees, and one that finds what it saw final and has it proved."""

TICK = timedelta(seconds=3)
"""Between scans of a `scan` step: TRON's tick."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a case ended.

    Attributes:
        case: Which.
        problems: What was not as expected, a sentence each; empty: it passed.
        seconds: How long it took.
        calls: How often providers were asked.
    """

    case: Case
    problems: tuple[str, ...]
    seconds: float
    calls: int

    @property
    def passed(self) -> bool:
        """Tell whether all was as expected."""
        return not self.problems


@dataclass(slots=True)
class _World:
    """What a case may restart: the providers' adapters, the scanners, and a connection to the database."""

    adapters: Adapters
    scanners: dict[Chain, Scanner]
    shop: Shop
    verifier: PaymentVerifier
    opened: AsyncExitStack


@dataclass(slots=True)
class CaseRun:
    """One case while it runs.

    Attributes:
        case: What to do.
        chains: What it is done on.
        open_store: Opens the case's own database; called again when everything restarts.
    """

    case: Case
    chains: Together
    open_store: Callable[[], Store]
    metrics: ScanMetrics = field(default_factory=ScanMetrics)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED))
    sales: dict[str, Sale] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _world: _World | None = None

    # --- the world

    @property
    def world(self) -> _World:
        """Return what stands now."""
        if self._world is None:
            raise ConfigurationInvalid("the case does not run", "call `run`")
        return self._world

    async def run(self) -> tuple[str, ...]:
        """Do all steps and compare; return what was not as expected."""
        await self._open()
        try:
            for place, step in enumerate(self.case.steps):
                await self._guarded(f"step {place + 1} ({step.verb})", step)
            await self._compare("at the end", _strict(self.case.expect))
        finally:
            await self._close()
        return tuple(self.problems)

    async def _open(self) -> None:
        opened = AsyncExitStack()
        settings = self.chains.stand_in.settings(deadline_s=self.case.provider_deadline.total_seconds())
        chains = await opened.enter_async_context(
            open_providers(settings, self.chains, now_s=lambda: self.chains.now().timestamp())
        )
        store = self.open_store()
        opened.push_async_callback(store.close)
        policy = policy_of(self.case.policy)
        ours = {chain: (account(chain, "ours"), account(chain, "ours-2")) for chain in Chain}
        shown = self._watched(ours)
        adapters = Adapters(
            settings=Settings(),
            clock=self.chains,
            store=store,
            database="",
            signer=None,
            limits=Limits(),
            chains=chains,
            deposits=shown,
            policy=policy,
        )
        catalogue = Catalogue(plans_of(self.case), {chain: both[0] for chain, both in ours.items()})
        shop = Shop(store, self.chains, policy, catalogue, draw=lambda below: int(self.rng.integers(below)))
        scanners = {chain: Scanner.of(chain, chains, self.metrics) for chain in self._chains()}
        verifier = PaymentVerifier(store, self.chains, policy, shop)
        self._world = _World(adapters, scanners, shop, verifier, opened)

    async def _close(self) -> None:
        if self._world is not None:
            await self._world.opened.aclose()
            self._world = None

    def _chains(self) -> list[Chain]:
        """Return the chains that the case is about; scanning the others would only cost time."""
        orders = {step.order.asset.chain for step in _flat(self.case.steps) if step.order is not None}
        paid = {step.pay.asset.chain for step in _flat(self.case.steps) if step.pay is not None and step.pay.asset}
        return sorted(orders | paid)

    def _watched(self, ours: Mapping[Chain, tuple[Address, Address]]) -> dict[Chain, tuple[Address, ...]]:
        both = any(step.pay is not None and step.pay.to == "ours-2" for step in _flat(self.case.steps))
        return {chain: pair if both else pair[:1] for chain, pair in ours.items()}

    # --- steps

    async def _guarded(self, where: str, step: Step) -> None:
        try:
            await self._do(step)
        except MeshError as error:
            self.problems.append(f"{where}: {error}")

    async def _do(self, step: Step) -> None:  # noqa: C901, PLR0912 - one line a verb; a table would hide their types
        match step.verb:
            case "order" if step.order is not None:
                await self._order(step.order)
            case "pay" if step.pay is not None:
                self._pay(step.pay)
            case "wait" if step.wait is not None:
                await self._wait(step.wait)
            case "unseen" if step.unseen is not None:
                self.chains.go_by(step.unseen)
            case "until" if step.until is not None:
                await self._wait(self.moment(step.until) - self.chains.now())
            case "until_unseen" if step.until_unseen is not None:
                self.chains.go_by(self.moment(step.until_unseen) - self.chains.now())
            case "scan" if step.scan is not None:
                await self._scan_often(step.scan)
            case "claim" if step.claim is not None:
                await self._claim(step.claim)
            case "check" if step.check is not None:
                await self._check(step.check)
            case "decide" if step.decide is not None:
                await self._decide(step.decide)
            case "cancel" if step.cancel is not None:
                await self._cancel(step.cancel)
            case "provider" if step.provider is not None:
                self._trouble(step.provider)
            case "mend":
                self._mend(step)
            case "show" if step.show is not None:
                self.chains.show(step.show)
            case "vanish" if step.vanish is not None:
                self.chains.vanish(step.vanish)
            case "mine_again" if step.mine_again is not None:
                self.chains.mine_again(step.mine_again)
            case "restart":
                await self._close()
                await self._open()
            case "read" if step.read is not None:
                self._read(step.read)
            case "at_once" if step.at_once is not None:
                await asyncio.gather(*(self._guarded(f"at once ({one.verb})", one) for one in step.at_once))
            case "expect" if step.expect is not None:
                await self._compare("half way", step.expect)
        self.chains.level()

    async def _order(self, step: OrderStep) -> None:
        await self._refusable(
            step.refused,
            f"the order {step.name}",
            lambda: self._place(step),
        )

    async def _place(self, step: OrderStep) -> None:
        plan = _plan_name(step.price)
        self.sales[step.name] = await self.world.shop.place_order(_buyer(step.buyer), plan, step.asset)

    async def _wait(self, time_: timedelta) -> None:
        """Let time go by, and look half way and at the end."""
        for look in range(LOOKS):
            self.chains.go_by(time_ * (look + 1) / LOOKS - time_ * look / LOOKS)
            await self._scan()

    async def _scan_often(self, times: int) -> None:
        for time_ in range(times):
            if time_:
                self.chains.go_by(TICK)
            await self._scan()

    async def _scan(self) -> None:
        with using(self.world.adapters):
            for scanner in self.world.scanners.values():
                await scanner.tick()

    async def _claim(self, step: ClaimStep) -> None:
        sale = self.sale(step.order)
        text = step.text if step.text is not None else self.chains.hash_of(step.tx or "", step.by)
        buyer = sale.buyer if step.buyer is None else _buyer(step.buyer)

        async def claim() -> None:
            await self.world.shop.claim(sale.order.id, text, buyer=buyer)

        async def claims() -> None:
            await asyncio.gather(*(claim() for _ in range(step.times)))

        await self._refusable(step.refused, f"the claim for {step.order}", claims)

    async def _check(self, step: CheckStep) -> None:
        order = self.sale(step.order).order.id
        began = time.monotonic()
        views = await asyncio.gather(*(self.world.verifier.confirm_payment(order) for _ in range(step.times)))
        took = time.monotonic() - began
        states = {view.sale.order.state for view in views}
        if step.state is not None and states != {step.state}:
            self.problems.append(f"asked about {step.order}, it was {', '.join(sorted(states))}, not {step.state}")
        if took > step.within.total_seconds():
            self.problems.append(f"asking about {step.order} took {took:.1f} s")

    async def _decide(self, step: DecideStep) -> None:
        order = self.sale(step.order).order.id

        async def decide() -> None:
            await self.world.shop.decide(order, step.decision, actor=step.actor, reason=step.reason)

        async def decisions() -> None:
            await asyncio.gather(*(decide() for _ in range(step.times)))

        await self._refusable(step.refused, f"{step.decision} of {step.order}", decisions)

    async def _cancel(self, step: CancelStep) -> None:
        sale = self.sale(step.order)
        buyer = sale.buyer if step.buyer is None else _buyer(step.buyer)

        async def cancel() -> None:
            await self.world.shop.cancel(sale.order.id, buyer=buyer)

        await self._refusable(step.refused, f"cancelling {step.order}", cancel)

    async def _refusable(self, refused: str | None, what: str, doing: Callable[[], Awaitable[None]]) -> None:
        """Do what may be refused, and note a refusal that was not expected or one that did not come."""
        try:
            await doing()
        except RefusedError as error:
            if refused is None or refused not in str(error):
                self.problems.append(f"{what} was refused: {error}")
            return
        if refused is not None:
            self.problems.append(f"{what} was not refused")

    # --- chains

    def _pay(self, step: PayStep) -> None:
        for _ in range(step.times):
            chain, tx = self._paid(step)
            self.chains.hide(tx, step.hidden_from)
            if step.tx is not None:
                self.chains.made[step.tx] = (chain, tx)

    def _paid(self, step: PayStep) -> tuple[Chain, bytes]:
        at = None if step.at is None else self.moment(step.at)
        asset = step.asset or (self.sale(step.order).order.amount.asset if step.order else Asset.USDT_TRON)
        if asset is Asset.USDT_TON:
            master = None if step.token is None else step.token.contract
            units = self._units(step, asset)
            return Chain.TON, self.chains.send_jettons(step.to, units, master=master, payload=step.payload)
        if asset is Asset.TON:
            receipt = Receipt(**step.receipt.model_dump(), comment=self._comment(step))
            tx = self.chains.send(
                step.to, self._units(step, asset), receipt, payer=step.payer, forecast=step.only_forecast, at=at
            )
            return Chain.TON, tx
        parts = step.moves or (MovePart(amount="0", to=step.to, token=step.token),)
        moves = [
            self.chains.move(
                part.to,
                self.units(part.amount, asset) if step.moves else self._units(step, asset),
                payer=step.payer,
                contract=USDT_TRON_CONTRACT if part.token is None else contract_named(part.token.contract),
            )
            for part in parts
        ]
        token = parts[0].token
        tx = self.chains.call(
            moves,
            result=step.result,
            called=step.called,
            symbol="USDT" if token is None else token.symbol,
            decimals=Asset.USDT_TRON.decimals if token is None else token.decimals,
            same_block=step.same_block,
            at=at,
        )
        return Chain.TRON, tx

    def _comment(self, step: PayStep) -> str | None:
        if step.comment is not None:
            codes = {name: sale.order.id for name, sale in self.sales.items()}
            return re.sub(r"\{(\w+)\}", lambda named: codes.get(named[1], named[0]), step.comment) or None
        return None if step.order is None else self.sale(step.order).order.code

    def _units(self, step: PayStep, asset: Asset) -> int:
        if step.units is not None:
            return step.units
        return self.units(step.amount or step.order or "0", asset)

    def units(self, text: str, asset: Asset) -> int:
        """Return the base units of `A`, `A - 0.5` or `29.5`."""
        base, *rest = text.split(" ")
        units = self.sale(base).order.amount.units if base[0].isalpha() else _scaled(base, asset)
        if rest:
            more = _scaled(rest[1], asset)
            units += more if rest[0] == "+" else -more
        return units

    def moment(self, text: str) -> datetime:
        """Return the time of `A.expires`, `A.created - 10m` or `A.watched + 1h`."""
        base, *rest = text.split(" ")
        name, of = base.split(".")
        order = self.sale(name).order
        at = {"created": order.created_at, "expires": order.expires_at, "watched": order.watched_until}[of]
        if rest:
            by = duration(rest[1])
            return at + by if rest[0] == "+" else at - by
        return at

    def sale(self, name: str) -> Sale:
        """Return an order of the case as it was placed."""
        if name not in self.sales:
            raise ConfigurationInvalid(f"{self.case.id} speaks of the order {name}", "order it in a step before")
        return self.sales[name]

    def _trouble(self, step: ProviderStep) -> None:
        faults = self.chains.faults(step.name)
        if step.lag is not None:
            self.chains.lag(step.name, step.lag)
        if step.page_rows is not None:
            faults.page_rows = step.page_rows
        if step.unfiltered:
            faults.unfiltered = True
        if step.tell:
            faults.lie = telling(step.tell)
        if step.fault is not None:
            faults.plan(trouble(step.fault, step.name), after=step.after, times=step.times)

    def _mend(self, step: Step) -> None:
        for provider, faults in self.chains.stand_in.faults.items():
            if step.mend in {"all", provider}:
                faults.mend()

    # --- looking

    def _read(self, step: ReadStep) -> None:
        try:
            got = _read_text(step)
        except PaymentInvalid as error:
            if not step.refused:
                self.problems.append(f"it was refused: {error}")
            return
        if step.refused:
            self.problems.append(f"it was not refused but read as {got}")
        elif got != _expected_text(step):
            self.problems.append(f"it was read as {got}, not as {step.is_}")

    async def _compare(self, when: str, outcome: Outcome) -> None:
        facts = await Facts.gather(self.world.adapters.store, self.sales, self.chains, self.metrics)
        found = differences(outcome, facts, units=self.units, hashes=self.chains.made)
        self.problems += [f"{when}: {one}" for one in found]


async def run_case(case: Case, open_store: Callable[[], Store]) -> Verdict:
    """Run one case on a database of its own.

    Args:
        case: What to do.
        open_store: Opens a store on a database that is migrated and empty.
    """
    began = time.monotonic()
    async with serving(StandIn()) as stand_in:
        problems = await CaseRun(case, Together(stand_in), open_store).run()
        return Verdict(case, problems, time.monotonic() - began, stand_in.calls)


def policy_of(part: PolicyPart) -> PaymentPolicy:
    """Return the default policy with what a case changes of it."""
    policy = PaymentPolicy()
    plain = ("window", "late_grace", "skew", "lone_age", "tails")
    per_asset = ("two_of_two_from", "lone_up_to", "dust", "tail_step")
    given = {name: getattr(part, name) for name in plain if getattr(part, name) is not None}
    for name in per_asset:
        told: Mapping[Asset, str] = getattr(part, name)
        given[name] = {**getattr(policy, name), **{one: Money.parse(text, one).units for one, text in told.items()}}
    return replace(policy, **given)


def plans_of(case: Case) -> tuple[Plan, ...]:
    """Return a plan for each price that a case orders at."""
    prices: dict[str, dict[Asset, int]] = {}
    for step in _flat(case.steps):
        if step.order is not None:
            of_plan = prices.setdefault(_plan_name(step.order.price), {})
            of_plan[step.order.asset] = Money.parse(step.order.price, step.order.asset).units
    return tuple(Plan(name, days=30, devices=1, prices=of_plan) for name, of_plan in prices.items())


def _strict(outcome: Outcome) -> Outcome:
    """Return the last outcome of a case: what is not named as waiting for a person must not be there."""
    return outcome if outcome.unmatched is not None else outcome.model_copy(update={"unmatched": ()})


def _flat(steps: tuple[Step, ...]) -> list[Step]:
    return [inner for step in steps for inner in (step, *_flat(step.at_once or ()))]


def _buyer(name: str) -> BuyerId:
    return BuyerId(f"api:{name}")


def _plan_name(price: str) -> str:
    return "p" + price.replace(".", "-")


def _scaled(text: str, asset: Asset) -> int:
    return int(Decimal(text).scaleb(asset.decimals))


def _read_text(step: ReadStep) -> str | int:
    if step.address is not None:
        return parse_address(step.address, step.chain).raw_text
    if step.deposit is not None:
        return parse_deposit_address(step.deposit, step.chain).raw_text
    if step.tx is not None:
        return parse_tx_hash(step.tx, step.chain).hex()
    if step.amount is not None:
        return Money.parse(step.amount, step.asset).units
    return parse_asset(step.currency or "").value


def _expected_text(step: ReadStep) -> str | int | None:
    """Return what a text should be read as; an address may be given in any of its spellings."""
    if step.address is not None or step.deposit is not None:
        return parse_address(str(step.is_), step.chain).raw_text
    return step.is_
