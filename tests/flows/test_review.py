"""A mesh is reviewed region by region, on threads and on a real Dask cluster of this machine: the same is seen."""

from __future__ import annotations

import importlib.util
from datetime import timedelta

import numpy as np
import pytest
import structlog

from flows.review import LOCAL, ReviewParameters, review_mesh, runner
from infra.clock import SystemClock
from infra.db.unit import PostgresStore
from infra.settings import Settings
from models.detection import Detector
from models.errors import ConfigurationInvalid
from models.incident import SymptomKind
from models.mesh import LinkId
from models.remedy import Limits
from models.reviewing import Looks, Seen
from tasks.wiring import Adapters, using
from tests.models.samples import DATA, Flow, World, lossy, moment, ring_with_chord

MESH = ring_with_chord()
SECONDS = 12
HAS_DASK = importlib.util.find_spec("prefect_dask") is not None


def asked(dask: str | None) -> ReviewParameters:
    return ReviewParameters(mesh=MESH.name, end=moment(SECONDS), seconds=SECONDS, most_nodes=2, dask=dask)


@pytest.fixture
async def expected(postgres_store: PostgresStore) -> tuple[Seen, ...]:
    """What one detector sees of samples that are stored."""
    harm = lossy("n1--n2", 1, start=7, classes=[DATA])
    world = World(MESH, np.random.default_rng(8), flows=[Flow("n0", "n3", 50)], harm=harm, delivery=0.0)
    samples = [sample for _, batch in world.run(SECONDS + 1) for sample in batch]
    async with postgres_store.unit() as unit:
        await unit.meshes.save(MESH)
        await unit.samples.add(MESH.name, samples)
    detector, seen = Detector(MESH), []
    for now in Looks(moment(0), moment(SECONDS), timedelta(seconds=0.5)):
        detector.observe([one for one in samples if one.at < now])
        seen.append(Seen(now, detector.symptoms(now)))
    assert {one.element.name for one in seen[-1].symptoms if one.kind is SymptomKind.LOSS} == {LinkId("n1--n2")}
    return tuple(seen)


@pytest.mark.flow
@pytest.mark.postgres
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as in test_healing_reported
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # likewise
@pytest.mark.parametrize("dask", [None, LOCAL])
async def test_regions_see_in_their_own_processes_what_one_detector_sees(
    dask, expected, database, postgres_store, monkeypatch
):
    if dask is not None and not HAS_DASK:
        pytest.skip("Dask is not installed (pip install -r requirements-scale.lock)")
    # Workers are processes of their own and wire themselves.
    monkeypatch.setenv("DATABASE_URL", database)
    world = Adapters(Settings(), SystemClock(), postgres_store, database, signer=None, limits=Limits())
    with using(world), structlog.testing.capture_logs() as logged:
        found = await review_mesh(asked(dask))
    assert found.regions == 4
    assert found.seen == expected
    assert ("link:n1--n2", "loss") in {(one.get("element"), one.get("symptom")) for one in logged}


@pytest.mark.skipif(HAS_DASK, reason="Dask is installed")
def test_dask_that_is_not_installed_is_named_with_how_to_get_it():
    with pytest.raises(ConfigurationInvalid, match="Dask is not installed"):
        runner(LOCAL)
