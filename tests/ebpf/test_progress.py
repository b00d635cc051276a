"""What a run that was broken off has told is what the next one leaves out; processes side by side share the rest."""

import os
import subprocess
import sys

import pytest

TESTS = """
import pytest
def test_good(): pass
def test_bad(): assert 1 == 2, "one is not two"
def test_none(): pytest.skip("not here")
@pytest.fixture
def broken(): raise OSError("no device")
def test_never(broken): pass
"""


def _run(folder, **told):
    (folder / "test_some.py").write_text(TESTS)
    # Its own folder is its root: no settings of ours, and names without folders.
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", folder, "-p", "no:cacheprovider"]
    subprocess.run(
        [*command, "-p", "no:randomly", "--capture=sys", "-p", "tests.ebpf.progress", "test_some.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.getcwd(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | told,  # noqa: PTH109  # text
        check=False,
        capture_output=True,
    )


def test_each_test_is_told_once_with_its_outcome_and_reason(tmp_path):
    _run(tmp_path, X0_PROGRESS=str(tmp_path / "told"))
    told = [line.split(" | ") for line in (tmp_path / "told").read_text().splitlines()]
    assert [(outcome, test.partition("::")[2], reason.strip()) for outcome, _, test, reason in told] == [
        ("X0 passed", "test_good", ""),
        ("X0 failed", "test_bad", "AssertionError: one is not two"),
        ("X0 skipped", "test_none", "Skipped: not here"),
        ("X0 failed", "test_never", "OSError: no device"),
    ]


def test_what_is_done_is_not_run_again(tmp_path):
    (tmp_path / "done").write_text("test_some.py::test_good\ntest_some.py::test_none\n")
    _run(tmp_path, X0_PROGRESS=str(tmp_path / "told"), X0_DONE=str(tmp_path / "done"))
    told = (tmp_path / "told").read_text()
    assert "test_bad" in told
    assert "test_good" not in told
    assert "test_none" not in told


@pytest.mark.parametrize("of", [2, 3])
def test_processes_side_by_side_run_each_test_once(tmp_path, of):
    (tmp_path / "done").write_text("test_some.py::test_none\n")
    _run(tmp_path, X0_PROGRESS=str(tmp_path / "told"), X0_DONE=str(tmp_path / "done"), X0_PROCESSES=str(of))
    told = [line.split(" | ")[2] for line in (tmp_path / "told").read_text().splitlines()]
    assert sorted(told) == [f"test_some.py::{name}" for name in ("test_bad", "test_good", "test_never")]
