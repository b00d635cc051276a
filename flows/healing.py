"""The MAPE-K page: one turn of the cycle, and the run that watches the mesh and turns it.

Read `turn` first: Monitor, Analyze, Plan, Execute, over Knowledge, with a proof and an undo.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

from prefect import flow
from prefect.states import Completed
from pydantic import BaseModel, ConfigDict, Field

from models.incident import Incident, IncidentId, Outcome, OutcomeKind
from models.ports import HealRequest
from models.remedy import Decision, PlanHash, Remedy, Tier
from tasks import access, analyze, approve, desk, execute, knowledge, longrun, monitor, plan, restore, verify
from tasks.crew import Crew
from tasks.diary import Diary
from tasks.wiring import pace_of_watch, sign_with


class HealParameters(BaseModel):
    """What a turn of the cycle is asked to do; Prefect's UI makes its form of this."""

    model_config = ConfigDict(frozen=True)

    mesh: str = Field(default="lab", description="Name of the mesh.")
    incident: str | None = Field(default=None, description="Incident to work on; empty: the oldest that waits.")
    dry_run: bool = Field(default=True, description="Plan only; change nothing.")
    approved_plan: str | None = Field(default=None, description="Hash of the plan that a person approved.")


class WatchParameters(BaseModel):
    """What the watch run is asked to do."""

    model_config = ConfigDict(frozen=True)

    mesh: str = Field(default="lab", description="Name of the mesh.")
    heal: bool = Field(default=True, description="Turn the cycle for incidents; off: only watch and record them.")


async def turn(asked: HealParameters) -> Outcome:
    """Turn the MAPE-K cycle once for one incident."""
    incident = await monitor.collect(asked.mesh, IncidentId(asked.incident) if asked.incident else None)
    if incident is None:
        return knowledge.nothing_to_heal()
    known = await knowledge.recall(incident)
    diagnosis = await analyze.diagnose(incident)
    remedy = await plan.select(asked.mesh, diagnosis, known)
    if asked.dry_run:
        return knowledge.planned_only(remedy)
    if asked.approved_plan:
        await approve.take(PlanHash(asked.approved_plan), remedy)
    elif remedy.tier is Tier.APPROVAL:
        return await approve.ask(incident, remedy)
    trial = await verify.begin(incident, remedy)
    execution = await execute.apply(incident, remedy)
    verification = await verify.prove(incident, remedy, trial, execution)
    return await knowledge.record(incident, remedy, execution, verification)


@flow(name="heal-mesh", persist_result=False)
async def heal_mesh(asked: HealParameters) -> Outcome:
    """Turn the MAPE-K cycle once: Monitor, Analyze, Plan, Execute, over Knowledge."""
    outcome = await turn(asked)
    if outcome.kind is OutcomeKind.AWAITING_APPROVAL:
        # Prefect shows people the state's name, and gives the caller the outcome in it.
        return cast("Outcome", Completed(name="AwaitingApproval", message=outcome.reason, data=outcome))
    return outcome


@flow(name="restore-link", persist_result=False)
async def restore_link(mesh: str, remedy: Remedy) -> Outcome:
    """Give one link its traffic back after it has been clean long enough; take it off again if that hurts."""
    return await restore.give_back(mesh, remedy)


@flow(name="watch-mesh", persist_result=False)
async def watch_mesh(asked: WatchParameters) -> None:
    """Watch one mesh for as long as we hold its post; turn the cycle for each incident."""
    await watch(asked)


async def watch(asked: WatchParameters) -> None:
    """Do what `watch_mesh` does, outside Prefect too (the lab's trials run it so)."""
    crew, diary, restorer, doorkeeper = Crew(), Diary(), restore.Restorer(asked.mesh), access.Doorkeeper(asked.mesh)

    async def heal(parameters: HealParameters) -> Outcome:
        return await diary.run(heal_mesh, turn, parameters)

    async def tick() -> None:
        incidents = await monitor.look(asked.mesh)
        if asked.heal:
            for incident in incidents:
                crew.send(f"incident {incident.id}", partial(heal, _for_incident(incident)))
            for decision in await approve.decided(asked.mesh):
                # One turn an incident, whoever wants it; but a person who decided does not wait for a pause to end.
                job = partial(heal, _for_decision(asked.mesh, decision))
                crew.send(f"incident {decision.incident}", job, hurry=decision.plan_hash)
            remedy = await restorer.next_due()
            if remedy is not None:
                crew.send("restore", partial(diary.run, restore_link, restore.give_back, asked.mesh, remedy))
            await doorkeeper.look()
        for request in await desk.waiting(asked.mesh):
            crew.send(f"request {request.id}", partial(answer, request, heal))
        await diary.catch_up()

    try:
        await longrun.hold(f"watch-mesh:{asked.mesh}", tick, every=pace_of_watch(), taken=sign_with)
    finally:
        await crew.dismiss()


async def answer(request: HealRequest, heal: Callable[[HealParameters], Awaitable[Outcome]]) -> None:
    """Turn the cycle because somebody asked for it, and write the outcome beside the request."""
    outcome = await heal(HealParameters(mesh=request.mesh, dry_run=request.dry_run))
    await desk.finish(request, outcome)


def _for_incident(incident: Incident) -> HealParameters:
    return HealParameters(mesh=incident.mesh, incident=incident.id, dry_run=False)


def _for_decision(mesh: str, decision: Decision) -> HealParameters:
    return HealParameters(mesh=mesh, incident=decision.incident, dry_run=False, approved_plan=decision.plan_hash)
