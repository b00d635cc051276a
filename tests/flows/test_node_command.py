"""`join-token` and `node` on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from flows import cli
from flows.commands import node
from infra.join import digest_of
from infra.settings import Settings
from models.errors import ConfigurationInvalid
from models.joining import JoinedNode, JoinRefused
from models.mesh import NodeId
from models.telemetry import Sample
from tests.fakes.store import FakeStore

T0 = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
SETTINGS = Settings(mesh="lab", node_database="db:5432/app")


async def test_a_join_token_is_kept_as_a_digest_with_who_made_it():
    store = FakeStore()
    secret = await node.make("n7", timedelta(hours=1), store=store, settings=SETTINGS)
    async with store.unit() as unit:
        kept = await unit.joins.token(digest_of(secret))
    assert kept is not None
    assert (kept.node, kept.mesh, kept.expires_at - kept.created_at) == ("n7", "lab", timedelta(hours=1))
    assert kept.created_by.startswith("cli:")
    assert secret not in repr(kept)


async def test_a_node_that_never_joined_cannot_be_expelled():
    with pytest.raises(JoinRefused, match="n7 has not joined lab"):
        await node.dismiss("n7", store=FakeStore(), settings=SETTINGS)


async def test_who_joined_is_listed_with_when_each_was_heard_last():
    store = FakeStore()
    async with store.unit() as unit:
        for name in ("n8", "n7"):
            one = JoinedNode("lab", name, f"x0_node_lab_{name}", f"digest of {name}", T0)
            await unit.joins.admit(one, password="p")  # noqa: S106 - a fake's
        await unit.samples.add("lab", [Sample(NodeId("n7"), 1, 0, T0 + timedelta(seconds=9))])
    listed = await node.joined(store=store, settings=SETTINGS)
    assert [(one["node"], one["heard_at"]) for one in listed] == [("n7", T0 + timedelta(seconds=9)), ("n8", None)]
    assert listed[0]["role"] == "x0_node_lab_n7"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h", 3600), ("2d", 172800)])
def test_a_time_is_read_with_its_unit(text: str, seconds: float):
    assert node.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1.5h", "1w", "9999999s"])
def test_a_time_without_a_unit_is_asked_for_again(text: str):
    with pytest.raises(typer.BadParameter, match="write 90s"):
        node.seconds_of(text)


@pytest.mark.parametrize("content", ["", "two words", "\u00e4", None])
def test_a_file_without_a_token_is_said(tmp_path: Path, content: str | None):
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationInvalid, match="token"):
        node.read_token(file)


def test_joining_over_files_of_an_earlier_one_is_refused_before_the_token_is_shown(tmp_path: Path):
    (tmp_path / "node.env").write_text("mine")
    (tmp_path / "token").write_text("secret")
    words = ("--url", "https://gateway.invalid", "--token-file", str(tmp_path / "token"), "--name", "n7")
    done = CliRunner().invoke(cli.app, ["node", "join", *words, "--dir", str(tmp_path)])
    assert isinstance(done.exception, JoinRefused)
    assert "move it away" in str(done.exception)


def test_joining_once_asks_nobody_where_it_was_done_and_needs_no_token_then(tmp_path: Path):
    (tmp_path / "node.env").write_text(
        "X0_MESH=west\nDATABASE_URL=postgresql+asyncpg://x0_node_west_n7:secret@db/app\n"
        "PREFECT_API_URL=http://gateway/api/prefect\nPREFECT_API_AUTH_STRING=n7:shown\n"
    )
    (tmp_path / "name.env").write_text("X0_NODE=n7\n")
    words = ("--url", "https://gateway.invalid", "--token-file", str(tmp_path / "gone"), "--once", "--mesh", "west")
    done = CliRunner().invoke(cli.app, ["node", "join", *words, "--name", "n7", "--dir", str(tmp_path)])
    assert (done.exit_code, done.output) == (0, "n7 has joined west already\n")
    other = CliRunner().invoke(cli.app, ["node", "join", *words, "--name", "n8", "--dir", str(tmp_path)])
    assert isinstance(other.exception, JoinRefused)
    assert "secret" not in str(other.exception)


def test_joining_once_for_the_first_time_shows_its_token(tmp_path: Path):
    words = ("--url", "https://gateway.invalid", "--token-file", str(tmp_path / "gone"), "--once", "--mesh", "west")
    done = CliRunner().invoke(cli.app, ["node", "join", *words, "--name", "n7", "--dir", str(tmp_path / "etc")])
    assert isinstance(done.exception, ConfigurationInvalid)
    assert "join token" in str(done.exception)
