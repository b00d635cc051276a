"""Every deployment of ours in one table: flow, queue, schedule. `apply` makes Prefect agree with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.flows import Flow
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from flows.collection import CollectParameters, collect_node
from flows.healing import HealParameters, WatchParameters, heal_mesh, watch_mesh
from flows.housekeeping import keep_house
from flows.learning import TrainParameters, analyze_incident, train_graphsage
from flows.payments import (
    ReconcileParameters,
    ScanParameters,
    confirm_payment,
    expire_orders,
    reconcile_ledger,
    scan_chain,
)
from flows.review import ReviewParameters, review_mesh
from flows.validating import ValidateParameters, validate_causes
from models.payment_address import Chain

POOL = "mesh"
CONTROL = "control"
# A worker-started run costs seconds of CPU; the watch sees in half a second what the audit sees in five minutes.
AUDIT_EVERY = timedelta(minutes=5)
# A tenth of the shortest sensible retention; one DELETE over an index.
HOUSE_EVERY = timedelta(minutes=6)
# The scan expires orders as it goes; this is for an hour in which it did not.
EXPIRE_EVERY = timedelta(hours=1)
RECONCILE_EVERY = timedelta(days=1)
# Minutes of one core: a night's incidents, once a night.
LEARN_EVERY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Planned:
    """One deployment: `flow-name/name`, where it runs and when."""

    flow: Flow[Any, Any]
    name: str
    queue: str
    parameters: dict[str, Any] = field(default_factory=dict)
    every: timedelta | None = None
    about: str = ""


def table(mesh: str, places: dict[str, Path], *, heal: bool, chains: Sequence[Chain] = ()) -> list[Planned]:
    """Return every deployment of one installation; `places` maps each node to its node.json.

    Args:
        mesh: Its name.
        places: The nodes that live here.
        heal: Off: nothing changes the mesh.
        chains: Those on which we are paid; none where nothing is sold.
    """
    watch = WatchParameters(mesh=mesh, heal=heal).model_dump(mode="json")
    audit = HealParameters(mesh=mesh, dry_run=not heal).model_dump(mode="json")
    by_hand = HealParameters(mesh=mesh).model_dump(mode="json")
    rows = [
        Planned(watch_mesh, mesh, CONTROL, {"asked": watch}, about="Long run: sees incidents and turns the cycle."),
        Planned(heal_mesh, "audit", CONTROL, {"asked": audit}, AUDIT_EVERY, "Looks for what the watch missed."),
        Planned(heal_mesh, "manual", CONTROL, {"asked": by_hand}, about="One turn by hand; dry run unless told."),
        Planned(keep_house, "retention", CONTROL, every=HOUSE_EVERY, about="Deletes the old, starts what is due."),
    ]
    review = ReviewParameters(mesh=mesh).model_dump(mode="json")
    rows.append(Planned(review_mesh, "manual", CONTROL, {"asked": review}, about="Looks again, region by region."))
    nightly = TrainParameters(mesh=mesh, dry_run=not heal).model_dump(mode="json")
    rows += [
        Planned(train_graphsage, "nightly", CONTROL, {"asked": nightly}, LEARN_EVERY, "Learns from healed incidents."),
        Planned(
            train_graphsage,
            "manual",
            CONTROL,
            {"asked": TrainParameters(mesh=mesh).model_dump(mode="json")},
            about="One fit by hand; nothing new serves unless told.",
        ),
        Planned(analyze_incident, "manual", CONTROL, about="Asks the serving model about one incident."),
        Planned(
            validate_causes,
            "manual",
            CONTROL,
            {"asked": ValidateParameters(mesh=mesh).model_dump(mode="json")},
            about="Tests what incidents' causes rest on; keep-house starts one when some closed.",
        ),
    ]
    for node, place in places.items():
        asked = CollectParameters(mesh=mesh, node=node, place=place).model_dump(mode="json")
        rows.append(Planned(collect_node, node, f"node-{node}", {"asked": asked}, about="Long run on this node."))
    return rows + _money(chains)


def _money(chains: Sequence[Chain]) -> list[Planned]:
    if not chains:
        return []
    scans = [
        Planned(
            scan_chain,
            chain.value,
            CONTROL,
            {"asked": ScanParameters(chain=chain).model_dump(mode="json")},
            about="Long run: sees payments and settles orders.",
        )
        for chain in chains
    ]
    nightly = ReconcileParameters().model_dump(mode="json")
    return [
        *scans,
        Planned(confirm_payment, "manual", CONTROL, about="Sees to one claim; the scan starts one for each by itself."),
        Planned(expire_orders, "hourly", CONTROL, every=EXPIRE_EVERY, about="Expires what the scan did not."),
        Planned(
            reconcile_ledger, "nightly", CONTROL, {"asked": nightly}, RECONCILE_EVERY, "Compares chains and ledger."
        ),
    ]


async def apply(rows: Sequence[Planned], *, with_pool: bool = True) -> dict[str, str]:
    """Create or update the work pool and every deployment; return deployment ids by `flow/name`.

    Without the pool: it is everybody's, and one node's side has no right to change what all work by.
    """
    if with_pool:
        async with get_client() as client:
            # A pool without a template makes the first worker write it, which a node's worker has no right to.
            template = ProcessWorker.get_default_base_job_template()
            wish = WorkPoolCreate(name=POOL, type="process", base_job_template=template)
            await client.create_work_pool(wish, overwrite=True)
    made = {}
    for row in rows:
        deployment = await row.flow.ato_deployment(
            row.name,
            interval=row.every,
            parameters=row.parameters,
            description=row.about,
            work_pool_name=POOL,
            work_queue_name=row.queue,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        made[f"{row.flow.name}/{row.name}"] = str(await deployment.aapply())
    return made
