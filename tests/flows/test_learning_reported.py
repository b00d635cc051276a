"""Learning in Prefect's eyes: how far a fit is and its losses can be seen, and a run asked for twice is one."""

from __future__ import annotations

import pytest
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

from flows.deployments import apply, table
from flows.learning import TrainParameters, train_graphsage
from tasks.following import VALIDATE, Due, start
from tasks.wiring import using
from tests.fakes.store import FakeStore
from tests.tasks.test_learning import world_of

pytestmark = [
    pytest.mark.flow,
    pytest.mark.usefixtures("prefect_server"),
    # Prefect's events client leaves its web sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


async def test_a_fit_shows_how_far_it_is_and_its_loss_curve():
    pytest.importorskip("torch_geometric", reason="PyG is not installed: the extra `learning`")
    with using(world_of(FakeStore())):
        await train_graphsage(TrainParameters(incidents=30, judged=30, epochs=2))
    progress = await Artifact.aget("fit-progress")
    assert progress is not None
    assert (progress.type, progress.data) == ("progress", 100.0)
    curve = await Artifact.aget("loss-curve")
    assert curve is not None
    assert "| 2 |" in str(curve.data)


async def test_a_run_that_is_asked_for_again_under_its_key_is_the_same_run():
    await apply(table("lab", {}, heal=False))
    for key in ("first", "first", "second"):
        await start(Due(VALIDATE, key))
    async with get_client() as client:
        name = DeploymentFilter(name=DeploymentFilterName(any_=["manual"]))
        runs = await client.read_flow_runs(deployment_filter=name)
    assert sorted(str(one.idempotency_key) for one in runs) == ["first", "second"]
    assert all(one.parameters["asked"]["mesh"] == "lab" for one in runs)
