"""One installation on one machine: brought up, watched over, and taken down again.

async with installed(settings, lab=LabRequest(), heal=True, tell=print) as running:
    await running.watch(stop)
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog

from ebpf import mounts
from flows.declaration import declare
from flows.installation import TEMPORARY, Installation, control, database, hands, lab_outside
from flows.orchestrator import PrefectOrchestrator
from flows.watchdog import POSTS_FILE, Watchdog, end_run, read_posts, run_processes
from infra import scrape
from infra.clock import SystemClock
from infra.db.cluster import Cluster, cluster_folder
from infra.db.migrate import migrate
from infra.db.unit import PostgresStore
from infra.lab import build
from infra.lab.chains import living
from infra.lab.telegram import living as telegram
from infra.lab.topology import Shape
from infra.lab.topology import mesh as shaped
from infra.licences import create_licence_key
from infra.node.place import NodePlace
from infra.node.senses import configuration_of
from infra.node.signing import create_key
from infra.ports import require_free
from infra.process import is_alive, send
from infra.runfiles import end_recorded, lock_holder, only_one
from infra.settings import Settings
from infra.shop.settings import ShopSettings, catalogue_of
from infra.supervisor import Supervisor
from infra.telegram.settings import TelegramSettings
from models.errors import ConfigurationInvalid, SourceUnavailable
from models.mesh import Mesh, Node, NodeId
from models.payment_address import Chain
from models.ports import Store

log = structlog.get_logger()

LAB_LEASE_SECONDS = 20.0  # DESIGN: the lab's lease; nothing in a lab needs a minute to be verified
START_SECONDS = 300.0  # the very first start initialises a cluster and migrates two databases, on a busy machine too
LAB_GATEWAY = "n0"  # every shape has it; in the line it is an end, where a client would stand
MOUNTS_FILE = "mounts"
STOP_SECONDS = 90.0  # a lab of 64 nodes, with an actuator each that restarts a daemon
LOOK_SECONDS = 0.1

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LabRequest:
    """Which lab to bring up."""

    shape: Shape = Shape.RING_CHORD
    nodes: int = 6


@dataclass(frozen=True, slots=True)
class Running:
    """An installation that serves."""

    settings: Settings
    installation: Installation
    supervisor: Supervisor
    store: PostgresStore
    lab: build.Lab | None
    watchdog: asyncio.Task[None]

    async def watch(self, stop: asyncio.Event) -> None:
        """Return once `stop` is set.

        Raises:
            MeshError: a process cannot be kept, or the watchdog failed.
        """
        watching = asyncio.create_task(self.supervisor.watch(stop), name="supervision")
        try:
            await asyncio.wait({watching, self.watchdog}, return_when=asyncio.FIRST_COMPLETED)
            await (watching if watching.done() else self.watchdog)
        finally:
            watching.cancel()


def settings_for_lab(settings: Settings) -> Settings:
    """Return the settings with the lab's lease and its gateway node, unless the operator chose others."""
    ours = {"lease_seconds": LAB_LEASE_SECONDS, "gateway_node": LAB_GATEWAY}
    return settings.model_copy(
        update={name: value for name, value in ours.items() if name not in settings.model_fields_set}
    )


def this_machine(settings: Settings) -> tuple[Mesh, NodePlace]:
    """Return the mesh of one node that a machine without a lab is, watch only."""
    name = NodeId(socket.gethostname().split(".")[0])
    place = NodePlace(mesh=settings.mesh, node=name, address="127.0.0.1", folder=settings.state / "node")
    return Mesh(name=settings.mesh, nodes=(Node(id=name, address="127.0.0.1"),), links=()), place


