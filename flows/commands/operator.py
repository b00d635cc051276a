"""What an operator does with incidents: look, ask for a heal, decide on plans, pause. Straight to the database."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from flows.commands.desk import caller, opened, out, write_json

if TYPE_CHECKING:
    from models.incident import Incident
    from models.ports import IncidentStory, Store
    from models.remedy import Decision, DecisionKind

ANSWER_SECONDS = 120  # a turn takes seconds to plan and at most a lease to verify; the watch run looks twice a second
LOOK_SECONDS = 0.5

DryRun = Annotated[bool, typer.Option("--dry-run/--no-dry-run", help="Plan only, or act.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
By = Annotated[str | None, typer.Option("--by", help="Who decides, for the record; the user who types by default.")]


def heal(*, dry_run: DryRun = True) -> None:
    """Ask for one turn of the cycle and wait for its outcome; a dry run unless told otherwise."""
    out.print(asyncio.run(ask_to_heal(dry_run=dry_run)))


async def ask_to_heal(*, dry_run: bool, store: Store | None = None, seconds: float = ANSWER_SECONDS) -> str:
    """Post a heal request and return its outcome.

    Raises:
        SourceUnavailable: nobody took it up in time; it stays posted.
    """
    from infra.clock import SystemClock  # noqa: PLC0415 - `--help` needs none of it
    from infra.settings import Settings  # noqa: PLC0415 - as above
    from models.errors import SourceUnavailable  # noqa: PLC0415 - as above
    from models.ports import HealRequest  # noqa: PLC0415 - as above

    request = HealRequest(
        id=uuid.uuid4().hex,
        mesh=Settings().mesh,
        dry_run=dry_run,
        asked_by=caller(),
        asked_at=SystemClock().now(),
    )
    async with opened(store) as at_hand:
        async with at_hand.unit() as unit:
            await unit.requests.post(request)
        try:
            async with asyncio.timeout(seconds):
                while True:
                    async with at_hand.unit() as unit:
                        found = await unit.requests.get(request.id)
                    if found is not None and found.outcome is not None:
                        return found.outcome
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError as error:
            mend = f"no outcome of request {request.id} after {seconds:.0f} s; see `x0tta6bl4 status`"
            raise SourceUnavailable("the watch run", mend) from error


def incidents(
    incident: Annotated[str | None, typer.Argument(help="One incident's id; none: the newest.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the newest incidents, or tell one incident's whole story."""
    if incident is None:
        _list(as_json=as_json)
        return
    story = asyncio.run(read_story(incident))
    if as_json:
        write_json(story)
        return
    for line in told(story):
        out.print(line, markup=False)


def _list(*, as_json: bool) -> None:
    from infra.settings import Settings  # noqa: PLC0415 - `--help` needs none of it

    async def read() -> list[Incident]:
        async with opened() as store, store.unit() as unit:
            return await unit.incidents.recent(Settings().mesh)

    found = asyncio.run(read())
    if as_json:
        write_json(found)
        return
    table = Table(Column("incident", no_wrap=True), "state", "opened (UTC)", "symptoms")
    for one in found:
        symptoms = ", ".join(f"{symptom.kind.value} {symptom.element}" for symptom in one.symptoms)
        table.add_row(one.id, one.state.value, f"{one.opened_at:%d %b %H:%M:%S}", symptoms)
    out.print(table)


async def read_story(incident: str, *, store: Store | None = None) -> IncidentStory:
    """Return one incident's story.

    Raises:
        RefusedError: there is no such incident.
    """
    from models.errors import RefusedError  # noqa: PLC0415 - `--help` needs none of it
    from models.incident import IncidentId  # noqa: PLC0415 - as above

    async with opened(store) as at_hand, at_hand.unit() as unit:
        story = await unit.incidents.story(IncidentId(incident))
    if story is None:
        raise RefusedError(f"there is no incident {incident}; `x0tta6bl4 incidents` lists them")
    return story


def told(story: IncidentStory) -> list[str]:
    """Tell a story in lines, each with the seconds since the incident was opened."""
    from models.narrative import told as narrated  # noqa: PLC0415 - `--help` needs none of it

    incident = story.incident
    head = f"incident {incident.id} on {incident.mesh}: {incident.state.value}"
    lines = [f"  {(at - incident.opened_at).total_seconds():+8.1f} s  {text}" for at, text in narrated(story)]
    return [head, *lines]


