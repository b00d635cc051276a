"""A collector inside its Prefect run: `python -m tests.bench.workers.collect_in_run INTERFACES SECONDS HERTZ`.

Opens a node's station as the flow `collect-node` does, in a run of a Prefect server of its own and a network namespace
of its own, takes samples at that rate, and prints its memory as one JSON object. Samples are not stored: there is no
database. The run is a process of its own, as a worker starts it: what keeps the server here is no part of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from prefect import flow

import flows.collection
from infra.log import configure
from infra.node.place import LinkEnd, NodePlace
from tasks import collection
from tests.bench.workers.collect import isolated, resident_mb

# The server shares two cores with whatever else runs.
_SERVER_SECONDS = 120
# The fourth argument of the process that is the run.
RUN = "in-run"


@flow(name=flows.collection.collect_node.name, persist_result=False)
async def _collect(place: Path, seconds: float, hertz: float) -> dict[str, float]:
    async with collection.opened(place) as station:
        readings = 0
        while readings < seconds * hertz:
            station.sample()
            readings += 1
            await asyncio.sleep(1 / hertz)
        return {"rss_mb": resident_mb(), "readings": readings}


def main() -> None:
    """Collect in a run, and say what it took."""
    if sys.argv[-1] == RUN:
        configure(least=logging.WARNING)
        seen = asyncio.run(_collect(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
        sys.stdout.write(json.dumps(seen) + "\n")
    else:
        _serve()


def _serve() -> None:
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415 - the run must not carry the server's modules
    from prefect.testing.utilities import prefect_test_harness  # noqa: PLC0415 - as above

    interfaces, seconds, hertz = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    links = tuple(
        LinkEnd(
            interface=name,
            address=f"10.9.{number}.1",
            peer="b",
            peer_address=f"10.9.{number}.2",
            peer_loopback="10.9.9.9",
            cost=96,
        )
        for number, name in enumerate(isolated(interfaces))
    )
    with tempfile.TemporaryDirectory(prefix="x0bench-ebpf-") as made:
        NodePlace(mesh="x0bench", node="a", address="127.0.0.1", folder=Path(made), links=links).save()
        with prefect_test_harness(server_startup_timeout=_SERVER_SECONDS):
            command = [
                sys.executable,
                "-m",
                __spec__.name,
                str(Path(made) / "node.json"),
                str(seconds),
                str(hertz),
                RUN,
            ]
            subprocess.run(command, check=True, env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()})


if __name__ == "__main__":
    main()
