"""One part of an installation whose parts live apart: `python -m flows.agent control|node|prefect|migrate`.

`up` keeps everything on one machine. An image, a pod or a unit keeps one part, and this is what it runs. The parts find
each other by DATABASE_URL and PREFECT_API_URL; whatever else differs is an option, so that it can be read off `ps`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from flows.installation import (
    CODE,
    CONTROL_QUEUE,
    TEMPORARY,
    Installation,
    deploy_command,
    environment,
    queue_of,
    server_environment,
    worker,
)
from flows.up import START_SECONDS, start_watchdog
from infra.db.migrate import migrate
from infra.db.unit import PostgresStore
from infra.enrol import credentials
from infra.licences import create_licence_key
from infra.log import configure
from infra.node.declared import mesh_of, read_place, read_places
from infra.node.place import NodePlace
from infra.node.signing import create_key
from infra.runfiles import end_recorded, only_one
from infra.settings import Settings
from infra.supervisor import ProcessSpec, Supervisor
from models.errors import BrokenError, ConfigurationInvalid, MeshError
from models.mesh import Mesh, Node, NodeId
from models.ports import Store

log = structlog.get_logger()

ALIVE = "alive"  # in the state folder; its age is the health check of images, pods and units
ALIVE_EVERY_SECONDS = 5.0  # a sixth of the age at which the health check calls us dead
FAILED, BROKEN = 1, 2  # as the command line's: asking again may help, somebody must mend it
ANYWHERE = "0.0.0.0"  # in a network of its own, whose policies say who comes in


@dataclass(frozen=True, slots=True)
class Part:
    """What one part is made of.

    Attributes:
        installation: As its processes see it.
        specs: They, in order.
    """

    installation: Installation
    specs: tuple[ProcessSpec, ...]


def database_of(settings: Settings) -> str:
    """Return the app database's address.

    Raises:
        ConfigurationInvalid: it is not set.
    """
    if settings.database_url is None:
        raise ConfigurationInvalid("DATABASE_URL is not set", "name the app database, postgresql+asyncpg://...")
    return settings.database_url.get_secret_value()


def elsewhere(settings: Settings, *, places: Sequence[NodePlace] = (), heal: bool) -> Installation:
    """Return an installation whose database and Prefect are somewhere else, as the environment says.

    Raises:
        ConfigurationInvalid: it does not say where.
    """
    url = database_of(settings)
    api = os.environ.get("PREFECT_API_URL")
    if not api:
        raise ConfigurationInvalid("PREFECT_API_URL is not set", "say where Prefect answers, http://host:4200/api")
    return Installation(settings, url, "", None, tuple(places), heal=heal, prefect=api)


def control_part(settings: Settings, *, heal: bool) -> Part:
    """Return the control side: the deployments that are no node's, and the worker that watches, heals and scans."""
    return _part(elsewhere(settings, heal=heal), "worker-control", queue=CONTROL_QUEUE)


def node_part(settings: Settings, place: NodePlace) -> Part:
    """Return a node's side: its own deployment, and the worker on its queue."""
    return _part(
        elsewhere(settings, places=(place,), heal=False),
        f"worker-{place.node}",
        queue=queue_of(place.node),
        flags=("--nodes-only",),
    )


def _part(installation: Installation, name: str, *, queue: str, flags: Sequence[str] = ()) -> Part:
    deployments = ProcessSpec(
        "deployments",
        (*deploy_command(installation), *flags),
        env=environment(installation),
        cwd=CODE,
        restart=False,
    )
    return Part(installation, (deployments, worker(installation, name, queues=(queue,), after=("deployments",))))


def own_credentials(folder: Path, node: str, *, mesh: str) -> dict[str, str]:
    """Return what a node was given when it joined, by variable.

    Raises:
        MeshError: there is nothing, or another node's.
    """
    found = credentials(folder, node, mesh=mesh)
    if found is None:
        raise ConfigurationInvalid(f"{node} has not joined: {folder} is empty", "let it: `x0tta6bl4 node join --once`")
    return found


