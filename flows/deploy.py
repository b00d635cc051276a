"""The step that makes Prefect agree with the table of deployments, and says which of them hold a post.

A process of its own: it imports every flow, which the supervisor must not have to.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path

from flows.collection import collect_node
from flows.deployments import apply, table
from flows.installation import SERVER_SECONDS, answers
from flows.watchdog import POSTS_FILE
from infra.settings import Settings
from infra.shop.settings import ShopSettings, catalogue_of
from models.errors import SourceUnavailable
from models.payment_address import Chain

LOOK_SECONDS = 0.2


def paid_on(settings: ShopSettings) -> tuple[Chain, ...]:
    """Return the chains on which we have an address; none where nothing is sold.

    Raises:
        ConfigurationInvalid: the shop's settings cannot be used.
    """
    return tuple(sorted(catalogue_of(settings).deposits))


def posts(made: dict[str, str], *, mesh: str, nodes: Sequence[str], chains: Sequence[Chain] = ()) -> dict[str, str]:
    """Return the deployment id behind each long run's role, of those that were made here."""
    roles = {
        f"watch-mesh:{mesh}": f"watch-mesh/{mesh}",
        **{f"collect-node:{mesh}:{node}": f"collect-node/{node}" for node in nodes},
        **{f"scan-chain:{chain}": f"scan-chain/{chain}" for chain in chains},
    }
    return {role: made[name] for role, name in roles.items() if name in made}


def save(state: Path, found: dict[str, str]) -> None:
    """Write the posts where the watchdog reads them, at once."""
    written = state / f".{POSTS_FILE}.new"
    written.write_text(json.dumps(found, indent=1))
    written.replace(state / POSTS_FILE)


async def deploy(
    settings: Settings, places: dict[str, Path], *, heal: bool, chains: Sequence[Chain] = (), nodes_only: bool = False
) -> dict[str, str]:
    """Wait for Prefect, then apply the table; our imports cost seconds, and the server needs longer to start.

    Args:
        settings: As read.
        places: The nodes that live here.
        heal: Off: nothing changes the mesh.
        chains: Those on which we are paid.
        nodes_only: A node that has a machine of its own sees to its own rows; the others are the control side's.

    Raises:
        SourceUnavailable: Prefect does not answer in time.
    """
    # Who starts us says where it is; without that it is the one of this machine.
    api = os.environ.get("PREFECT_API_URL", f"http://127.0.0.1:{settings.prefect_port}/api")
    is_well = answers(f"{api}/health")
    try:
        async with asyncio.timeout(SERVER_SECONDS):
            while not await is_well():  # noqa: ASYNC110 - a server that tells nobody when it is well
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError as error:
        raise SourceUnavailable("Prefect", f"not ready after {SERVER_SECONDS:.0f} s") from error
    rows = table(settings.mesh, places, heal=heal, chains=chains)
    if nodes_only:
        return await apply([row for row in rows if row.flow is collect_node], with_pool=False)
    return await apply(rows)


def main() -> None:
    """Apply the table for the nodes given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heal", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--node", action="append", default=[], metavar="NAME=NODE.JSON")
    parser.add_argument("--nodes-only", action="store_true")
    asked = parser.parse_args()
    settings = Settings()
    places = {name: Path(path) for name, _, path in (one.partition("=") for one in asked.node)}
    chains = paid_on(ShopSettings())
    made = asyncio.run(deploy(settings, places, heal=asked.heal, chains=chains, nodes_only=asked.nodes_only))
    save(settings.state, posts(made, mesh=settings.mesh, nodes=list(places), chains=chains))


if __name__ == "__main__":
    main()