def approve(
    plan: Annotated[str, typer.Argument(help="The plan's hash, as the incident tells it.")], *, by: By = None
) -> None:
    """Approve a plan that waits: used once, stale after ten minutes; the evidence is checked again before acting."""
    from models.remedy import DecisionKind  # noqa: PLC0415 - `--help` needs none of it

    asyncio.run(answer(plan, DecisionKind.APPROVE, by=by or caller()))
    out.print("approved; the watch run checks the evidence again and goes on")


def deny(
    plan: Annotated[str, typer.Argument(help="The plan's hash, as the incident tells it.")], *, by: By = None
) -> None:
    """Deny a plan that waits; the incident is escalated."""
    from models.remedy import DecisionKind  # noqa: PLC0415 - `--help` needs none of it

    asyncio.run(answer(plan, DecisionKind.DENY, by=by or caller()))
    out.print("denied")


async def answer(plan: str, kind: DecisionKind, *, by: str, store: Store | None = None) -> Decision:
    """Store a decision on a plan.

    Raises:
        DecisionRefused: unknown plan, or it waits for nobody any more.
    """
    from infra.clock import SystemClock  # noqa: PLC0415 - `--help` needs none of it
    from models.approval import decide  # noqa: PLC0415 - as above
    from models.errors import DecisionRefused  # noqa: PLC0415 - as above
    from models.remedy import Limits, PlanHash  # noqa: PLC0415 - as above

    wanted = PlanHash(plan)
    async with opened(store) as at_hand, at_hand.unit() as unit:
        remedy = await unit.incidents.remedy(wanted)
        story = None if remedy is None else await unit.incidents.story(remedy.incident)
        if story is None:
            raise DecisionRefused(f"there is no plan {plan}; `x0tta6bl4 incidents ID` shows the plan that waits")
        decision = decide(
            story,
            wanted,
            kind=kind,
            decided_by=by,
            now=SystemClock().now(),
            expiry=Limits().approval_expiry,
        )
        await unit.decisions.post(decision)
    return decision


def pause() -> None:
    """Stop acting: watch, diagnose and plan on, and change nothing until `resume`."""
    asyncio.run(set_pause(paused=True))
    out.print("paused")


def resume() -> None:
    """Act again."""
    asyncio.run(set_pause(paused=False))
    out.print("resumed")


def forgive(
    element: Annotated[str, typer.Argument(help="As incidents name it: link:n1--n2 or node:n3.")],
) -> None:
    """Let healing act on an element again: forget its strikes and its rest, and close what was escalated about it."""
    closed = asyncio.run(forget_strikes(element))
    out.print(
        f"{element} is forgiven" + (f"; closed {', '.join(closed)}, what lasts is a new incident" if closed else "")
    )


async def forget_strikes(element: str, *, store: Store | None = None) -> list[str]:
    """Forget what the guards hold against an element and close its escalated incidents; return their ids.

    Raises:
        ConfigurationInvalid: nothing is held against it.
    """
    from infra.clock import SystemClock  # noqa: PLC0415 - `--help` needs none of it
    from infra.settings import Settings  # noqa: PLC0415 - as above
    from models.errors import ConfigurationInvalid  # noqa: PLC0415 - as above
    from models.guardrails import forgiven  # noqa: PLC0415 - as above
    from models.incident import IncidentState  # noqa: PLC0415 - as above

    mesh = Settings().mesh
    async with opened(store) as at_hand, at_hand.unit() as unit:
        found = await unit.incidents.open(mesh, for_update=True)
        escalated = [
            one
            for one in found
            if one.state is IncidentState.ESCALATED and element in {str(symptom.element) for symptom in one.symptoms}
        ]
        state = await unit.guards.load(mesh)
        after = forgiven(state, element)
        if after == state and not escalated:
            known = sorted({name.partition("|")[0] for name in (*state.strikes, *state.cooldown_until, *state.flap)})
            raise ConfigurationInvalid(
                f"nothing is held against {element}",
                f"something is held against {', '.join(known)}" if known else "nor against anything else",
            )
        await unit.guards.save(mesh, after)
        now = SystemClock().now()
        for one in escalated:
            await unit.incidents.save(replace(one, state=IncidentState.CLOSED, closed_at=now))
    return [one.id for one in escalated]


async def set_pause(*, paused: bool, store: Store | None = None) -> None:
    """Set the operator's switch; the rest of the guards' memory stays."""
    from infra.settings import Settings  # noqa: PLC0415 - `--help` needs none of it

    mesh = Settings().mesh
    async with opened(store) as at_hand, at_hand.unit() as unit:
        state = await unit.guards.load(mesh)
        await unit.guards.save(mesh, replace(state, paused=paused))