def place_of(settings: Settings, places: Path, *, node: str, management: str | None) -> NodePlace:
    """Return a node's place as declared; one that nobody declared only watches its own interfaces.

    Args:
        settings: As read.
        places: Folder of `<node>.json`.
        node: The node's name.
        management: Address on which its /metrics are asked for; None: as the place says, else this machine only.

    Raises:
        ConfigurationInvalid: the declared place cannot be used.
    """
    declared = places / f"{node}.json"
    if declared.exists():
        place = read_place(declared, mesh=settings.mesh)
    else:
        place = NodePlace(mesh=settings.mesh, node=node, address="127.0.0.1", folder=settings.state / "node")
    return place.model_copy(update={"management": management}) if management else place


async def declare_mesh(store: Store, mesh: Mesh) -> None:
    """Store the declared mesh where it is not that already; nodes that only joined stay.

    Unlike `up`, which has just built its mesh, this finds one that lives: nothing that stands or is open is forgotten.

    Raises:
        SourceUnavailable: the database does not answer.
    """
    async with store.unit() as unit:
        before = await unit.meshes.load(mesh.name)
        whole = Mesh(mesh.name, (*mesh.nodes, *_joined(before, mesh)), mesh.links)
        if whole != before:
            await unit.meshes.save(whole)
            log.info("mesh declared", mesh=mesh.name, nodes=len(whole.nodes), links=len(whole.links))


def _joined(before: Mesh | None, mesh: Mesh) -> tuple[Node, ...]:
    """Return the nodes of an older declaration that had no link and that the new one does not name."""
    if before is None:
        return ()
    known = {node.id for node in mesh.nodes}
    return tuple(node for node in before.nodes if node.id not in known and not before.links_of(node.id))


async def join(store: Store, place: NodePlace) -> None:
    """Add a node that nobody declared to the mesh; a declared one is there already.

    Raises:
        SourceUnavailable: the database does not answer.
    """
    async with store.unit() as unit:
        mesh = await unit.meshes.load(place.mesh) or Mesh(place.mesh, (), ())
        if place.node not in {node.id for node in mesh.nodes}:
            node = Node(NodeId(place.node), place.address)
            await unit.meshes.save(Mesh(mesh.name, (*mesh.nodes, node), mesh.links))
            log.info("node joined", mesh=mesh.name, node=place.node)


async def keep(part: Part, stop: asyncio.Event, *, store: Store, stack: AsyncExitStack) -> None:
    """Keep a part's processes and posts until `stop` is set.

    Raises:
        MeshError: a process cannot be kept.
    """
    state = part.installation.settings.state
    supervisor = Supervisor(state, with_logs=False)
    stack.push_async_callback(supervisor.stop)
    supervisor.start(part.specs)
    beating = asyncio.create_task(_stay_alive(state / ALIVE))
    try:
        await supervisor.ready("deployments", at_most=START_SECONDS)
        watchdog = await start_watchdog(part.installation, supervisor, store, stack)
        watching = asyncio.create_task(supervisor.watch(stop))
        await asyncio.wait({watching, watchdog, beating}, return_when=asyncio.FIRST_COMPLETED)
        for one in (watching, watchdog, beating):
            if one.done():
                one.result()
    finally:
        beating.cancel()


async def _stay_alive(file: Path) -> None:
    while True:
        await asyncio.to_thread(file.touch)
        await asyncio.sleep(ALIVE_EVERY_SECONDS)


async def run_control(settings: Settings, stop: asyncio.Event, *, places: Path, heal: bool) -> None:
    """Be the control side until `stop` is set.

    Raises:
        MeshError: it cannot be, with what to do.
    """
    part = control_part(settings, heal=heal)
    create_key(settings.state)
    create_licence_key(settings.state)
    async with AsyncExitStack() as stack:
        store = await _moved_in(settings, part.installation.app_url, stack)
        await declare_mesh(store, mesh_of(settings.mesh, read_places(places, mesh=settings.mesh)))
        await keep(part, stop, store=store, stack=stack)


async def run_node(settings: Settings, stop: asyncio.Event, *, place: NodePlace) -> None:
    """Be a node's side until `stop` is set.

    Raises:
        MeshError: it cannot be, with what to do.
    """
    # The collector is told of a file in our own folder, since a declared place lies where nothing may be written.
    told = place.model_copy(update={"folder": settings.state / "node"})
    told.folder.mkdir(parents=True, exist_ok=True)
    (told.folder / "node.json").write_text(place.model_dump_json(indent=1))
    part = node_part(settings, told)
    async with AsyncExitStack() as stack:
        store = await _moved_in(settings, part.installation.app_url, stack)
        await join(store, place)
        await keep(part, stop, store=store, stack=stack)


