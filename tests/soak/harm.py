"""What befalls an installation while people buy: providers that fail, processes that are killed."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from functools import partial

import httpx
import numpy as np

from infra.db.unit import PostgresStore
from infra.lab.chains.living import read_facts
from infra.process import Identity, look, send
from models.payment import Provider
from models.payment_address import Chain
from tests.e2e.house import House, wait_gone
from tests.e2e.waiting import NotYet, until

VICTIMS = ("scan-chain:tron", "postgres", "gateway", "worker-control", "scan-chain:ton")
FAULTS = ("hang", "drip", "cut_off", "limited", "forbidden_page", "error_200", "nan", "500", "502", "503", "504")
# Long enough for a provider's breaker to open now and then, short enough that scans get through.
MOST_FAULTS = 6
FOUND_WITHIN = 120.0


@dataclass(slots=True)
class Harm:
    """Does harm until told to stop; what it did is in `killed` and `faults`."""

    house: House
    store: PostgresStore
    rng: np.random.Generator
    killed: list[str] = field(default_factory=list)
    faults: int = 0

    async def fail_providers(self) -> None:
        """Let providers fail now and then, for ever; at the end they are all well."""
        url = f"{read_facts(self.house.state).url}/lab/trouble"
        async with httpx.AsyncClient(trust_env=False) as chains:
            try:
                while True:
                    provider = list(Provider)[int(self.rng.integers(len(Provider)))]
                    fault = FAULTS[int(self.rng.integers(len(FAULTS)))]
                    times = int(self.rng.integers(1, MOST_FAULTS))
                    wish = {"provider": provider.value, "fault": fault, "times": times}
                    (await chains.post(url, json=wish)).raise_for_status()
                    self.faults += 1
                    await asyncio.sleep(float(self.rng.uniform(1, 4)))
            finally:
                for provider in Provider:
                    (await chains.post(url, json={"provider": provider.value})).raise_for_status()

    async def kill(self, times: int, *, every_s: tuple[float, float]) -> None:
        """Kill one process after another, each at a random moment; everybody in turn before anybody twice."""
        order: list[str] = []
        while len(order) < times:
            order += [VICTIMS[int(one)] for one in self.rng.permutation(len(VICTIMS))]
        for victim in order[:times]:
            await asyncio.sleep(float(self.rng.uniform(*every_s)))
            await until(f"{victim} to be killed", partial(self._killed, victim), within=FOUND_WITHIN)
            self.killed.append(victim)

    async def _killed(self, victim: str) -> bool | NotYet:
        identity = await self._identity(victim)
        if identity is None or not send(identity, signal.SIGKILL):
            return NotYet("it does not run")
        assert await asyncio.to_thread(wait_gone, identity, within=10), f"{victim} survived SIGKILL"
        return True

    async def _identity(self, victim: str) -> Identity | None:
        if victim not in {f"scan-chain:{chain}" for chain in Chain}:
            found = self.house.processes().get(victim)
            return found.identity if found else None
        async with self.store.unit() as uow:
            runs = {one.role: one.pid for one in await uow.long_runs.all()}
        state = look(runs[victim]) if victim in runs else None
        return state.identity if state else None
