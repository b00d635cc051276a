"""Run a payment case: real scanning, shop and verifier over real HTTP, with a clock that only the case moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np

from flows.conformance_outcome import Facts, differences
from flows.conformance_paying import pay
from flows.conformance_terms import Terms, expected_text, flat, plan_name, plans_of, policy_of, read_text
from infra.chains.providers import open_providers
from infra.lab.casefile import (
    CancelStep,
    Case,
    CheckStep,
    ClaimStep,
    DecideStep,
    OrderStep,
    Outcome,
    ProviderStep,
    ReadStep,
    Step,
)
from infra.lab.chains.made import account
from infra.lab.chains.server import StandIn, serving
from infra.lab.chains.together import Together
from infra.lab.chains.trouble import telling, trouble
from infra.metrics_payments import ScanMetrics
from infra.settings import Settings
from infra.shop.shop import Shop
from infra.shop.verifier import PaymentVerifier
from models.errors import ConfigurationInvalid, MeshError, PaymentInvalid, RefusedError
from models.ledger import BuyerId
from models.payment_address import Address, Chain
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
    terms: Terms = field(init=False)
    metrics: ScanMetrics = field(default_factory=ScanMetrics)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED))
    problems: list[str] = field(default_factory=list)
    _world: _World | None = None

    def __post_init__(self) -> None:
        self.terms = Terms(self.case.id)

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
        orders = {step.order.asset.chain for step in flat(self.case.steps) if step.order is not None}
        paid = {step.pay.asset.chain for step in flat(self.case.steps) if step.pay is not None and step.pay.asset}
        return sorted(orders | paid)

    def _watched(self, ours: Mapping[Chain, tuple[Address, Address]]) -> dict[Chain, tuple[Address, ...]]:
        both = any(step.pay is not None and step.pay.to == "ours-2" for step in flat(self.case.steps))
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
                pay(step.pay, self.terms, self.chains)
            case "wait" if step.wait is not None:
                await self._wait(step.wait)
            case "unseen" if step.unseen is not None:
                self.chains.go_by(step.unseen)
            case "until" if step.until is not None:
                await self._wait(self.terms.moment(step.until) - self.chains.now())
            case "until_unseen" if step.until_unseen is not None:
                self.chains.go_by(self.terms.moment(step.until_unseen) - self.chains.now())
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
        plan = plan_name(step.price)
        self.terms.sales[step.name] = await self.world.shop.place_order(_buyer(step.buyer), plan, step.asset)

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
        sale = self.terms.sale(step.order)
        text = step.text if step.text is not None else self.chains.hash_of(step.tx or "", step.by)
        buyer = sale.buyer if step.buyer is None else _buyer(step.buyer)

        async def claim() -> None:
            await self.world.shop.claim(sale.order.id, text, buyer=buyer)

        async def claims() -> None:
            await asyncio.gather(*(claim() for _ in range(step.times)))

        await self._refusable(step.refused, f"the claim for {step.order}", claims)

    async def _check(self, step: CheckStep) -> None:
        order = self.terms.sale(step.order).order.id
        began = time.monotonic()
        views = await asyncio.gather(*(self.world.verifier.confirm_payment(order) for _ in range(step.times)))
        took = time.monotonic() - began
        states = {view.sale.order.state for view in views}
        if step.state is not None and states != {step.state}:
            self.problems.append(f"asked about {step.order}, it was {', '.join(sorted(states))}, not {step.state}")
        if took > step.within.total_seconds():
            self.problems.append(f"asking about {step.order} took {took:.1f} s")

    async def _decide(self, step: DecideStep) -> None:
        order = self.terms.sale(step.order).order.id

        async def decide() -> None:
            await self.world.shop.decide(order, step.decision, actor=step.actor, reason=step.reason)

        async def decisions() -> None:
            await asyncio.gather(*(decide() for _ in range(step.times)))

        await self._refusable(step.refused, f"{step.decision} of {step.order}", decisions)

    async def _cancel(self, step: CancelStep) -> None:
        sale = self.terms.sale(step.order)
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
            got = read_text(step)
        except PaymentInvalid as error:
            if not step.refused:
                self.problems.append(f"it was refused: {error}")
            return
        if step.refused:
            self.problems.append(f"it was not refused but read as {got}")
        elif got != expected_text(step):
            self.problems.append(f"it was read as {got}, not as {step.is_}")

    async def _compare(self, when: str, outcome: Outcome) -> None:
        facts = await Facts.gather(self.world.adapters.store, self.terms.sales, self.chains, self.metrics)
        found = differences(outcome, facts, units=self.terms.units, hashes=self.chains.made)
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


def _strict(outcome: Outcome) -> Outcome:
    """Return the last outcome of a case: what is not named as waiting for a person must not be there."""
    return outcome if outcome.unmatched is not None else outcome.model_copy(update={"unmatched": ()})


def _buyer(name: str) -> BuyerId:
    return BuyerId(f"api:{name}")
