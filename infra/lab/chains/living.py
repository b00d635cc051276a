"""The stand-in as a lab has it: chains that go on by themselves, and that a payment can be put on by hand.

What was paid is kept in a journal of the state folder, so that a restart forgets no block: a chain that did would look
like a fork, and the nightly reconciliation would rightly report it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.lab.casefile import FaultName
from infra.lab.chains.made import account
from infra.lab.chains.server import StandIn
from infra.lab.chains.together import Together
from infra.lab.chains.ton_world import Receipt, TonWorld
from infra.lab.chains.tron_world import BLOCK, TronWorld
from infra.lab.chains.trouble import trouble
from models.errors import ConfigurationInvalid, PaymentInvalid
from models.payment import MOST_UNITS, Provider
from models.payment_address import Address, Chain, parse_address
from models.ports import Clock

FOLDER = "chains"
FACTS = "lab.json"
JOURNAL = "paid.jsonl"
PLANS = "plans.yaml"

SECOND = timedelta(seconds=1)
"""TON's masterchain as it is made up: a block a second."""

STEP = timedelta(seconds=0.5)
"""How often the chains catch up with the clock: half a block of the faster one."""

CALLS_PER_SECOND = "100"
"""The stand-in is on this machine and counts nobody's calls."""

EXAMPLE_PLANS = """\
# What the lab sells, as an example. Prices are what people pay; each order adds a tail of its own.
plans:
  - {name: week, days: 7, devices: 1, prices: {USDT: "5", TON: "2"}}
  - {name: month, days: 30, devices: 3, prices: {USDT: "15", TON: "6"}}
"""


@dataclass(frozen=True, slots=True)
class LabFacts:
    """What a lab's chains are, for as long as its state folder lives.

    Attributes:
        port: On loopback.
        name: Sets its hashes apart from every other lab's.
        origin: When they began, aware UTC.
    """

    port: int
    name: str
    origin: datetime

    @property
    def url(self) -> str:
        """Return where they are served."""
        return f"http://127.0.0.1:{self.port}"


