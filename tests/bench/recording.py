"""What a mesh said of itself around a fault, kept as a file: to be judged again after every change, in a blink.

A recording is gzipped JSON lines: what was done and where (the truth), then every node's samples in order of time.
Collectors and probers are the real ones, without Prefect and without a database; nobody acts.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from infra.clock import SystemClock
from infra.lab.build import Lab
from infra.lab.verdict import ControllerReport
from infra.node.senses import configuration_of
from infra.settings import Settings
from models.errors import ConfigurationInvalid
from models.incident import FaultKind
from models.mesh import Mesh
from models.telemetry import Sample
from tasks.collection import Station, opened
from tasks.wiring import Adapters, limits_of, using
from tests.fakes.store import FakeStore

SUFFIX = ".jsonl.gz"
# A detector judges a link against its own past: ten chunks of two seconds before it may say anything.
LEARNING_SECONDS = 22.0
_MESH = TypeAdapter(Mesh)
_SAMPLE = TypeAdapter(Sample)


@dataclass(frozen=True, slots=True)
class Done:
    """One harm that was done: when, what, and to which element (`link:n0--n1`)."""

    at: datetime
    fault: FaultKind
    element: str


@dataclass(frozen=True, slots=True)
class Recording:
    """One trial as its nodes saw it.

    Attributes:
        case: What was tried, as the plan names it.
        number: Which of the trials of that case.
        mesh: As declared.
        samples: Of all nodes, in order of time.
        harms: The truth, in order of time.
        commit: What collected.
        load: The machine's load average of a minute, at the end.
    """

    case: str
    number: int
    mesh: Mesh
    samples: tuple[Sample, ...]
    harms: tuple[Done, ...]
    commit: str
    load: float

    @property
    def name(self) -> str:
        """Return `grey-3`."""
        return f"{self.case}-{self.number}"


_HARMS = TypeAdapter(tuple[Done, ...])


def path_of(folder: Path, case: str, number: int) -> Path:
    """Return where the recording of a trial lies."""
    return folder / f"{case}-{number}{SUFFIX}"


def write(recording: Recording, folder: Path) -> None:
    """Write a recording; a reader never sees half of it."""
    path = path_of(folder, recording.case, recording.number)
    head = {
        "case": recording.case,
        "number": recording.number,
        "commit": recording.commit,
        "load": recording.load,
        "mesh": _MESH.dump_python(recording.mesh, mode="json"),
        "harms": _HARMS.dump_python(recording.harms, mode="json"),
    }
    growing = path.with_name(f"{path.name}.new")
    with gzip.open(growing, "wb", compresslevel=4) as file:
        file.write(json.dumps(head).encode() + b"\n")
        for one in recording.samples:
            file.write(_SAMPLE.dump_json(one) + b"\n")
    growing.replace(path)


def read(path: Path) -> Recording:
    """Read what `write` wrote.

    Raises:
        ConfigurationInvalid: it is no recording.
    """
    try:
        with gzip.open(path, "rb") as file:
            head: dict[str, Any] = json.loads(file.readline())
            samples = tuple(_SAMPLE.validate_json(line) for line in file)
        mesh, harms = _MESH.validate_python(head["mesh"]), _HARMS.validate_json(json.dumps(head["harms"]))
        return Recording(head["case"], head["number"], mesh, samples, harms, head["commit"], head["load"])
    except (OSError, EOFError, ValueError, KeyError, ValidationError) as error:
        raise ConfigurationInvalid(f"{path} is no recording ({type(error).__name__})", "remove it") from error


def harms_of(journal: Path) -> tuple[Done, ...]:
    """Return the harms a trial's journal tells of, in order of time."""
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    done = [
        Done(datetime.fromisoformat(one["at"]), FaultKind(one["fault"]), one["element"])
        for one in entries
        if one["event"] == "inject"
    ]
    return tuple(sorted(done, key=lambda one: one.at))


class Recorder:
    """Stands where a lab's controller would stand: collects on every node, and does nothing else."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._running = AsyncExitStack()
        self._stations: list[Station] = []

    async def start(self, lab: Lab) -> None:
        """Start a collector for each node; return once their past is long enough to judge by."""
        store = FakeStore()
        world = Adapters(
            settings=self._settings,
            clock=SystemClock(),
            store=store,
            database="",
            signer=None,
            limits=limits_of(self._settings),
        )
        with using(world):
            for place in lab.places.values():
                station = await self._running.enter_async_context(opened(place.folder / "node.json"))
                station.baseline = configuration_of(place)
                self._stations.append(station)
        jobs = [asyncio.create_task(_sampling(one, self._settings.sample_seconds)) for one in self._stations]
        self._running.push_async_callback(_stopped, jobs)
        await asyncio.sleep(LEARNING_SECONDS)

    async def stop(self) -> ControllerReport:
        """Stop collecting; the samples stay here."""
        await self._running.aclose()
        return ControllerReport()

    def samples(self) -> tuple[Sample, ...]:
        """Return what all nodes reported, in order of time."""
        every = [sample for station in self._stations for sample in station.buffer]
        return tuple(sorted(every, key=lambda one: (one.at, one.node)))


async def _sampling(station: Station, every: float) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        station.sample()
        # A tick that came late does not make the next one early.
        due = max(due + every, loop.time())
        await asyncio.sleep(due - loop.time())


async def _stopped(jobs: Sequence[asyncio.Task[None]]) -> None:
    for job in jobs:
        job.cancel()
    for ended in await asyncio.gather(*jobs, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended
