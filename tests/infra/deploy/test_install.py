"""The installer below a folder of its own: everything is there, a second time changes nothing of anybody's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CODE = Path(__file__).parents[3]
INSTALLER = CODE / "scripts/install.sh"


def install(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([INSTALLER, *words], capture_output=True, text=True, check=False, cwd="/")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes folders that are root's")
@pytest.mark.parametrize(("kind", "units"), [("control", {"control"}), ("node", {"node", "actuator"})])
def test_installing_twice_is_installing_once_and_keeps_what_is_not_ours(tmp_path: Path, kind: str, units: set[str]):
    assert install(kind, "--root", str(tmp_path)).returncode == 0
    code, etc = tmp_path / "opt/x0tta6bl4", tmp_path / "etc/x0tta6bl4"
    (etc / "control.env").write_text("X0_MESH=mine")
    (etc / "nodes/n7.json").write_text("mine")
    (code / "flows/gone.py").write_text("of an earlier version")
    again = install(kind, "--root", str(tmp_path))
    assert (again.returncode, again.stderr) == (0, "")
    assert {one.name for one in (tmp_path / "etc/systemd/system").iterdir()} == {
        f"x0tta6bl4-{one}.service" for one in units
    }
    assert (etc / "control.env").read_text() == "X0_MESH=mine"
    assert (etc / "nodes/n7.json").read_text() == "mine"
    assert (code / "flows/agent.py").read_text() == (CODE / "flows/agent.py").read_text()
    assert not (code / "flows/gone.py").exists()
    assert not (code / "tests").exists()


def test_a_dry_run_changes_nothing_and_says_what_it_would(tmp_path: Path):
    done = install("node", "--dry-run", "--root", str(tmp_path / "root"))
    assert done.returncode == 0, done.stderr
    assert "x0tta6bl4-node.service" in done.stdout
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("words", [(), ("other",), ("node", "--root"), ("node", "--what")])
def test_a_wrong_call_says_how_it_is_called(words: tuple[str, ...]):
    done = install(*words)
    assert (done.returncode, "usage:" in done.stderr) == (2, True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck: apt-get install shellcheck")
def test_shellcheck_finds_nothing():
    done = subprocess.run(["shellcheck", INSTALLER], capture_output=True, text=True, check=False)
    assert done.stdout == ""