@asynccontextmanager
async def installed(settings: Settings, *, lab: LabRequest | None, heal: bool, tell: Tell) -> AsyncIterator[Running]:
    """Bring everything up, in order of readiness; take it all down at the end, whatever happened.

    Args:
        settings: As read.
        lab: The mesh to build; None: this machine itself, watch only.
        heal: Off: watch and record only.
        tell: Gets one sentence per stage.

    Raises:
        RefusedError: the state folder is in use.
        ToolMissing: something must be installed first.
        SourceUnavailable: something did not get ready; names its log.
        ConfigurationInvalid: the state folder or a port cannot be had; what is sold, or where it is paid to, cannot be
            used.
    """
    settings = settings_for_lab(settings) if lab else settings
    state = settings.state
    _make_folder(state)
    async with AsyncExitStack() as stack:
        stack.enter_context(only_one(state))
        await clear(settings)
        # Not earlier: what a crashed run of ours left may have held them. Whoever holds them now would answer for us.
        require_free(settings.api_host, settings.api_port, variable="X0_API_PORT")
        require_free("127.0.0.1", settings.prefect_port, variable="X0_PREFECT_PORT")
        create_key(state)
        create_licence_key(state)
        # Taken down in reverse: what looks on first, then the processes, then the mesh they live in, then the mounts.
        _mount(state, stack)
        mesh, places, built = await _nodes(settings, lab, stack, tell=tell)
        supervisor = Supervisor(state)
        stack.push_async_callback(supervisor.stop)
        cluster = Cluster(cluster_folder(settings)) if settings.database_url is None or _prefect_url() is None else None
        if cluster is not None:
            await asyncio.to_thread(cluster.create)
        installation = _installation(settings, cluster, places=places, heal=heal)
        if lab is not None:
            installation = replace(installation, outside=made_up(state))
        scrape.prepare(settings, places, chains=tuple(Chain) if lab else tuple(catalogue_of(ShopSettings()).deposits))
        supervisor.start(database(installation))
        if cluster is not None:
            await supervisor.ready("postgres", at_most=START_SECONDS)
        await migrate(installation.app_url)
        tell("database ready")
        supervisor.start([*lab_outside(installation), *control(installation)])
        store = PostgresStore(installation.app_url)
        stack.push_async_callback(store.close)
        baselines = [configuration_of(place) for place in places]
        await declare(store, mesh, baselines=baselines, now=SystemClock().now())
        supervisor.start(hands(installation))
        await supervisor.ready("gateway", "deployments", at_most=START_SECONDS)
        tell(f"Prefect ready, UI at {installation.prefect_api.removesuffix('/api')}; API at {installation.gateway}")
        watchdog = await start_watchdog(installation, supervisor, store, stack)
        if built is not None:
            tell(f"routing settled after {await built.settled():.1f} s")
        yield Running(settings, installation, supervisor, store, built, watchdog)
        tell("stopping")


async def clear(settings: Settings) -> bool:
    """Remove whatever an earlier `up` left behind when it crashed; tell whether there was anything."""
    state = settings.state
    run = state / "run"
    ended = await end_recorded(run, mark=str(run.resolve())) if run.is_dir() else 0
    # Postgres does not die with its supervisor: it changes its user, and the kernel then unties it.
    cluster = Cluster(cluster_folder(settings))
    ended += int(await asyncio.to_thread(cluster.stop_orphan))
    labs = await build.clean(state=state) if os.geteuid() == 0 else ()
    ours = _recorded_mounts(state)
    if ours:
        mounts.unmount(ours)
        (state / MOUNTS_FILE).unlink()
    (state / POSTS_FILE).unlink(missing_ok=True)
    if ended or labs or ours:
        log.info("earlier run cleaned up", processes=ended, labs=list(labs), mounts=len(ours))
    return bool(ended or labs or ours)


