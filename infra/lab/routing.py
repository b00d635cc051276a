"""The routing daemon of a lab node: its configuration text, its command, and the node's `node.json`. Pure."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from infra.lab.names import lab_folder, node_namespace
from infra.lab.topology import LOOPBACKS, link_addresses, management
from infra.node.place import Daemon, LinkEnd, NodePlace, Reach
from models.errors import ConfigurationInvalid, ToolMissing
from models.mesh import Mesh, NodeId, RoutingDaemon

REACH = 8  # reach probes cost packets for each target; eight see every part of a mesh of fifty
LONGEST_SOCKET_PATH = 100  # sun_path holds 108 bytes, and a few names are longer than this file's
DEBIAN_DAEMONS = "/usr/sbin:/sbin"  # a plain user's PATH on Debian lacks them


class Timers(BaseModel):
    """How fast the routing daemon notices. babeld's own defaults are `hello_s=4, update_s=16, smoothing_s=4`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hello_s: float = Field(default=1, ge=0.05, le=60, description="Hello period; OSPF rounds it up to whole seconds.")
    update_s: float = Field(default=4, ge=0.2, le=240, description="babeld's full update period.")
    smoothing_s: int = Field(
        default=0,
        ge=0,
        le=60,
        # A route babeld just learnt starts with half of infinity as its smoothed metric, so with a half-life of 4 s a
        # mesh needs most of a minute until every node is on its cheapest path.
        description="babeld's half-life of a route's smoothed metric; 0 believes a metric at once.",
    )
    dead_hellos: int = Field(default=4, ge=2, le=20, description="OSPF: a neighbour is dead after so many hellos.")
    bfd: bool = Field(default=False, description="BIRD: add BFD, 100 ms x 3.")


def place(mesh: Mesh, node: NodeId, *, state: Path) -> NodePlace:
    """Return where a lab node is and what it touches.

    Raises:
        ConfigurationInvalid: the state folder's path is too long for a unix socket.
        ToolMissing: the routing daemon is not installed.
    """
    index = [one.id for one in mesh.nodes].index(node)
    folder = lab_folder(state, mesh.name) / node
    return NodePlace(
        mesh=mesh.name,
        node=node,
        address=mesh.nodes[index].address,
        management=management(index),
        netns=node_namespace(mesh.name, node),
        folder=folder,
        links=_link_ends(mesh, node),
        reach=_reach(mesh, index),
        daemon=_daemon(mesh.nodes[index].daemon, folder),
    )


def configuration(place: NodePlace, timers: Timers) -> str:
    """Return the text of the daemon's configuration file."""
    if place.daemon is not None and place.daemon.kind is RoutingDaemon.BIRD:
        return _bird(place, timers)
    return _babeld(place, timers)


def _link_ends(mesh: Mesh, node: NodeId) -> tuple[LinkEnd, ...]:
    ends = []
    for index, link in enumerate(mesh.links):
        if node not in link.nodes:
            continue
        ours = link.end_at(node)
        theirs = link.far_end(ours)
        address, peer_address = link_addresses(index) if ours == link.a else reversed(link_addresses(index))
        ends.append(
            LinkEnd(
                interface=ours.name,
                address=address,
                peer=theirs.node,
                peer_address=peer_address,
                peer_loopback=mesh.node(theirs.node).address,
                cost=link.cost,
            )
        )
    return tuple(ends)


def _reach(mesh: Mesh, index: int) -> tuple[Reach, ...]:
    """Choose evenly among the others, beginning after ourselves, so that the nodes together cover the mesh."""
    others = mesh.nodes[index + 1 :] + mesh.nodes[:index]
    count = min(REACH, len(others))
    chosen = [others[step * len(others) // count] for step in range(count)]
    return tuple(Reach(node=one.id, address=one.address) for one in chosen)


def _program(name: str, mend: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=DEBIAN_DAEMONS)
    if found is None:
        raise ToolMissing(name, mend)
    return found


def _daemon(kind: RoutingDaemon, folder: Path) -> Daemon:
    pidfile, socket, config = folder / "daemon.pid", folder / "daemon.sock", folder / "daemon.conf"
    command: tuple[str, ...]
    if len(str(socket)) > LONGEST_SOCKET_PATH:
        raise ConfigurationInvalid(f"{socket} is too long for a unix socket", "choose a shorter state folder")
    if kind is RoutingDaemon.BIRD:
        program = _program("bird", "apt install bird2")
        command = (program, "-f", "-c", str(config), "-s", str(socket), "-P", str(pidfile))
    else:
        program = _program("babeld", "apt install babeld")
        kept, log = folder / "babeld.state", folder / "daemon.log"
        command = (program, "-G", str(socket), "-I", str(pidfile), "-S", str(kept), "-L", str(log), "-c", str(config))
    return Daemon(kind=kind, command=command, pidfile=pidfile, socket=socket, config=config)


def _babeld(place: NodePlace, timers: Timers) -> str:
    interfaces = "\n".join(
        f"interface {end.interface} type wired rxcost {end.cost}"
        f" hello-interval {timers.hello_s:g} update-interval {timers.update_s:g}"
        for end in place.links
    )
    # babeld would set sysctls at start and put them back at exit; in the lab they belong to the lab and its faults.
    return f"""skip-kernel-setup true
smoothing-half-life {timers.smoothing_s}
{interfaces}
redistribute local ip {place.address}/32 eq 32 allow
redistribute local deny
"""


def _bird(place: NodePlace, timers: Timers) -> str:
    hello = max(1, round(timers.hello_s))  # OSPF counts whole seconds
    bfd = " bfd yes;" if timers.bfd else ""
    interfaces = "\n".join(
        f'    interface "{end.interface}" '
        f"{{ type ptp; cost {end.cost}; hello {hello}; dead {hello * timers.dead_hellos};{bfd} }};"
        for end in place.links
    )
    protocol = 'protocol bfd { interface "to-*" { interval 100 ms; multiplier 3; }; }\n' if timers.bfd else ""
    return f"""log "{place.folder}/daemon.log" {{ warning, error, fatal, bug }};
router id {place.address};
protocol device {{ }}
protocol kernel {{
  ipv4 {{ import none; export where net ~ [ {LOOPBACKS}+ ] && net != {place.address}/32; }};
}}
{protocol}protocol ospf v2 mesh {{
  ipv4 {{ import all; export none; }};
  area 0 {{
    interface "lo" {{ stub yes; }};
{interfaces}
  }};
}}
"""
