"""What everything a lab makes is called: namespaces, wire ports, folders. Pure, and the basis of cleaning up."""

from __future__ import annotations

import re
from pathlib import Path

from models.errors import ConfigurationInvalid
from models.mesh import Interface, LinkId, Mesh, NodeId

# No hyphen: `x0-a-` must never be the beginning of another lab's names. Twelve letters leave room in a socket's path.
LAB_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")
MANAGEMENT_INTERFACE = "mgmt0"
BRIDGE = "br0"
CLIENT_INTERFACE = "clients0"


def checked_name(lab: str) -> str:
    """Return the lab's name.

    Raises:
        ConfigurationInvalid: it is no name from which namespaces can be told apart.
    """
    if not LAB_NAME.fullmatch(lab):
        raise ConfigurationInvalid(f"{lab!r} is no name for a lab", "use up to 12 letters and digits, a letter first")
    return lab


def prefix(lab: str) -> str:
    """Return what the name of every namespace of this lab begins with."""
    return f"x0-{checked_name(lab)}-"


def node_namespace(lab: str, node: NodeId) -> str:
    """Return the namespace of a node."""
    return f"{prefix(lab)}{node}"


def wire_namespace(mesh: Mesh, link: LinkId) -> str:
    """Return the namespace of a link's wire."""
    index = [one.id for one in mesh.links].index(link)
    return f"{prefix(mesh.name)}w{index}"


def management_namespace(lab: str) -> str:
    """Return the namespace of the management network's bridge."""
    return f"{prefix(lab)}mgmt"


def client_namespace(lab: str) -> str:
    """Return the namespace of the gateway node's client."""
    return f"{prefix(lab)}client"


def wire_port(end: Interface) -> str:
    """Return the wire's port that faces this end: `p-n0`."""
    return f"p-{end.node}"


def labs_folder(state: Path) -> Path:
    """Return the folder that holds one folder per lab."""
    return state / "lab"


def lab_folder(state: Path, lab: str) -> Path:
    """Return the folder of one lab."""
    return labs_folder(state) / checked_name(lab)
