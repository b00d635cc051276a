"""A machine's side of joining: nothing is overwritten, everything is private, and what goes wrong is a sentence."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.enrol import ask, credentials, require_room, write
from infra.node.place import NodePlace
from infra.node.signing import load_public_key
from models.errors import ConfigurationInvalid, MeshError, RefusedError, SourceUnavailable
from models.joining import JoinRefused

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
SAID: dict[str, Any] = {
    "mesh": "lab",
    "node": "n7",
    "database_url": "postgresql+asyncpg://x0_node_lab_n7:secret@db/app",
    "prefect_auth": "n7:shown",
    "control_pub": b64encode(KEY).decode(),
    "place": NodePlace(mesh="lab", node="n7", address="10.42.0.7", folder=Path("/var/lib/n7")).model_dump_json(),
}


def answering(status: int = 200, **said: Any) -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: httpx.Response(status, json={**SAID, **said}))


def asked(folder: Path, transport: httpx.BaseTransport, url: str = "https://gateway/"):
    return ask(url, "token", name="n7", mesh="lab", folder=folder, transport=transport)


def test_what_the_gateway_says_stands_in_private_files(tmp_path: Path):
    require_room(tmp_path / "etc", "n7")
    found = asked(tmp_path / "etc", answering())
    write(found)
    told = dict(line.split("=", 1) for line in (tmp_path / "etc/node.env").read_text().splitlines())
    assert told == {
        "X0_MESH": "lab",
        "DATABASE_URL": SAID["database_url"],
        "PREFECT_API_URL": "https://gateway/api/prefect",
        "PREFECT_API_AUTH_STRING": "n7:shown",
    }
    assert (tmp_path / "etc/control.pub").read_bytes() == KEY
    load_public_key(tmp_path / "etc/control.pub")
    assert NodePlace.load(tmp_path / "etc/nodes/n7.json").node == "n7"
    files = [one for one in (tmp_path / "etc").rglob("*") if one.is_file()]
    assert {one.stat().st_mode & 0o777 for one in files} == {0o600}
    assert len(files) == 4
    assert (tmp_path / "etc/name.env").read_text() == "X0_NODE=n7\n"


@pytest.mark.parametrize("there", ["node.env", "name.env", "control.pub", "nodes/n7.json"])
def test_what_stands_already_is_never_overwritten(tmp_path: Path, there: str):
    found = asked(tmp_path, answering())
    (tmp_path / "nodes").mkdir()
    (tmp_path / there).write_text("mine")
    with pytest.raises(JoinRefused, match="exists; move it away"):
        require_room(tmp_path, "n7")
    with pytest.raises(RefusedError, match="exists; move it away"):
        write(found)
    assert (tmp_path / there).read_text() == "mine"
    assert not list(tmp_path.rglob(".*.new"))


def test_a_gateway_without_key_and_place_makes_a_node_that_is_watched_only(tmp_path: Path):
    found = asked(tmp_path, answering(control_pub=None, place=None))
    assert (found.has_key, found.has_place, len(found.files)) == (False, False, 2)


@pytest.mark.parametrize(
    ("transport", "kind", "sentence"),
    [
        (answering(403, detail="this join token was used"), JoinRefused, "this join token was used"),
        (answering(422, detail="cannot use node"), JoinRefused, "cannot use node"),
        (answering(503, detail="the database does not answer"), SourceUnavailable, "the database does not answer"),
        (httpx.MockTransport(lambda _: httpx.Response(200, text="<html>")), SourceUnavailable, "not as ours does"),
        (httpx.MockTransport(lambda _: httpx.Response(404, json={})), SourceUnavailable, "HTTP 404"),
        (answering(database_url="postgresql://x\nX0_STATE=/"), SourceUnavailable, "not as ours does"),
        (answering(place="{}"), SourceUnavailable, "not as ours does"),
        (answering(control_pub="bm8ga2V5"), SourceUnavailable, "not as ours does"),
    ],
)
def test_what_the_gateway_refuses_is_told_in_its_words(tmp_path: Path, transport, kind: type[MeshError], sentence: str):
    with pytest.raises(kind, match=sentence) as refusal:
        asked(tmp_path, transport)
    assert "token" not in str(refusal.value) or "join token" in str(refusal.value)


@pytest.mark.parametrize("url", ["gateway:8080", "ftp://gateway", "http://gateway:port"])
def test_an_address_that_is_none_is_said(tmp_path: Path, url: str):
    with pytest.raises(ConfigurationInvalid, match="no address of a gateway"):
        asked(tmp_path, answering(), url)


def test_a_gateway_that_does_not_answer_is_said(tmp_path: Path):
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    with pytest.raises(SourceUnavailable, match="the gateway at https://gateway does not answer: no route"):
        asked(tmp_path, httpx.MockTransport(refuse))


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationInvalid, match="run this as root"):
        require_room(tmp_path / "file", "n7")


def joined(folder: Path) -> Path:
    """A node's folder after joining."""
    require_room(folder, "n7")
    write(asked(folder, answering()))
    return folder


def test_a_joining_that_ended_is_found_again_and_an_empty_or_cut_off_one_is_none(tmp_path: Path):
    assert credentials(tmp_path, "n7", mesh="lab") is None
    (tmp_path / "name.env").write_text("X0_NODE=n7\n")
    assert credentials(tmp_path, "n7", mesh="lab") is None
    assert credentials(joined(tmp_path / "etc"), "n7", mesh="lab") == {
        "X0_MESH": "lab",
        "DATABASE_URL": SAID["database_url"],
        "PREFECT_API_URL": "https://gateway/api/prefect",
        "PREFECT_API_AUTH_STRING": "n7:shown",
    }


@pytest.mark.parametrize(("name", "mesh"), [("n8", "lab"), ("n7", "other")])
def test_nobody_takes_the_credentials_of_another_node_or_mesh(tmp_path: Path, name: str, mesh: str):
    with pytest.raises(JoinRefused, match="of n7 in mesh lab, not of"):
        credentials(joined(tmp_path), name, mesh=mesh)


@pytest.mark.parametrize("content", ["X0_MESH=lab\n", "no variable", "X0_MESH=lab\nLD_PRELOAD=/x\n", "\udcff"])
def test_an_environment_that_joining_did_not_write_is_said_without_its_content(tmp_path: Path, content: str):
    (joined(tmp_path) / "node.env").write_text(content, errors="surrogateescape")
    with pytest.raises(ConfigurationInvalid, match=r"node\.env") as refusal:
        credentials(tmp_path, "n7", mesh="lab")
    assert "LD_PRELOAD" not in str(refusal.value)
