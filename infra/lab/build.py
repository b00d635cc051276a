"""Bringing a lab up and taking it down.

    from infra.lab import build
    from infra.lab.topology import Shape, mesh

    lab = await build.up(mesh(Shape.RING_CHORD, 6, name="mine"), state=Path("/var/lib/x0tta6bl4"))
    await lab.settled(timeout_s=30)     # every node routes every loopback by its cheapest path
    ...                                 # lab.places, lab.namespace("n0"), lab.folder / "n0" / "node.json"
    await lab.down()

Everything it makes begins with `x0-<lab>-` or lies in `<state>/lab/<lab>/`; `clean` removes exactly that, after any
crash. Names: letters and digits, at most twelve. Needs root.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from infra.lab import clients, kernel, names, processes, routing
from infra.lab.names import CLIENT_INTERFACE
from infra.lab.routing import Timers
from infra.lab.tables import loopback_routes
from infra.lab.topology import next_hops
from infra.node.place import GatePlace, NodePlace
from models.errors import ConfigurationInvalid, SourceUnavailable
from models.mesh import LinkId, Mesh, NodeId

log = structlog.get_logger()
LOOK_SECONDS = 0.5  # how often the kernels are asked while routing converges; a look costs some 6 ms of CPU a node


@dataclass(frozen=True, slots=True)
class Lab:
    """A running mesh.

    Attributes:
        mesh: As declared; `mesh.name` is the lab's name.
        timers: Of the routing daemons.
        state: The installation's state folder.
        places: By node.
        gateway: The node that a client stands behind; None: there is no client.
    """

    mesh: Mesh
    timers: Timers
    state: Path
    places: Mapping[NodeId, NodePlace]
    gateway: NodeId | None = None

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.mesh.name

    @property
    def folder(self) -> Path:
        """`<state>/lab/<lab>`: lab.json, and a folder with node.json for each node."""
        return names.lab_folder(self.state, self.name)

    def namespace(self, node: NodeId) -> str:
        """Return the network namespace of a node."""
        return names.node_namespace(self.name, node)

    def wire(self, link: LinkId) -> str:
        """Return the network namespace of a link's wire."""
        return names.wire_namespace(self.mesh, link)

    @property
    def client(self) -> str:
        """Return the network namespace of the gateway's client."""
        return names.client_namespace(self.name)

    async def settled(self, timeout_s: float = 30) -> float:
        """Wait until every node routes to every loopback by its cheapest path; return the seconds it took.

        Raises:
            SourceUnavailable: one does not within the time; says which node lacks which target.
        """
        wanted = next_hops(self.mesh)
        started = time.monotonic()
        while lacking := await asyncio.to_thread(self._lacking, wanted):
            if time.monotonic() - started > timeout_s:
                raise SourceUnavailable(f"routing in lab {self.name}", lacking)
            await asyncio.sleep(LOOK_SECONDS)
        return time.monotonic() - started

    async def down(self) -> None:
        """Remove the lab and everything it made, its folder too."""
        await asyncio.to_thread(_remove, self.state, self.name)

    def _lacking(self, wanted: Mapping[NodeId, Mapping[NodeId, NodeId]]) -> str:
        """Name the first route that is missing or goes elsewhere than by the wanted next hop; empty when none."""
        for node in self.mesh.nodes:
            routes = loopback_routes(self.namespace(node.id))
            for target in self.mesh.nodes:
                if target.id == node.id:
                    continue
                interface = routes.get(target.address)
                hop = wanted[node.id][target.id]
                if interface != f"to-{hop}":
                    return f"{node.id} reaches {target.id} by {interface or 'no route'}, not by to-{hop}"
        return ""