async def stop_living(state: Path) -> bool:
    """Ask a living `up` on this state folder to stop, and wait for it; False when there is none.

    Raises:
        SourceUnavailable: it did not stop in time.
    """
    holder = lock_holder(state)
    if holder is None:
        return False
    send(holder, signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            while is_alive(holder):  # noqa: ASYNC110 - another process, which tells nobody
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError as error:
        raise SourceUnavailable(f"`up` with pid {holder.pid}", "it did not stop; end it with SIGKILL") from error
    return True


def missing_here() -> list[str]:
    """Return what this user cannot have on this machine, each with how to get it; empty for root."""
    if os.geteuid() == 0:
        return []
    return [
        "no eBPF counters and no probes: run `x0tta6bl4 up` as root (or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN)",
        "no actuator, so nothing can be healed from here: it must run as root (`x0tta6bl4 up` as root starts it)",
        "no lab: network namespaces need root",
    ]


def _make_folder(state: Path) -> None:
    try:
        # Postgres' own user must be able to pass through; secrets are files of mode 0600.
        state.mkdir(parents=True, exist_ok=True, mode=0o755)
        (state / TEMPORARY).mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        message = f"the state folder {state} cannot be made ({error.strerror})"
        raise ConfigurationInvalid(message, "choose another with X0_STATE") from error


def made_up(state: Path) -> Mapping[str, str]:
    """Return what leads a lab to its own chains and its own Telegram.

    Nobody's money is real in a lab, whatever addresses the environment holds; a bot of the operator's own may speak.
    """
    has_bot = TelegramSettings().telegram_token is not None
    return {**living.prepare(state, SystemClock()), **({} if has_bot else telegram.prepare(state))}


def _mount(state: Path, stack: AsyncExitStack) -> None:
    if os.geteuid() != 0:
        return
    ours = mounts.mount_missing()
    if not ours:
        return
    (state / MOUNTS_FILE).write_text("\n".join(str(path) for path in ours))
    stack.callback(_unmount, state, ours)


def _unmount(state: Path, ours: tuple[Path, ...]) -> None:
    mounts.unmount(ours)
    (state / MOUNTS_FILE).unlink()


def _recorded_mounts(state: Path) -> tuple[Path, ...]:
    path = state / MOUNTS_FILE
    return tuple(Path(line) for line in path.read_text().splitlines()) if path.exists() else ()


def _prefect_url() -> str | None:
    return os.environ.get("PREFECT_API_DATABASE_CONNECTION_URL")


async def _nodes(
    settings: Settings, lab: LabRequest | None, stack: AsyncExitStack, *, tell: Tell
) -> tuple[Mesh, tuple[NodePlace, ...], build.Lab | None]:
    if lab is None:
        mesh, place = this_machine(settings)
        place.save()
        for line in missing_here():
            tell(line)
        return mesh, (place,), None
    mesh = shaped(lab.shape, lab.nodes, name=settings.mesh)
    gateway = NodeId(settings.gateway_node) if settings.gateway_node else None
    built = await build.up(mesh, state=settings.state, gateway=gateway)
    stack.push_async_callback(built.down)
    tell(f"lab of {len(mesh.nodes)} nodes and {len(mesh.links)} links is up")
    return mesh, tuple(built.places[node.id] for node in mesh.nodes), built


def _installation(
    settings: Settings, cluster: Cluster | None, *, places: tuple[NodePlace, ...], heal: bool
) -> Installation:
    own = settings.database_url.get_secret_value() if settings.database_url else None
    app_url = own or (cluster.app_url if cluster else "")
    prefect_url = _prefect_url() or (cluster.prefect_url if cluster else "")
    command = tuple(cluster.foreground_command()) if cluster else None
    return Installation(settings, app_url, prefect_url, command, places, heal=heal)


async def start_watchdog(
    installation: Installation, supervisor: Supervisor, store: Store, stack: AsyncExitStack
) -> asyncio.Task[None]:
    """See to the succession of the posts in the state folder until the stack unwinds.

    Raises:
        ConfigurationInvalid: the posts cannot be read.
    """
    orchestrator = PrefectOrchestrator(installation.prefect_api, auth=os.environ.get("PREFECT_API_AUTH_STRING"))
    stack.push_async_callback(orchestrator.close)
    watchdog = Watchdog(
        read_posts(installation.settings.state / POSTS_FILE),
        store,
        orchestrator=orchestrator,
        clock=SystemClock(),
        is_started=lambda run: bool(run_processes(supervisor.mark, run)),
        end_run=partial(end_run, supervisor.mark),
    )
    task = asyncio.create_task(watchdog.watch(), name="watchdog")

    async def dismiss() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(dismiss)
    return task
