"""How an installation is: its processes from the run files, its long runs and nodes from the database."""

from __future__ import annotations

from dataclasses import dataclass

from flows.watchdog import BEAT_MAX_AGE
from infra.clock import SystemClock
from infra.db.cluster import database_url
from infra.db.unit import PostgresStore
from infra.process import is_alive
from infra.runfiles import Phase, recorded
from infra.settings import Settings
from models.errors import MeshError
from models.ports import Store

SAMPLE_MAX_AGE_SECONDS = 10.0  # twenty samples late: not a hiccup of a busy machine any more


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process; phase `dead` when its run file is all there is."""

    name: str
    phase: str
    pid: int
    restarts: int
    log: str


@dataclass(frozen=True, slots=True)
class Status:
    """Everything `status` shows.

    Attributes:
        processes: In order of start.
        beat_ages: Role -> seconds.
        sample_ages: Node -> seconds.
        addresses: What -> URL.
        problems: One sentence each; empty when all is well.
    """

    processes: tuple[ProcessStatus, ...]
    beat_ages: dict[str, float]
    sample_ages: dict[str, float]
    addresses: dict[str, str]
    problems: tuple[str, ...]


async def look(settings: Settings, *, store: Store | None = None) -> Status:
    """Look at the installation of these settings; what cannot be seen is a problem, not an error."""
    run = settings.state / "run"
    records = recorded(run) if run.is_dir() else []
    processes = tuple(
        ProcessStatus(
            one.name,
            one.phase.value if one.phase is Phase.DONE or is_alive(one.identity) else "dead",
            one.identity.pid,
            one.restarts,
            one.log,
        )
        for one in records
    )
    problems = [
        f"process {one.name} is {one.phase}; read {one.log}" for one in processes if one.phase in {"dead", "down"}
    ]
    beats: dict[str, float] = {}
    samples: dict[str, float] = {}
    if not processes:
        problems.append("nothing is up; start `x0tta6bl4 up`")
    else:
        own = PostgresStore(database_url(settings)) if store is None else None
        try:
            beats, samples = await _ages(own or store, settings.mesh)  # type: ignore[arg-type]
        except MeshError as error:
            problems.append(str(error))
        finally:
            if own is not None:
                await own.close()
    problems += [
        f"{role} has not beaten for {age:.1f} s" for role, age in beats.items() if age > BEAT_MAX_AGE.total_seconds()
    ]
    problems += [
        f"node {node} has not been heard for {age:.1f} s"
        for node, age in samples.items()
        if age > SAMPLE_MAX_AGE_SECONDS
    ]
    addresses = {
        "Prefect UI": f"http://127.0.0.1:{settings.prefect_port}",
        "API": f"http://{settings.api_host}:{settings.api_port}/docs",
        "metrics": f"http://{settings.api_host}:{settings.api_port}/metrics",
    }
    return Status(processes, beats, samples, addresses, tuple(problems))


async def _ages(store: Store, mesh: str) -> tuple[dict[str, float], dict[str, float]]:
    async with store.unit() as unit:
        runs = await unit.long_runs.all()
        samples = await unit.samples.latest(mesh)
        declared = await unit.meshes.load(mesh)
    now = SystemClock().now()  # after reading: no beat is younger than its reader
    # A role or a sample of a mesh that is gone is history, not a problem.
    nodes = {node.id for node in declared.nodes} if declared else set()
    roles = {f"watch-mesh:{mesh}", *(f"collect-node:{mesh}:{node}" for node in nodes)}
    return (
        {one.role: (now - one.beat_at).total_seconds() for one in runs if one.role in roles},
        {node: (now - one.at).total_seconds() for node, one in samples.items() if node in nodes},
    )
