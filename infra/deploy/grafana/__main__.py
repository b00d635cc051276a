"""`python -m infra.deploy.grafana`: write every dashboard's JSON anew. Needs the development packages."""

from __future__ import annotations

import sys
from pathlib import Path

import structlog

from infra.deploy.grafana.build import FOLDER, built, file_of
from infra.deploy.grafana.pages import PAGES
from infra.log import configure

log = structlog.get_logger()


def main(arguments: list[str]) -> None:
    """Write into the folder given, or beside this module."""
    folder = Path(arguments[0]) if arguments else FOLDER
    for page in PAGES:
        file_of(page, folder).write_text(built(page))
    log.info("dashboards written", folder=str(folder), dashboards=len(PAGES))


if __name__ == "__main__":
    configure()
    main(sys.argv[1:])