async def _moved_in(settings: Settings, database: str, stack: AsyncExitStack) -> PostgresStore:
    """Take the state folder, end what a killed predecessor left in it, and open the store."""
    state = settings.state
    stack.enter_context(only_one(state))
    (state / TEMPORARY).mkdir(exist_ok=True, mode=0o700)
    run = state / "run"
    if run.is_dir():
        await end_recorded(run, mark=str(run.resolve()))
    store = PostgresStore(database)
    stack.push_async_callback(store.close)
    return store


def become_prefect(settings: Settings) -> None:
    """Become the Prefect server, with our retention and pace; its database is PREFECT_API_DATABASE_CONNECTION_URL.

    Raises:
        ConfigurationInvalid: nobody said where its database is.
    """
    database = os.environ.get("PREFECT_API_DATABASE_CONNECTION_URL")
    if not database:
        mend = "name Prefect's own database, postgresql+asyncpg://..."
        raise ConfigurationInvalid("PREFECT_API_DATABASE_CONNECTION_URL is not set", mend)
    (settings.state / TEMPORARY).mkdir(parents=True, exist_ok=True, mode=0o700)
    ours = server_environment(Installation(settings, "", database, None, (), heal=False))
    # The UI's pages are written out anew for its address, and an image's own folders are read-only.
    ours["PREFECT_SERVER_UI_STATIC_DIRECTORY"] = str(settings.state / "prefect-ui")
    # What somebody set stands: the UI's address is whatever a browser reaches it by.
    told = {name: value for name, value in ours.items() if name != "DATABASE_URL"} | dict(os.environ)
    port = str(settings.prefect_port)
    server = (sys.executable, "-m", "prefect", "server", "start", "--host", ANYWHERE, "--port", port)
    os.execve(server[0], server, told)  # noqa: S606 - as everywhere here: a list of arguments, never a shell


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flows.agent", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    control, node = parts.add_parser("control"), parts.add_parser("node")
    for one in (control, node):
        one.add_argument("--places", type=Path, default=Path("/etc/x0tta6bl4/nodes"), help="folder of <node>.json")
    control.add_argument("--heal", action=argparse.BooleanOptionalAction, default=True)
    node.add_argument("--name", default=socket.gethostname().split(".")[0], help="this node's; default: the host's")
    node.add_argument("--joined", type=Path, help="folder that `node join` wrote to; else the environment says it all")
    node.add_argument("--management", help="address of its /metrics")
    parts.add_parser("prefect")
    parts.add_parser("migrate")
    return parser


async def _run(asked: argparse.Namespace, settings: Settings) -> None:
    if asked.part == "migrate":
        await migrate(database_of(settings))
        return
    stop = asyncio.Event()
    body = asyncio.current_task()

    def stop_now() -> None:
        # The second one changes nothing: what is being taken down must not be left half-way.
        if not stop.is_set() and body is not None:
            stop.set()
            body.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop_now)
    try:
        if asked.part == "control":
            await run_control(settings, stop, places=asked.places, heal=asked.heal)
        else:
            place = place_of(settings, asked.places, node=asked.name, management=asked.management)
            await run_node(settings, stop, place=place)
    except asyncio.CancelledError:
        if not stop.is_set() or body is None:
            raise
        body.uncancel()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one part; what goes wrong is a sentence and an exit code, as on the command line."""
    asked = _parser().parse_args(arguments)
    configure()
    settings = Settings()
    try:
        if asked.part == "node" and asked.joined:
            # For our processes as much as for us, as a unit's environment file is.
            os.environ.update(own_credentials(asked.joined, asked.name, mesh=settings.mesh))
            settings = Settings()
        if asked.part == "prefect":
            become_prefect(settings)
        asyncio.run(_run(asked, settings))
    except MeshError as error:
        log.error("part cannot run", part=asked.part, reason=str(error))  # noqa: TRY400 - the sentence says it all
        sys.exit(BROKEN if isinstance(error, BrokenError) else FAILED)


if __name__ == "__main__":
    main()
