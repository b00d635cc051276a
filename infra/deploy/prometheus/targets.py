"""Who is scraped: the nodes of a machine, from the node.json files that say where each of them stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from infra.lab.names import lab_folder
from infra.node.place import NodePlace

FOLDER = Path(__file__).parent / "targets"
OWN_MACHINE = "127.0.0.1"


def places_of(state: Path, mesh: str) -> list[NodePlace]:
    """Return the nodes of a mesh that stand on this machine: its lab's by name, else the machine itself, else none.

    Raises:
        ConfigurationInvalid: a node.json is damaged, or the mesh's name can be no lab's.
    """
    found = sorted(lab_folder(state, mesh).glob("*/node.json")) or sorted(state.glob("node/node.json"))
    return [one for one in map(NodePlace.load, found) if one.mesh == mesh]


def nodes(places: Sequence[NodePlace], *, port: int) -> str:
    """Write Prometheus' file of targets for these nodes, with the labels that the rules need."""
    return yaml.safe_dump(
        [
            {
                "targets": [f"{place.management or OWN_MACHINE}:{port}"],
                "labels": {"mesh": place.mesh, "node": place.node},
            }
            for place in places
        ],
        sort_keys=False,
    )
