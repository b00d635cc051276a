"""Who is scraped: a folder from which a Prometheus of this machine runs, written when an installation starts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import yaml

from infra.lab.names import lab_folder
from infra.node.place import NodePlace
from infra.settings import Settings
from models.payment_address import Chain

FOLDER = "prometheus"
SHIPPED = Path(__file__).parent / "deploy" / "prometheus"
OWN_MACHINE = "127.0.0.1"
_EVERYWHERE = {"0.0.0.0", "::"}


def places_of(state: Path, mesh: str) -> list[NodePlace]:
    """Return the nodes of a mesh that stand on this machine: its lab's by name, else the machine itself, else none.

    Raises:
        ConfigurationInvalid: a node.json is damaged, or the mesh's name can be no lab's.
    """
    found = sorted(lab_folder(state, mesh).glob("*/node.json")) or sorted(state.glob("node/node.json"))
    return [one for one in map(NodePlace.load, found) if one.mesh == mesh]


def nodes(places: Sequence[NodePlace], *, port: int) -> str:
    """Write Prometheus' file of targets for these nodes, with the labels that the rules need."""
    return _targets(
        (f"{place.management or OWN_MACHINE}:{port}", {"mesh": place.mesh, "node": place.node}) for place in places
    )


def prepare(settings: Settings, places: Sequence[NodePlace], *, chains: Collection[Chain]) -> Path:
    """Write `prometheus/` in the state folder: the shipped configuration and rules, linked, and this machine's targets.

    Args:
        settings: As read.
        places: The nodes that stand here.
        chains: Those that are scanned here.

    Returns:
        The folder. An image has no shipped configuration to link; the targets are there all the same.
    """
    folder = settings.state / FOLDER
    targets = folder / "targets"
    targets.mkdir(parents=True, exist_ok=True)
    ports = {Chain.TRON: settings.tron_metrics_port, Chain.TON: settings.ton_metrics_port}
    written = {
        "gateway.yml": _targets([(own_gateway(settings), {})]),
        "nodes.yml": nodes(places, port=settings.node_metrics_port),
        "scans.yml": _targets((f"{OWN_MACHINE}:{ports[one]}", {"chain": one.value}) for one in sorted(chains)),
    }
    for name, text in written.items():
        (targets / name).write_text(text)
    for name in ("prometheus.yml", "rules"):
        if (SHIPPED / name).exists():
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(SHIPPED / name)
    return folder


def own_gateway(settings: Settings) -> str:
    """Return host and port at which this machine reaches its own gateway."""
    host = OWN_MACHINE if settings.api_host in _EVERYWHERE else settings.api_host
    return f"{host}:{settings.api_port}"


def _targets(found: Iterable[tuple[str, dict[str, str]]]) -> str:
    rows = [{"targets": [address], **({"labels": labels} if labels else {})} for address, labels in found]
    return yaml.safe_dump(rows, sort_keys=False)
