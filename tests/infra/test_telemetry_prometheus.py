"""Samples read where they are stored, and where a real Prometheus scraped them: the same, and the same symptoms."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import httpx
import numpy as np
import pytest
import yaml

from ebpf.exposition import CountersExposition
from ebpf.page import page
from ebpf.page_server import serve
from ebpf.sample_page import sample_families
from infra.db.unit import PostgresStore
from infra.telemetry_prometheus import MOST_BYTES, PrometheusSamples
from models.detection import Detector
from models.errors import ConfigurationInvalid, SourceUnavailable
from models.incident import SymptomKind
from models.ports import SampleReader
from models.telemetry import InterfaceReading, Sample
from tests.contracts.sample_reader import N0, N1, SampleReaderContract, bare
from tests.fakes.store import FakeStore
from tests.infra.deploy.tools import fetch, free_port, running, tool
from tests.models.samples import DATA, Flow, World, lossy, moment, ring_with_chord

SCRAPED_EVERY = "100ms"
LOOK_SECONDS = 0.03
PATIENT_SECONDS = 60.0


@dataclass
class Page:
    """A node's page as its collector writes it, of a sample that a test gives it."""

    sample: Sample | None = None

    def read(self) -> tuple[InterfaceReading, ...]:
        return self.sample.interfaces if self.sample else ()

    def missing(self) -> frozenset[str]:
        return self.sample.missing if self.sample else frozenset()

    def close(self) -> None:
        """Hold nothing open."""

    def write(self) -> bytes:
        sample = self.sample
        shown = CountersExposition(replace(self), now=(lambda: sample.at) if sample else None)
        return page([*shown.families(), *sample_families(sample)])


@dataclass
class Stored:
    """A store's samples, read one unit of work a call."""

    store: FakeStore | PostgresStore
    reader: SampleReader = field(init=False)
    mesh: str = "told"
    other: str = "told elsewhere"

    def __post_init__(self) -> None:
        self.reader = self

    async def tell(self, mesh: str, samples: Sequence[Sample]) -> None:
        async with self.store.unit() as unit:
            await unit.samples.add(mesh, samples)

    async def between(self, *asked, **more):
        async with self.store.unit() as unit:
            return await unit.samples.between(*asked, **more)

    async def stored_after(self, *asked, **more):
        async with self.store.unit() as unit:
            return await unit.samples.stored_after(*asked, **more)

    async def newest_cursor(self, mesh):
        async with self.store.unit() as unit:
            return await unit.samples.newest_cursor(mesh)

    async def latest(self, mesh):
        async with self.store.unit() as unit:
            return await unit.samples.latest(mesh)


@dataclass
class Scraped:
    """Pages that a real Prometheus scrapes."""

    pages: dict[tuple[str, str], Page]
    reader: PrometheusSamples
    mesh: str
    other: str = ""

    async def tell(self, mesh: str, samples: Sequence[Sample]) -> None:
        for one in samples:
            self.pages[mesh, one.node].sample = one
        async with asyncio.timeout(PATIENT_SECONDS):
            while not await self.has(mesh, samples):  # noqa: ASYNC110 - it is another process that scrapes
                await asyncio.sleep(LOOK_SECONDS)

    async def has(self, mesh: str, samples: Sequence[Sample]) -> bool:
        newest = await self.reader.latest(mesh)
        return all(one.node in newest and newest[one.node].at == one.at for one in samples)


MESH = ring_with_chord()
# A server scrapes nothing in its first five seconds: one is enough for all, and each test has meshes of its own.
GROUPS = ["detector", *(f"contract {number}" for number in range(7))]


@dataclass
class Server:
    """A real Prometheus, the pages it scrapes, and the meshes that no test has had yet."""

    url: str
    pages: dict[tuple[str, str], Page]
    unused: list[str] = field(default_factory=lambda: GROUPS[1:])


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """Serve a page for each node of each mesh and scrape it, labelled as `infra/scrape.py` labels nodes."""
    program, folder = tool("prometheus"), tmp_path_factory.mktemp("prometheus")
    nodes = [(GROUPS[0], one.id) for one in MESH.nodes]
    for group in GROUPS[1:]:
        nodes += [(group, N0), (group, N1), (f"other {group}", N0)]
    pages = {one: Page() for one in nodes}
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        program,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={url.removeprefix('http://')}",
    ]
    with ExitStack() as stack:
        targets = []
        for (mesh, node), shown in pages.items():
            port = free_port()
            stack.callback(serve(shown.write, address="127.0.0.1", port=port))
            targets.append({"targets": [f"127.0.0.1:{port}"], "labels": {"mesh": mesh, "node": node}})
        every = {"scrape_interval": SCRAPED_EVERY, "scrape_timeout": SCRAPED_EVERY}
        jobs = [{"job_name": "node", "static_configs": targets}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump({"global": every, "scrape_configs": jobs}))
        stack.enter_context(running(command, log=folder / "log", ready=f"{url}/-/ready"))
        deadline = time.monotonic() + PATIENT_SECONDS
        while scraped(url) < len(pages):
            assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(LOOK_SECONDS)
        yield Server(url, pages)


def scraped(url: str) -> int:
    """Return how many pages were scraped lately."""
    (found,) = json.loads(fetch(f"{url}/api/v1/query?query=sum(up)%20or%20vector(0)"))["data"]["result"]
    return int(found["value"][1])


class TestFakeSampleReader(SampleReaderContract):
    @pytest.fixture
    def source(self) -> Stored:
        return Stored(FakeStore())


