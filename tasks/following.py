"""Following up: what incidents that are over leave to do, and starting it where it does not hinder healing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec

import structlog
from prefect.deployments import arun_deployment

from tasks.diary import stage
from tasks.validating import lacking
from tasks.wiring import adapters

log = structlog.get_logger()

LEARN = "train-graphsage/nightly"
VALIDATE = "validate-causes/manual"
# More than this never waits for long: samples are kept for an hour.
_MOST_WAITING = 1000


@dataclass(frozen=True, slots=True)
class Due:
    """A run to start.

    Attributes:
        deployment: `flow/name`; it runs with its own parameters.
        key: Whoever starts the same key again starts nothing.
    """

    deployment: str
    key: str


def is_installed(package: str) -> bool:
    """Tell whether a package of the extra `learning` is here, without importing it."""
    return find_spec(package) is not None


@stage("find-what-is-due")
async def due(has: Callable[[str], bool] = is_installed) -> list[Due]:
    """Return what is due: a fit after every so many incidents fixed with proof, a validation of those that closed.

    Rounds are counted from when the newest model was kept: an incident that was fixed after the fit had read them, and
    before that, counts for none.
    """
    world = adapters()
    mesh, after = world.settings.mesh, world.settings.learn_after_incidents
    found = []
    if after and has("torch_geometric"):
        async with world.store.unit() as uow:
            newest = next(iter(await uow.models.recent(1)), None)
            since = datetime(1970, 1, 1, tzinfo=UTC) if newest is None else newest.made_at
            fixed = await uow.incidents.fixed_since(mesh, since)
        if fixed >= after:
            # A fit that ended with weights known already keeps their date: then every further round is one more.
            last = "none" if newest is None else newest.digest
            found.append(Due(LEARN, f"{LEARN} {mesh} {last} {fixed // after}"))
    waiting = await lacking(mesh, limit=_MOST_WAITING) if has("dowhy") else []
    if waiting:
        # Whatever was done or came anew since makes another key; what failed is not tried for ever.
        found.append(Due(VALIDATE, f"{VALIDATE} {mesh} {waiting[0]} {len(waiting)}"))
    return found


@stage("start-what-is-due")
async def start(one: Due) -> None:
    """Start a run and leave it to a worker; Prefect keeps the keys, and knows a run it was asked for before."""
    await arun_deployment(one.deployment, timeout=0, as_subflow=False, idempotency_key=one.key)
    log.info("run asked for", deployment=one.deployment, key=one.key)
