"""One part of an installation whose parts live apart: what it runs, what it declares, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from flows.agent import control_part, declare_mesh, join, main, node_part, place_of
from infra.node.place import NodePlace
from infra.settings import Settings
from models.errors import ConfigurationInvalid
from models.incident import Incident, IncidentId, IncidentState
from models.mesh import Interface, Link, LinkId, Mesh, Node, NodeId
from tests.fakes.store import FakeStore

URL = "postgresql+asyncpg://app:hunter2@db/app"
API = "http://prefect:4200/api"
A, B = NodeId("n0"), NodeId("n1")
LINK = Link(LinkId("n0--n1"), Interface(A, "to-n1"), Interface(B, "to-n0"), 100)
MESH = Mesh("west", (Node(A, "10.42.0.1"), Node(B, "10.42.0.2")), (LINK,))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("PREFECT_API_URL", API)
    return Settings(state=tmp_path, mesh="west").model_copy(update={"database_url": SecretStr(URL)})


@pytest.fixture
def place(tmp_path: Path) -> NodePlace:
    return NodePlace(mesh="west", node="n0", address="10.42.0.1", folder=tmp_path / "node")


def test_the_control_side_deploys_first_and_then_works_its_queue(settings: Settings) -> None:
    steps, worker = control_part(settings, heal=False).specs
    assert (steps.command[1:3], steps.restart) == (("-m", "flows.deploy"), False)
    assert "--no-heal" in steps.command
    assert not [word for word in steps.command if word.startswith("--node")]
    assert worker.command[-2:] == ("--work-queue", "control")
    assert worker.after == ("deployments",)


def test_a_node_sees_to_its_own_deployment_and_queue_only(settings: Settings, place: NodePlace) -> None:
    steps, worker = node_part(settings, place).specs
    assert {"--nodes-only", f"--node=n0={place.folder / 'node.json'}"} <= set(steps.command)
    assert worker.command[-2:] == ("--work-queue", "node-n0")


def test_every_process_is_told_where_the_others_are_and_no_command_shows_the_password(
    settings: Settings, place: NodePlace
) -> None:
    for spec in (*control_part(settings, heal=True).specs, *node_part(settings, place).specs):
        assert (spec.env["PREFECT_API_URL"], spec.env["DATABASE_URL"]) == (API, URL)
        assert not [word for word in spec.command if "hunter2" in word]


def test_a_part_that_is_not_told_where_the_others_are_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationInvalid, match="DATABASE_URL"):
        control_part(settings.model_copy(update={"database_url": None}), heal=True)
    monkeypatch.delenv("PREFECT_API_URL")
    with pytest.raises(ConfigurationInvalid, match="PREFECT_API_URL"):
        control_part(settings, heal=True)


@pytest.mark.parametrize("part", ["control", "node", "migrate"])
def test_what_cannot_run_ends_as_the_command_line_does(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("X0_STATE", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(SystemExit) as ended:
        main([part])
    assert ended.value.code == 2


def test_a_node_that_has_not_joined_where_it_was_said_to_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)  # whoever is told of its own credentials never falls back to others
    monkeypatch.setenv("PREFECT_API_URL", API)
    with pytest.raises(SystemExit) as ended:
        main(["node", "--name", "n7", "--joined", str(tmp_path)])
    assert ended.value.code == 2
    assert "n7 has not joined" in capsys.readouterr().err


def test_a_node_that_joined_uses_what_it_was_given_and_no_more(tmp_path: Path) -> None:
    """A child of ours is asked, because the environment is a process's own."""
    (tmp_path / "node.env").write_text(
        "X0_MESH=west\nDATABASE_URL=of-its-own\nPREFECT_API_URL=the-door\nPREFECT_API_AUTH_STRING=n7:pass\n"
    )
    (tmp_path / "name.env").write_text("X0_NODE=n7\n")
    code = (
        "import os, sys, flows.agent as a\n"
        "async def run(asked, settings): print(settings.database_url.get_secret_value(), os.environ['PREFECT_API_URL'],"
        " os.environ['PREFECT_API_AUTH_STRING'])\n"
        f"a._run = run; a.main(['node', '--name', 'n7', '--joined', {str(tmp_path)!r}])"
    )
    told = {"X0_MESH": "west", "DATABASE_URL": URL, "PREFECT_API_AUTH_STRING": "shared:by-all"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **told}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["of-its-own", "the-door", "n7:pass"]