class Paid(BaseModel):
    """A payment by hand, as it is asked for and as the journal keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chain: Chain
    to: str
    units: int = Field(gt=0, le=MOST_UNITS)
    comment: str | None = Field(default=None, max_length=1000)
    payer: str = Field(default="customer", max_length=64)
    at: datetime | None = Field(default=None, description="The journal's: when its block was made.")


def prepare(state: Path, clock: Clock) -> Mapping[str, str]:
    """Make a lab's chains ready, once, and return the environment that leads every process to them.

    The addresses belong to nobody: no real money can be sent there and found again.
    """
    folder = state / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / FACTS).exists():
        began = clock.now().replace(microsecond=0)  # providers tell whole seconds
        facts = {"port": free_port(), "name": f"{secrets.token_hex(8)} ", "origin": began.isoformat()}
        (folder / FACTS).write_text(json.dumps(facts))
    if not (folder / PLANS).exists():
        (folder / PLANS).write_text(EXAMPLE_PLANS)
    facts_now = read_facts(state)
    urls = {f"X0_{provider.name}_URL": f"{facts_now.url}/{provider}" for provider in Provider}
    paces = {f"X0_{provider.name}_CALLS_PER_SECOND": CALLS_PER_SECOND for provider in Provider}
    deposits = {f"X0_DEPOSIT_{chain.name}": str(account(chain, f"{facts_now.name}shop")) for chain in Chain}
    return {**urls, **paces, **deposits, "X0_PLANS": str(folder / PLANS)}


def read_facts(state: Path) -> LabFacts:
    """Return what the chains of this state folder's lab are.

    Raises:
        ConfigurationInvalid: there are none.
    """
    try:
        told = json.loads((state / FOLDER / FACTS).read_text())
        return LabFacts(int(told["port"]), str(told["name"]), datetime.fromisoformat(told["origin"]))
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationInvalid(f"{state} has no lab chains", "bring a lab up with `x0tta6bl4 up --lab`") from error


def free_port() -> int:
    """Return a port of the loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Trouble(BaseModel):
    """What goes wrong with a provider from now on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: Provider
    fault: FaultName | None = Field(default=None, description="None: it is well again.")
    times: int | None = Field(default=None, ge=1, description="For so many requests; None: until it is mended.")


@dataclass(slots=True)
class LivingChains:
    """Chains that keep up with the clock, served with two more routes: `POST /lab/pay` and `POST /lab/trouble`."""

    clock: Clock
    journal: Path
    together: Together
    url: str = ""
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def of(cls, state: Path, clock: Clock) -> LivingChains:
        """Return the chains of a lab with everything that was ever paid on them.

        Raises:
            ConfigurationInvalid: they were not prepared, or their journal was changed by hand.
        """
        facts = read_facts(state)
        stand_in = StandIn(
            tron=TronWorld(origin=facts.origin, name=facts.name), ton=TonWorld(origin=facts.origin, name=facts.name)
        )
        chains = cls(clock, state / FOLDER / JOURNAL, Together(stand_in))
        for line in _whole_lines(chains.journal):
            try:
                chains._put(Paid.model_validate_json(line))
            except (ValidationError, PaymentInvalid) as error:
                raise ConfigurationInvalid(f"{chains.journal} holds what is no payment", "remove that line") from error
        chains.catch_up()
        return chains

    def app(self) -> Starlette:
        """Return the four APIs, and the doors for paying and for harming providers by hand."""
        whole = self.together.stand_in.app()
        whole.router.routes.insert(0, Route("/lab/pay", self.pay, methods=["POST"]))
        whole.router.routes.insert(0, Route("/lab/trouble", self.harm, methods=["POST"]))
        return whole

    def catch_up(self) -> None:
        """Make the blocks that are due."""
        late = self.clock.now() - self.together.now()
        if late > timedelta(0):
            self.together.go_by(late)

    async def go_on(self) -> None:
        """Make blocks for ever."""
        while True:
            self.catch_up()
            await asyncio.sleep(STEP.total_seconds())

    async def pay(self, request: Request) -> Response:
        """Take a payment into the next block, and answer with its hash."""
        try:
            paid = Paid.model_validate_json(await request.body())
            parse_address(paid.to, paid.chain)
        except ValidationError as error:
            return JSONResponse({"error": error.errors()[0]["msg"]}, 422)
        except PaymentInvalid as error:
            return JSONResponse({"error": str(error)}, 422)
        async with self._writing:
            self.catch_up()
            kept = paid.model_copy(update={"at": self.together.now()})
            # The line first: a payment that was answered is never forgotten.
            await asyncio.to_thread(self._keep, kept)
            tx, block_time = self._put(kept)
        return JSONResponse({"tx": tx.hex(), "block_time": block_time.isoformat()})

    async def harm(self, request: Request) -> Response:
        """Let a provider fail, or be well again."""
        try:
            wish = Trouble.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"error": error.errors()[0]["msg"]}, 422)
        faults = self.together.faults(wish.provider)
        faults.mend()
        if wish.fault is not None:
            faults.plan(trouble(wish.fault, wish.provider), times=wish.times)
        return JSONResponse({})

    def _keep(self, paid: Paid) -> None:
        with self.journal.open("a") as journal:
            journal.write(paid.model_dump_json() + "\n")

    def _put(self, paid: Paid) -> tuple[bytes, datetime]:
        """Return the transaction's hash and its block's time."""
        if paid.at is not None and paid.at > self.together.now():
            self.together.go_by(paid.at - self.together.now())
        receiver: Address = parse_address(paid.to, paid.chain)
        # Into the block that the clock will make next, with whatever else is paid until then: a block for each payment
        # would take the chains ahead of the clock, and nothing new would become final until it has caught up.
        if paid.chain is Chain.TRON:
            at = self.together.stand_in.tron.now() + BLOCK
            return self.together.call([self.together.move(receiver, paid.units, payer=paid.payer)], at=at), at
        at = self.together.stand_in.ton.now() + SECOND
        return self.together.send(receiver, paid.units, Receipt(comment=paid.comment), payer=paid.payer, at=at), at


def _whole_lines(journal: Path) -> list[str]:
    """Return what was kept; a last line that a crash cut short is a payment that nobody was answered."""
    if not journal.exists():
        return []
    whole, end, _ = journal.read_text().rpartition("\n")
    journal.write_text(whole + end)
    return whole.splitlines()


@asynccontextmanager
async def going_on(chains: LivingChains) -> AsyncIterator[None]:
    """Let blocks be made until the block ends."""
    running = asyncio.create_task(chains.go_on(), name="lab-chains")
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
