"""The mesh over Telegram: how it stands, a request to heal it, an answer to a plan that waits.

Nothing here acts. A request and a decision are rows that the control side takes up, as those of the API are.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog

from infra.telegram.customers import Answers, Asked, Handler
from infra.telegram.operators import listed
from infra.telegram.screens import Key, Press, Screen
from models.approval import decide
from models.chat import Button, ButtonKind
from models.errors import DecisionRefused
from models.incident import IncidentState
from models.ledger import Message, MessageKind
from models.narrative import told
from models.ports import Clock, HealRequest, IncidentStory, Store, UnitOfWork
from models.remedy import DecisionKind, Limits, PlanHash, Remedy

log = structlog.get_logger()

# A heal's turn is over within a minute or it waits for a person; nobody is told later than this.
FOLLOW = timedelta(minutes=10)
NEWEST = 5
ANSWERS = {ButtonKind.APPROVE: DecisionKind.APPROVE, ButtonKind.DENY: DecisionKind.DENY}
REMEDY = "remedy"
"""The alert's `what` when a plan waits for a person."""


class MeshDesk:
    """The mesh's side of the bot for its admins."""

    def __init__(self, store: Store, clock: Clock, *, mesh: str, admins: tuple[int, ...]) -> None:
        self._store = store
        self._clock = clock
        self._mesh = mesh
        self._admins = admins
        self._followed: dict[str, tuple[int, datetime]] = {}
        self._announced: set[PlanHash] = set()

    @property
    def commands(self) -> Mapping[str, Handler]:
        """Return what answers each command."""
        return {"mesh": self.mesh, "incidents": self.incidents, "heal": self.heal}

    async def mesh(self, _: Asked) -> Answers:
        """Tell how the mesh stands."""
        async with self._store.unit() as unit:
            declared = await unit.meshes.load(self._mesh)
            latest = await unit.samples.latest(self._mesh)
            standing = await unit.actions.standing(self._mesh)
            incidents = await unit.incidents.open(self._mesh)
            # Last: reading the guards' state locks it until the unit ends, and a heal may be waiting for it.
            is_paused = (await unit.guards.load(self._mesh)).paused
        if declared is None:
            return [listed([f"no mesh is declared under the name {self._mesh}; start one with x0tta6bl4 up"])]
        now = self._clock.now()
        ages = {one: f"{(now - sample.at).total_seconds():.1f} s ago" for one, sample in latest.items()}
        return [
            listed(
                [
                    f"mesh {declared.name}: {len(declared.nodes)} nodes, {len(declared.links)} links"
                    + (", healing paused" if is_paused else ""),
                    *(f"{one.id} heard {ages.get(one.id, 'never')}" for one in declared.nodes),
                    *(f"{one.action.element} stands with {one.action.arguments}" for one in standing),
                    *(f"incident {one.id} {one.state}" for one in incidents),
                ]
            )
        ]

    async def incidents(self, asked: Asked) -> Answers:
        """List the newest incidents, or tell the one that is named."""
        async with self._store.unit() as unit:
            found = await unit.incidents.recent(self._mesh, NEWEST)
            named = next((one for one in found if asked.words and one.id == asked.words[0]), None)
            story = None if named is None else await unit.incidents.story(named.id)
        if story is not None:
            return [listed([f"{at:%H:%M:%S} {line}" for at, line in told(story)])]
        lines = [f"{one.id} {one.state}, opened {one.opened_at:%d %b %H:%M:%S} UTC" for one in found]
        return [listed(lines or ["no incident was ever seen"])]

    async def heal(self, asked: Asked) -> Answers:
        """Ask for a turn of the cycle; `dry-run` plans and changes nothing. The guards decide as always."""
        if asked.words not in {(), ("dry-run",)}:
            return [listed(["say /heal, or /heal dry-run"])]
        request = HealRequest(
            # Telegram may tell the same update twice; one update is one request.
            id=f"telegram-{asked.user}-{asked.update}",
            mesh=self._mesh,
            dry_run=bool(asked.words),
            asked_by=asked.buyer,
            asked_at=self._clock.now(),
        )
        async with self._store.unit() as unit:
            await unit.requests.post(request)
        self._followed[request.id] = (asked.user, request.asked_at + FOLLOW)
        log.info("heal requested", request=request.id, dry_run=request.dry_run, asked_by=request.asked_by)
        what = "a dry run" if request.dry_run else "a turn"
        return [listed([f"asked for {what} of the cycle; the outcome is told here"])]

    async def finished(self) -> list[tuple[int, Screen]]:
        """Return what became of requests made here: who asked, and what to tell them. Each is told once."""
        ended: list[tuple[int, Screen]] = []
        for request, (user, until) in list(self._followed.items()):
            async with self._store.unit() as unit:
                found = await unit.requests.get(request)
            if found is not None and found.outcome is not None:
                del self._followed[request]
                ended.append((user, listed([found.outcome])))
            elif self._clock.now() > until:
                del self._followed[request]
        return ended

    async def announce(self) -> None:
        """Put into the outbox, once for each admin, that a plan waits; it is delivered with buttons under it."""
        async with self._store.unit() as unit:
            found = [
                _waiting(await unit.incidents.story(one.id))
                for one in await unit.incidents.open(self._mesh)
                if one.state is IncidentState.AWAITING_APPROVAL
            ]
            plans = {one.plan_hash: one for one in found if one is not None}
            # Each writing rings the outbox's bell, so what was written is not written again every turn.
            for plan in plans.keys() - self._announced:
                await self._put(unit, plans[plan])
        self._announced = set(plans)

    async def _put(self, unit: UnitOfWork, plan: Remedy) -> None:
        for admin in self._admins:
            await unit.outbox.put(
                Message(
                    key=f"remedy:{plan.plan_hash}:{admin}",
                    kind=MessageKind.ALERT,
                    to=f"telegram:{admin}",
                    order=None,
                    facts={"what": REMEDY, "plan": plan.plan_hash},
                    written_at=self._clock.now(),
                )
            )

    async def question(self, plan_hash: PlanHash) -> Screen | None:
        """Draw the question under which one approves or denies; None when the plan no longer waits."""
        async with self._store.unit() as unit:
            remedy = await unit.incidents.remedy(plan_hash)
            story = None if remedy is None else await unit.incidents.story(remedy.incident)
        if story is None or _waiting(story) != remedy or story.incident.state is not IncidentState.AWAITING_APPROVAL:
            return None
        lasts = Limits().approval_expiry
        keys = (
            Key("Approve", Press(ButtonKind.APPROVE, plan_hash, lasts)),
            Key("Deny", Press(ButtonKind.DENY, plan_hash, lasts)),
        )
        lines = [f"{at:%H:%M:%S} {line}" for at, line in told(story)]
        return Screen(listed(["a plan waits for you", *lines]).text, (keys,))

    async def decided(self, unit: UnitOfWork, button: Button, asked: Asked) -> Answers:
        """Store a person's answer, in the transaction that uses the button up.

        Raises:
            DecisionRefused: the plan does not wait, or was decided or replaced meanwhile.
        """
        plan = PlanHash(button.subject)
        remedy = await unit.incidents.remedy(plan)
        story = None if remedy is None else await unit.incidents.story(remedy.incident)
        if story is None or story.incident.mesh != self._mesh:
            raise DecisionRefused(f"there is no plan {plan}")
        kind = ANSWERS[button.kind]
        decision = decide(
            story,
            plan,
            kind=kind,
            decided_by=asked.buyer,
            now=self._clock.now(),
            expiry=Limits().approval_expiry,
        )
        await unit.decisions.post(decision)
        log.info("plan decided", plan=plan, decision=kind.value, by=decision.decided_by)
        return [listed([f"{kind.value}: a new run looks at the evidence again before anything is done"])]


def _waiting(story: IncidentStory | None) -> Remedy | None:
    """Return the plan that a person is asked about: the newest, if nobody answered yet."""
    if story is None or not story.remedies:
        return None
    newest = story.remedies[-1]
    is_answered = any(one.plan_hash == newest.plan_hash for one in story.decisions)
    return None if is_answered else newest