async def up(mesh: Mesh, *, state: Path, timers: Timers | None = None, gateway: NodeId | None = None) -> Lab:
    """Bring up a lab: namespaces, wires, management network, routing daemons. Routing then needs about eight seconds.

    Args:
        mesh: Shape, costs and daemons; its name becomes the lab's name.
        state: The installation's state folder; the lab lives in `lab/<name>` below it.
        timers: Of the routing daemons; None: hello 1 s.
        gateway: The node behind whose shut gate a client is to stand; None: no client and no gate.

    Raises:
        ConfigurationInvalid: the name is unfit or in use, or the mesh has no such gateway.
        ToolMissing: the routing daemon is not installed.
        NodeUnavailable: a routing daemon did not start.
    """
    timers = timers or Timers()
    places = {node.id: routing.place(mesh, node.id, state=state) for node in mesh.nodes}
    if gateway is not None:
        if gateway not in places:
            raise ConfigurationInvalid(f"the lab has no node {gateway}", "set X0_GATEWAY_NODE to one of its nodes")
        places[gateway] = places[gateway].model_copy(update={"gate": GatePlace(interfaces=(CLIENT_INTERFACE,))})
    lab = Lab(mesh=mesh, timers=timers, state=state, places=places, gateway=gateway)
    if lab.folder.exists() or kernel.namespaces(names.prefix(lab.name)):
        raise ConfigurationInvalid(
            f"a lab named {lab.name} exists already", "take it down first, or name this one anew"
        )
    started = time.monotonic()
    building = asyncio.create_task(asyncio.to_thread(_build, lab))
    try:
        await asyncio.shield(building)
    except BaseException:
        # Half a lab would stand in the way of the next one. A caller that was interrupted leaves a thread that still
        # builds: what it makes after the removal, nobody would find.
        await asyncio.wait({building})
        _remove(state, lab.name)
        raise
    seconds = round(time.monotonic() - started, 3)
    log.info("lab is up", lab=lab.name, nodes=len(mesh.nodes), links=len(mesh.links), seconds=seconds)
    return lab


def load(name: str, *, state: Path) -> Lab:
    """Return the lab that was brought up under this name, from its `lab.json`.

    Raises:
        ConfigurationInvalid: there is none, or its files are damaged.
    """
    path = names.lab_folder(state, name) / "lab.json"
    try:
        record = _RECORD.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigurationInvalid(f"no lab named {name} ({error})", "bring it up, or clean up what is left") from error
    places = {node.id: NodePlace.load(path.parent / node.id / "node.json") for node in record.mesh.nodes}
    return Lab(mesh=record.mesh, timers=record.timers, state=state, places=places, gateway=record.gateway)


async def clean(lab: str | None = None, *, state: Path) -> tuple[str, ...]:
    """Remove a lab after whatever crash, or with None every lab of this state folder; return their names.

    Ends the processes that live in the labs' namespaces, removes the namespaces, then the folders. Clean is no error.
    """
    folder = names.labs_folder(state)
    found = (
        (lab,) if lab is not None else tuple(sorted(one.name for one in folder.iterdir())) if folder.is_dir() else ()
    )
    for name in found:
        await asyncio.to_thread(_remove, state, name)
    return found


@dataclass(frozen=True, slots=True)
class _Record:
    mesh: Mesh
    timers: Timers
    gateway: NodeId | None = None


_RECORD = TypeAdapter(_Record)


def _build(lab: Lab) -> None:
    # The folder first: `clean` finds labs by it, so from here on a crash leaves nothing that cannot be found.
    lab.folder.mkdir(parents=True)
    (lab.folder / "lab.json").write_bytes(_RECORD.dump_json(_Record(lab.mesh, lab.timers, lab.gateway), indent=1))
    for place in lab.places.values():
        kernel.build_node(place)
    for link in lab.mesh.links:
        kernel.build_wire(lab.mesh, link, lab.places)
    kernel.build_management(lab.mesh, lab.places)
    if lab.gateway is not None:
        clients.build_client(lab.name, lab.places[lab.gateway])
    for place in lab.places.values():
        place.save()
        if place.daemon is not None:
            place.daemon.config.write_text(routing.configuration(place, lab.timers))
    processes.start_daemons(tuple(lab.places.values()))


def _remove(state: Path, name: str) -> None:
    ours = kernel.namespaces(names.prefix(name))
    processes.end_all_in(kernel.NAMESPACES / one for one in ours)
    # Wires first: with them go the veths, even where somebody still holds a socket in a node.
    for one in sorted(ours, key=lambda one: not one.removeprefix(names.prefix(name)).startswith("w")):
        kernel.remove_namespace(one)
    folder = names.lab_folder(state, name)
    if folder.exists():
        shutil.rmtree(folder)
