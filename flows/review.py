"""Review: what a watcher would have seen of a mesh too large for one, region by region, on threads or on Dask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import structlog
from prefect import flow
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from models.errors import ConfigurationInvalid
from models.regions import regions
from models.reviewing import Looks, Seen, findings, outlooks, seen_by, shared_by, told
from tasks import review
from tasks.wiring import adapters, pace_of_watch

log = structlog.get_logger()

LOCAL = "local"
T = TypeVar("T")


class ReviewParameters(BaseModel):
    """What to look at again; Prefect's UI makes its form of this."""

    model_config = ConfigDict(frozen=True)

    mesh: str = Field(default="lab", description="Name of the mesh.")
    end: AwareDatetime | None = Field(default=None, description="When the stretch ends; unset: now.")
    seconds: float = Field(
        default=60, ge=10, le=3600, description="How long it is; links are judged after its first ten samples."
    )
    most_nodes: int = Field(default=50, ge=1, description="Nodes of a region, at most.")
    dask: str | None = Field(
        default=None,
        description="Scheduler of a Dask cluster, tcp://HOST:8786, whose workers have this installation's settings; "
        "`local`: processes of this machine; unset: threads of this process.",
    )


@dataclass(frozen=True, slots=True)
class Review:
    """What was seen at each look, and by how many regions."""

    regions: int
    seen: tuple[Seen, ...]


@flow(name="review-mesh", persist_result=False)
async def review_mesh(asked: ReviewParameters) -> Review:
    """Cut the mesh into regions, look at each again, and log what they found together.

    Raises:
        ConfigurationInvalid: no such mesh, or Dask is asked for and not installed.
    """
    found: Review = await review_regions.with_options(task_runner=runner(asked.dask))(asked)
    log.info("mesh reviewed", mesh=asked.mesh, regions=found.regions, looks=len(found.seen))
    for one in told(found.seen):
        between = {"first": one.first.isoformat(), "last": one.last.isoformat(), "looks": one.looks}
        log.info("seen in review", element=str(one.element), symptom=one.kind.value, **between)
    return found


@flow(name="review-regions", persist_result=False)
async def review_regions(asked: ReviewParameters) -> Review:
    """Look at each region twice: for what all must know, and for its symptoms."""
    mesh = await review.declared(asked.mesh)
    cut = regions(mesh, most_nodes=asked.most_nodes)
    end = asked.end or adapters().clock.now()
    looks = Looks(end - timedelta(seconds=asked.seconds), end, pace_of_watch())

    async def each(name: str, think: Callable[..., T], **known: object) -> list[T]:
        task = review.look_again.with_options(name=name)
        thoughts = [(one.seen, partial(think, mesh, one, looks=looks, **known)) for one in cut]
        futures = [task.submit(mesh.name, nodes, looks.start, looks.end, thought) for nodes, thought in thoughts]
        # In a thread, since waiting would hold the loop up.
        return await asyncio.to_thread(lambda: [one.result() for one in futures])

    known = await each("look-out", outlooks)
    found = await each("find", findings, shared=shared_by(known))
    return Review(len(cut), seen_by(found, looks))


def runner(dask: str | None) -> TaskRunner[Any]:
    """Return what runs a review's tasks.

    Raises:
        ConfigurationInvalid: Dask is asked for and not installed.
    """
    if dask is None:
        return ThreadPoolTaskRunner()
    try:
        from prefect_dask import DaskTaskRunner  # noqa: PLC0415 - the extra `scale` may be absent
    except ImportError as error:
        raise ConfigurationInvalid("Dask is not installed", "pip install -r requirements-scale.lock") from error
    # A detector holds the interpreter all the time: a thread more a process would gain nothing.
    on_this_machine = {"processes": True, "threads_per_worker": 1, "dashboard_address": None}
    chosen: TaskRunner[Any] = (
        DaskTaskRunner(cluster_kwargs=on_this_machine) if dask == LOCAL else DaskTaskRunner(address=dask)
    )
    return chosen
