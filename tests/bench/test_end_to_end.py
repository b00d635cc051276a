"""One real trial through the command line, and one that is stopped in the middle."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.bench.crowd import _base36
from tests.bench.house import INTERRUPTED, PREFIX
from tests.bench.report import ROOT

TOOLS = ("babeld", "nft", "ip", "pg_ctl")
PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/lib/postgresql/15/bin"
LACKING = [tool for tool in TOOLS if shutil.which(tool, path=PATH) is None]
UNFIT = "needs root" if os.geteuid() != 0 else f"not installed: {', '.join(LACKING)}" if LACKING else ""
pytestmark = [pytest.mark.e2e, pytest.mark.kernel, pytest.mark.skipif(bool(UNFIT), reason=UNFIT)]


def started(path, *arguments):
    command = [sys.executable, "-m", "flows", "bench", "healing", "--json", str(path), "--trials", "1"]
    return subprocess.Popen([*command, "--faults", "grey", *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE)


def namespaces(pid):
    folder = Path("/run/netns")
    return list(folder.glob(f"x0-b{_base36(pid)}*")) if folder.is_dir() else []


def houses(pid):
    return list(Path(tempfile.gettempdir()).glob(f"{PREFIX}{pid}-*"))


def test_one_grey_trial_with_the_controller_is_measured_written_and_cleaned_up(tmp_path):
    path = tmp_path / "healing.json"
    bench = started(path, "--arms", "controller")
    said, _ = bench.communicate(timeout=280)
    rows = {row["metric"]: row for row in json.loads(path.read_text())["rows"]}
    assert rows["errors"]["value"] == 0, said
    assert rows["outage_p95"]["n"] == 1, said
    assert rows["outage_p95"]["goal"] == 5
    assert 0 <= rows["outage_p95"]["value"] <= 50
    assert "grey outage_p95" in said
    assert (namespaces(bench.pid), houses(bench.pid)) == ([], [])


def test_a_stopped_bench_takes_its_lab_and_its_database_with_it(tmp_path):
    bench = started(tmp_path / "healing.json", "--arms", "babeld-1s")
    try:
        deadline = time.monotonic() + 60
        while not namespaces(bench.pid):
            assert bench.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        bench.send_signal(signal.SIGINT)
        bench.communicate(timeout=60)
    finally:
        bench.kill()
    assert bench.returncode == INTERRUPTED
    assert (namespaces(bench.pid), houses(bench.pid)) == ([], [])