def test_a_node_that_nobody_declared_only_watches(settings: Settings, tmp_path: Path) -> None:
    found = place_of(settings, tmp_path / "nowhere", node="n7", management=None)
    assert (found.node, found.mesh, found.links, found.daemon, found.management) == ("n7", "west", (), None, None)


def test_a_declared_node_is_what_its_file_says_but_for_where_it_is_asked(
    settings: Settings, place: NodePlace, tmp_path: Path
) -> None:
    (tmp_path / "n0.json").write_text(place.model_dump_json())
    found = place_of(settings, tmp_path, node="n0", management="192.0.2.7")
    assert found == place.model_copy(update={"management": "192.0.2.7"})


async def test_a_declared_mesh_keeps_the_nodes_that_joined_and_forgets_links_that_went(place: NodePlace) -> None:
    store = FakeStore()
    await declare_mesh(store, MESH)
    await join(store, place.model_copy(update={"node": "guest", "address": "127.0.0.1"}))
    await declare_mesh(store, Mesh("west", MESH.nodes[:1], ()))
    async with store.unit() as unit:
        found = await unit.meshes.load("west")
    assert found is not None
    assert [node.id for node in found.nodes] == ["n0", "guest"]
    assert found.links == ()


async def test_declaring_a_living_mesh_again_forgets_no_incident(place: NodePlace) -> None:
    store = FakeStore()
    await declare_mesh(store, MESH)
    async with store.unit() as unit:
        opened_at = datetime(2026, 3, 1, tzinfo=UTC)
        await unit.incidents.save(Incident(IncidentId("inc-1"), "west", IncidentState.OPEN, opened_at, symptoms=()))
    await declare_mesh(store, MESH)
    await join(store, place)
    async with store.unit() as unit:
        assert [one.id for one in await unit.incidents.open("west")] == ["inc-1"]
        assert await unit.meshes.load("west") == MESH


def test_prefect_is_told_our_retention_and_keeps_what_somebody_set(tmp_path: Path) -> None:
    """It becomes the server, so a child of ours is asked; a python of its own stands in for the server's program."""
    stand_in = tmp_path / "prefect.py"
    stand_in.write_text("import json, os, sys; print(json.dumps([dict(os.environ), sys.argv[1:]]))")
    told = {
        "X0_STATE": str(tmp_path / "state"),
        "PREFECT_API_DATABASE_CONNECTION_URL": URL,
        "PREFECT_SERVER_UI_API_URL": "https://prefect.example/api",
    }
    code = (
        "import os, flows.agent as a, sys; real = os.execve\n"
        f"os.execve = lambda program, words, env: real(program, (program, {str(stand_in)!r}, *words[3:]), env)\n"
        "a.main(['prefect'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **told}, capture_output=True, text=True, check=True
    )
    env, words = json.loads(done.stdout)
    assert words == ["server", "start", "--host", "0.0.0.0", "--port", "4200"]
    assert env["PREFECT_SERVER_EVENTS_RETENTION_PERIOD"] == "PT86400S"
    assert env["PREFECT_SERVER_UI_API_URL"] == "https://prefect.example/api"
    # Its own folder lies where nothing may be written.
    assert env["PREFECT_SERVER_UI_STATIC_DIRECTORY"] == str(tmp_path / "state/prefect-ui")
    assert env["PREFECT_API_DATABASE_CONNECTION_URL"] == URL
