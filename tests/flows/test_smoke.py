"""`x0tta6bl4 smoke` where nothing is up, and with what cannot be used: a sentence, an exit code, no traceback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flows.commands.desk import out
from flows.smoke import is_this_installation
from infra.process import Identity
from infra.runfiles import Phase, RunRecord, write
from infra.settings import Settings

COMMAND = Path(sys.executable).with_name("x0tta6bl4")


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        ("http://127.0.0.1:8081", True),
        ("http://localhost:8081", True),
        ("http://10.0.0.5:8081", True),
        ("http://127.0.0.1:8080", False),
        ("http://mesh.example:8081", False),
    ],
)
def test_an_installation_is_ours_where_its_gateway_was_started_from_this_state_folder(tmp_path, url, is_ours):
    settings = Settings(state=tmp_path, api_host="10.0.0.5", api_port=8081)
    assert not is_this_installation(url, settings)
    (tmp_path / "run").mkdir()
    record = RunRecord(
        "gateway", Identity(1, 1, "b"), Phase.READY, restarts=0, order=0, log="", stop_signal=15, stop_seconds=1.0
    )
    write(tmp_path / "run", record)
    assert is_this_installation(url, settings) is is_ours


def smoke(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "X0_STATE": str(state), "X0_API_PORT": str(closed_port())}
    return subprocess.run([COMMAND, "smoke", *words], env=environment, capture_output=True, text=True, check=False)


def test_where_no_gateway_answers_only_that_step_fails_and_the_exit_code_is_one(tmp_path):
    done = smoke(tmp_path, "--json")
    results = {one["name"]: one for one in json.loads(done.stdout)}
    assert done.returncode == 1, done.stderr
    assert "does not answer" in results["gateway"]["found"]
    assert "x0tta6bl4 up" in results["gateway"]["mend"]
    assert results["database"]["found"] == "needs gateway"
    assert results["order TON"]["state"] == "skipped"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--url", "nowhere"], "--url nowhere is no address"),
        (["--lab"], "--lab pays on the chains of this machine's lab"),
        (["--token-file", "/nowhere/token"], "/nowhere/token cannot be read as a token"),
        (["--token-file", "/dev/null"], "/dev/null holds no token"),
        (["--prometheus", "ftp://x"], "--prometheus ftp://x is no address"),
        (["--url", "http://x:no"], "--url is no address"),
        (["--prefect", "http://me:secret@x"], "--prefect holds a user or a password"),
    ],
)
def test_what_cannot_be_used_is_named_with_what_to_do(tmp_path, words, said):
    done = smoke(tmp_path, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mesh_that_is_called_like_a_picture_is_shown_by_its_name(capsys):
    out.print("watch-mesh:ship: no run ever took this role")
    assert capsys.readouterr().out == "watch-mesh:ship: no run ever took this role\n"
