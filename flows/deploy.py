"""The step that makes Prefect agree with the table of deployments, and says which of them hold a post.

A process of its own: it imports every flow, which the supervisor must not have to.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

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
    """Return the deployment id behind each long run's role."""
    scanning = {f"scan-chain:{chain}": made[f"scan-chain/{chain}"] for chain in chains}
    collecting = {f"collect-node:{mesh}:{node}": made[f"collect-node/{node}"] for node in nodes}
    return {f"watch-mesh:{mesh}": made[f"watch-mesh/{mesh}"], **collecting, **scanning}


def save(state: Path, found: dict[str, str]) -> None:
    """Write the posts where the watchdog reads them, at once."""
    written = state / f".{POSTS_FILE}.new"
    written.write_text(json.dumps(found, indent=1))
    written.replace(state / POSTS_FILE)


async def deploy(
    settings: Settings, places: dict[str, Path], *, heal: bool, chains: Sequence[Chain] = ()
) -> dict[str, str]:
    """Wait for Prefect, then apply the table; our imports cost seconds, and the server needs longer to start.

    Raises:
        SourceUnavailable: Prefect does not answer in time.
    """
    is_well = answers(f"http://127.0.0.1:{settings.prefect_port}/api/health")
    try:
        async with asyncio.timeout(SERVER_SECONDS):
            while not await is_well():  # noqa: ASYNC110 - a server that tells nobody when it is well
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError as error:
        raise SourceUnavailable("Prefect", f"not ready after {SERVER_SECONDS:.0f} s") from error
    return await apply(table(settings.mesh, places, heal=heal, chains=chains))


def main() -> None:
    """Apply the table for the nodes given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heal", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--node", action="append", default=[], metavar="NAME=NODE.JSON")
    asked = parser.parse_args()
    settings = Settings()
    places = {name: Path(path) for name, _, path in (one.partition("=") for one in asked.node)}
    chains = paid_on(ShopSettings())
    made = asyncio.run(deploy(settings, places, heal=asked.heal, chains=chains))
    save(settings.state, posts(made, mesh=settings.mesh, nodes=list(places), chains=chains))


if __name__ == "__main__":
    main()
