"""What `status` sees."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.status import look
from infra.process import Identity
from infra.process import look as look_at
from infra.runfiles import Phase, RunRecord, write
from infra.settings import Settings
from models.mesh import Mesh, Node, NodeId
from tests.fakes.store import FakeStore


def record(name: str, identity: Identity, phase: Phase) -> RunRecord:
    return RunRecord(name, identity, phase, restarts=0, order=0, log="x.log", stop_signal=15, stop_seconds=1.0)


def running() -> Identity:
    state = look_at(os.getpid())
    assert state is not None
    return state.identity


async def test_a_process_with_nothing_but_its_run_file_is_dead_and_a_problem(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write(tmp_path / "run", record("alive", running(), Phase.READY))
    write(tmp_path / "run", record("gone", Identity(running().pid, 1, "another boot"), Phase.READY))
    write(tmp_path / "run", record("step", Identity(running().pid, 1, "another boot"), Phase.DONE))
    seen = await look(Settings(state=tmp_path), store=FakeStore())
    assert {one.name: one.phase for one in seen.processes} == {"alive": "ready", "gone": "dead", "step": "done"}
    assert seen.problems == ("process gone is dead; read x.log",)


async def test_a_role_of_this_mesh_that_no_longer_beats_is_a_problem_and_one_of_another_is_history(
    tmp_path: Path,
) -> None:
    (tmp_path / "run").mkdir()
    write(tmp_path / "run", record("alive", running(), Phase.READY))
    store = FakeStore()
    long_ago = datetime.now(UTC) - timedelta(minutes=1)  # noqa: TID251 - `status` reads the same clock
    async with store.unit() as unit:
        await unit.meshes.save(Mesh("lab", (Node(NodeId("n0"), "10.42.0.1"),), ()))
        for role in ("watch-mesh:lab", "collect-node:lab:n0", "watch-mesh:older"):
            await unit.long_runs.claim(role, flow_run_id="r", pid=1, host="h", now=long_ago)
    seen = await look(Settings(state=tmp_path, mesh="lab"), store=store)
    assert set(seen.beat_ages) == {"watch-mesh:lab", "collect-node:lab:n0"}
    assert all("has not beaten for 6" in problem for problem in seen.problems)
    assert len(seen.problems) == 2
