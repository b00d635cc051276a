"""`python -m infra.deploy.prometheus [FILE]`: write who is scraped from the node.json files of this machine.

FILE is `targets/nodes.yml` beside this module unless given. Prometheus reads it again by itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

import structlog

from infra.log import configure
from infra.scrape import SHIPPED, nodes, places_of
from infra.settings import Settings

log = structlog.get_logger()


def main(arguments: list[str], settings: Settings) -> None:
    """Write the file of targets.

    Raises:
        ConfigurationInvalid: a node.json cannot be used.
    """
    file = Path(arguments[0]) if arguments else SHIPPED / "targets" / "nodes.yml"
    places = places_of(settings.state, settings.mesh)
    file.write_text(nodes(places, port=settings.node_metrics_port))
    log.info("targets written", file=str(file), mesh=settings.mesh, nodes=len(places))


if __name__ == "__main__":
    configure()
    main(sys.argv[1:], Settings())