@pytest.mark.postgres
class TestPostgresSampleReader(SampleReaderContract):
    @pytest.fixture
    def source(self, postgres_store) -> Stored:
        return Stored(postgres_store)


class TestPrometheusSampleReader(SampleReaderContract):
    @pytest.fixture
    async def source(self, server) -> AsyncIterator[Scraped]:
        mesh = server.unused.pop()
        reader = PrometheusSamples(server.url)
        yield Scraped(server.pages, reader, mesh, f"other {mesh}")
        await reader.close()

    async def test_a_node_that_has_taken_no_sample_yet_tells_none(self, source: Scraped):
        await source.tell(source.mesh, [bare(N0)])
        assert list(await source.reader.latest(source.mesh)) == [N0]


async def test_a_detector_sees_in_scraped_pages_what_it_sees_in_samples(server):
    harm = lossy("n1--n2", 1, start=6, classes=[DATA])
    simulated = World(MESH, np.random.default_rng(5), flows=[Flow("n0", "n3", 50)], harm=harm)
    told, from_pages = Detector(MESH), Detector(MESH)
    expected, seen = [], []
    source = Scraped(server.pages, PrometheusSamples(server.url), GROUPS[0])
    cursor = 0
    for now, samples in simulated.run(9):
        newest = list({one.node: one for one in sorted(samples, key=lambda one: one.sequence)}.values())
        await source.tell(source.mesh, newest)
        told.observe(newest)
        found, cursor = await source.reader.stored_after(source.mesh, cursor)
        from_pages.observe(found)
        expected.append(told.symptoms(moment(now)))
        seen.append(from_pages.symptoms(moment(now)))
    await source.reader.close()
    assert SymptomKind.LOSS in {one.kind for symptoms in expected for one in symptoms}
    assert seen == expected


def answering(answer: httpx.Response | Exception) -> PrometheusSamples:
    def handle(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return PrometheusSamples("http://prometheus.test", transport=httpx.MockTransport(handle))


def found(*series: dict[str, str]) -> httpx.Response:
    result = [{"metric": one, "values": [[1.0, "5"]]} for one in series]
    return httpx.Response(200, json={"status": "success", "data": {"resultType": "matrix", "result": result}})


STRANGE = {"__name__": "ebpf_packets_total", "node": "n0", "interface": "a", "direction": "up"}
ILL = {
    "nobody listens": (httpx.ConnectError("refused"), "ConnectError"),
    "it is too busy": (httpx.ReadTimeout("late"), "ReadTimeout"),
    "it says no": (httpx.Response(503, text="no"), "status 503"),
    "it is something else": (httpx.Response(200, text="<html>"), "none of Prometheus' API"),
    "its answer has no end": (httpx.Response(200, content=b" " * (MOST_BYTES + 1)), "watch the mesh in regions"),
    "a label is missing": (found(STRANGE), "no pages of this version"),
    "a label is none of ours": (
        found(
            STRANGE | {"traffic": "data", "size": "small", "protocol": "tcp"},
            {"__name__": "ebpf_interface_carrier", "node": "n0", "interface": "a"},
            {"__name__": "mesh_collector_epoch", "node": "n0"},
            {"__name__": "ebpf_read_time_seconds", "node": "n0"},
        ),
        "no pages of this version",
    ),
}


@pytest.mark.parametrize("case", ILL)
async def test_a_server_that_is_no_help_is_a_source_that_does_not_answer(case):
    answer, said = ILL[case]
    with pytest.raises(SourceUnavailable, match=said):
        await answering(answer).stored_after("lab", 0)


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:9090", "ftp://host", "http://", "http://host:port", "http://me:secret@host"]
)
def test_an_address_that_cannot_be_used_is_refused_without_repeating_it(address):
    with pytest.raises(ConfigurationInvalid, match="X0_TELEMETRY") as refused:
        PrometheusSamples(address)
    assert "secret" not in str(refused.value)


async def test_a_name_cannot_write_the_query():
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(httpx.QueryParams(request.content.decode())["query"])
        return found()

    reader = PrometheusSamples("http://prometheus.test", transport=httpx.MockTransport(handle))
    await reader.newest_cursor('a"} or vector(1) #\\')
    assert asked == ['max(timestamp(mesh_collector_epoch{mesh="a\\"} or vector(1) #\\\\"}))']


async def test_a_scrape_that_appears_behind_a_newer_one_is_not_passed_over():
    """Scrapes are stamped when they begin and stored when they end, so a slow node's comes late."""
    shown: dict[str, list[float]] = {"n0": [100.0, 100.5], "n1": [100.1]}

    def handle(_: httpx.Request) -> httpx.Response:
        result = [
            {"metric": {"__name__": name, "node": node}, "values": [[at, str(value or at)] for at in stamps]}
            for node, stamps in shown.items()
            for name, value in (("mesh_collector_epoch", 1), ("ebpf_read_time_seconds", None))
        ]
        return httpx.Response(200, json={"status": "success", "data": {"resultType": "matrix", "result": result}})

    reader = PrometheusSamples("http://prometheus.test", transport=httpx.MockTransport(handle))
    first, cursor = await reader.stored_after("lab", 99_000)
    shown["n1"].append(100.4)
    late, again = await reader.stored_after("lab", cursor)
    assert [(one.node, one.at.timestamp()) for one in first] == [("n0", 100.0), ("n1", 100.1), ("n0", 100.5)]
    assert ([(one.node, one.at.timestamp()) for one in late], again) == ([("n1", 100.4)], cursor)
