"""A test's hands in a running installation: harm, look, kill, and put everything back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from infra.clock import SystemClock
from infra.db.unit import PostgresStore
from infra.lab.build import Lab
from infra.lab.faults import Harm
from infra.lab.journal import Injector
from infra.node.babeld import Babeld
from infra.node.journal import Phase
from infra.node.signing import Ed25519Signer, load_private_key
from infra.process import Identity, look, send
from models.incident import FaultKind, IncidentId, IncidentState, OutcomeKind, Verdict
from models.mesh import Element, LinkId, NodeId
from models.ports import IncidentStory
from models.remedy import ActionState, Closing, GuardState, OperationRecord
from tasks import execute
from tasks.diary import unreported
from tasks.observer import Observer
from tasks.wiring import Adapters, limits_of, using
from tests.e2e.house import House, wait_gone
from tests.e2e.waiting import NotYet, until

# Detected in 2 s, planned and applied in 2, proven in 3 on an idle machine; a worker-started watch run needs 14 s more,
# and a lease of 20 s may have to run out in between.
HEALED_WITHIN = 150.0
QUIET_WITHIN = 150.0
# A lease is looked at four times a second; the rest is a busy machine's.
LEASE = timedelta(seconds=20)
LEASE_SLACK = timedelta(seconds=15)
# A collector that began anew knows nothing yet; five seconds of probes are what the restorer looks at, too.
FRESH_SAMPLES = 10
# Longer than any window a detector looks at before it speaks of a link.
WELL_FOR = timedelta(seconds=4)
FINAL = {ActionState.COMMITTED, ActionState.UNDONE, ActionState.REFUSED, ActionState.FAILED}


@dataclass(slots=True)
class World:
    """One installation's mesh, store and faults, for one test."""

    house: House
    store: PostgresStore
    lab: Lab
    injector: Injector
    observer: Observer

    @property
    def mesh(self) -> str:
        """Name of the mesh."""
        return self.house.mesh

    # --- harm --------------------------------------------------------------------------------------------------------

    async def harm(self, kind: FaultKind, element: Element) -> Harm:
        """Do harm to an element; `take_back` ends it."""
        harm = Harm(kind, element)
        await self.injector.inject(harm)
        return harm

    async def grey(self, link: LinkId) -> Harm:
        """Let a link drop transit data while hellos pass."""
        return await self.harm(FaultKind.GREY, Element.of_link(link))

    async def take_back(self, harm: Harm) -> None:
        """End the harm."""
        await self.injector.heal(harm)

    # --- looking -----------------------------------------------------------------------------------------------------

    async def stories(self) -> list[IncidentStory]:
        """Return every incident's story, oldest first."""
        async with self.store.unit() as uow:
            found = await uow.incidents.recent(self.mesh, 1000)
            stories = [await uow.incidents.story(one.id) for one in reversed(found)]
        return [one for one in stories if one is not None]

    async def known(self) -> set[IncidentId]:
        """Return the incidents so far, to tell those that follow from them."""
        async with self.store.unit() as uow:
            return {one.id for one in await uow.incidents.recent(self.mesh, 1000)}

    async def news(self, known: set[IncidentId]) -> list[IncidentStory]:
        """Return the stories of incidents that are not among those known."""
        return [one for one in await self.stories() if one.incident.id not in known]

    async def operations(self, known: set[IncidentId]) -> list[OperationRecord]:
        """Return the operations of new incidents, in order."""
        return [operation for story in await self.news(known) for operation in story.operations]

    async def fixed(self, known: set[IncidentId], element: Element, *, within: float = HEALED_WITHIN) -> IncidentStory:
        """Wait until a new incident was fixed by acting on this element and is closed, and return its story.

        Both are stored at once, but a story is read table by table: what was stored meanwhile may show in half of them.
        """

        async def look_for() -> IncidentStory | NotYet:
            news = await self.news(known)
            for story in news:
                on_it = any(one.action.element == element for one in story.operations)
                is_over = story.incident.state is IncidentState.CLOSED
                if on_it and is_over and any(one.kind is OutcomeKind.FIXED for one in story.outcomes):
                    return story
            return NotYet("; ".join(summary(one) for one in news) or "no incident")

        return await until(f"{element} to be healed", look_for, within=within)

    def cost_in_daemon(self, node: NodeId, interface: str) -> int | None:
        """Ask a node's babeld what an interface costs."""
        daemon = self.lab.places[node].daemon
        assert daemon is not None
        return Babeld(daemon).cost(interface)

    def costs_of(self, link: LinkId) -> tuple[int | None, int | None]:
        """Ask both ends' babeld what the link costs."""
        one = self.lab.mesh.link(link)
        return self.cost_in_daemon(one.a.node, one.a.name), self.cost_in_daemon(one.b.node, one.b.name)

    async def costs_become(self, link: LinkId, is_right: Callable[[int], bool], what: str, *, within: float) -> None:
        """Wait until both ends' babeld say a cost that is right."""

        async def look_at() -> bool | NotYet:
            costs = await asyncio.to_thread(self.costs_of, link)
            return True if all(cost is not None and is_right(cost) for cost in costs) else NotYet(f"costs {costs}")

        await until(f"{link} {what}", look_at, within=within)

    # --- killing -----------------------------------------------------------------------------------------------------

    async def holder(self, role: str) -> Identity:
        """Return the process that holds a role."""
        async with self.store.unit() as uow:
            runs = {one.role: one for one in await uow.long_runs.all()}
        state = look(runs[role].pid)
        assert state is not None, f"{role} names pid {runs[role].pid}, which does not run"
        return state.identity

    async def victim(self, name: str, node: NodeId) -> Identity:
        """Find the process to kill: a long run by its role, any other by its run file."""
        if name == "watch":
            return await self.holder(f"watch-mesh:{self.mesh}")
        if name == "collector":
            return await self.holder(f"collect-node:{self.mesh}:{node}")
        return self.house.processes()[f"actuator-{node}" if name == "actuator" else name].identity

    @staticmethod
    async def kill(victim: Identity) -> None:
        """End a process as a crash would, and wait until it is gone."""
        assert send(victim, signal.SIGKILL), f"{victim} was gone before it could be killed"
        assert await asyncio.to_thread(wait_gone, victim, within=10), f"{victim} survived SIGKILL"

    # --- promises ----------------------------------------------------------------------------------------------------

    async def ends_right(self, known: set[IncidentId]) -> None:
        """Hold every new operation against the promise: verified or undone within its lease, and applied once."""
        await until("every operation to be closed", partial(self._all_closed, known), within=LEASE.total_seconds() * 2)
        for story in await self.news(known):
            proven = {one.plan_hash for one in story.verifications if one.verdict is Verdict.HEALED}
            for one in story.operations:
                if one.state is ActionState.COMMITTED:
                    assert one.plan_hash in proven, f"{one.operation} was committed unproven: {summary(story)}"
                if one.state is ActionState.UNDONE:
                    assert one.report is not None
                    stood = one.report.at - one.requested_at
                    assert stood <= LEASE + LEASE_SLACK, f"{one.operation} stood {stood} unproven: {summary(story)}"
                applied = self.applications(one)
                assert applied <= 1, f"{one.operation} was applied {applied} times"

    async def _all_closed(self, known: set[IncidentId]) -> bool | NotYet:
        open_ones = {one.operation: one.state for one in await self.operations(known) if one.state not in FINAL}
        return NotYet(str(open_ones)) if open_ones else True

    def applications(self, operation: OperationRecord) -> int:
        """Count how often the node's own journal says that it applied an operation."""
        journal = self.lab.places[operation.action.node].folder / "actuator.journal"
        wanted = f'"operation":"{operation.operation}"', f'"phase":"{Phase.APPLIED}"'
        return sum(all(one in line for one in wanted) for line in journal.read_text().splitlines())

    # --- putting back ------------------------------------------------------------------------------------------------

    async def quiet(self, *, within: float = QUIET_WITHIN) -> None:
        """Wait until nothing is ill, nothing is at work, and everything is ready and fresh."""
        await until("quiet", self._is_quiet, within=within)
        await self.lab.settled(timeout_s=within)

    async def _is_quiet(self) -> bool | NotYet:
        async with self.store.unit() as uow:
            open_ones = [one for one in await uow.incidents.open(self.mesh) if one.state in _AT_WORK]
            at_work = [*await uow.actions.in_flight(self.mesh), *await uow.actions.standing(self.mesh)]
        ills = await self.house.ills()
        young = {node: n for node, n in (await self.house.sequences()).items() if n < FRESH_SAMPLES}
        if open_ones or at_work or ills or young:
            told = [f"{one.id} {one.state}" for one in open_ones]
            return NotYet(f"open {told}, at work {[one.operation for one in at_work]}, ills {ills}, young {young}")
        return True

    async def put_back(self) -> None:
        """Take every harm and every standing cost back, and let the guards forget what tests did.

        Paused meanwhile: what was lost before is remembered for some seconds, and a link given back within them would
        be taken out again.
        """
        await self._set_guards(GuardState(paused=True))
        await self.injector.heal_all()
        await until("costs to be taken back", self._take_costs_back, within=QUIET_WITHIN)
        await self.lab.settled(timeout_s=QUIET_WITHIN)
        well_since = SystemClock().now()

        async def stays_well() -> bool | NotYet:
            nonlocal well_since
            now = SystemClock().now()
            symptoms = (await self.observer.refresh(now)).symptoms(now)
            if symptoms:
                well_since = now
                return NotYet(str([f"{one.kind} {one.element}" for one in symptoms]))
            return True if now - well_since >= WELL_FOR else NotYet(f"well since {well_since}")

        await until("the last symptom to go", stays_well, within=QUIET_WITHIN)
        now = SystemClock().now()
        async with self.store.unit() as uow:
            for one in await uow.incidents.open(self.mesh):
                await uow.incidents.save(replace(one, state=IncidentState.CLOSED, closed_at=now))
        await self.forget()

    async def forget(self) -> None:
        """Let the guards forget: no cool-down, no strike, no link that flapped, no action in the last hour."""
        await self._set_guards(GuardState())

    async def _set_guards(self, state: GuardState) -> None:
        async with self.store.unit() as uow:
            await uow.guards.load(self.mesh)
            await uow.guards.save(self.mesh, state)

    async def _take_costs_back(self) -> bool | NotYet:
        async with self.store.unit() as uow:
            in_flight = await uow.actions.in_flight(self.mesh)
            standing = await uow.actions.standing(self.mesh)
        if in_flight:
            return NotYet(f"in flight {[one.operation for one in in_flight]}")
        if not standing:
            return True
        key = load_private_key(self.house.state / "control.key")
        settings = self.house.settings
        hand = Adapters(
            settings, SystemClock(), self.store, self.house.database, Ed25519Signer(key), limits_of(settings)
        )
        with using(hand), unreported():
            await execute.close(standing, Closing.UNDO)
        return NotYet(f"standing {[one.operation for one in standing]}")


def summary(story: IncidentStory) -> str:
    """Tell an incident in one line."""
    operations = [f"{one.action.verb} on {one.action.node} {one.state}" for one in story.operations]
    verdicts = [f"{one.verdict}: {one.reason}" for one in story.verifications]
    outcomes = [f"{one.kind}: {one.reason}" for one in story.outcomes]
    return f"{story.incident.id} {story.incident.state}, {operations}, {verdicts}, {outcomes}"


@asynccontextmanager
async def at_work(house: House) -> AsyncIterator[World]:
    """Give a test its hands in a quiet installation, and put everything back after it."""
    store = PostgresStore(house.database)
    lab = house.lab
    injector = Injector(lab, house.state / "faults.jsonl", SystemClock())
    world = World(house, store, lab, injector, Observer(store, lab.mesh))
    try:
        await world.quiet()
        try:
            yield world
        finally:
            await world.put_back()
    finally:
        await store.close()


_AT_WORK = {IncidentState.OPEN, IncidentState.HEALING}
