"""The gateway as a process: it serves at once, says what is missing, and ends cleanly when told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

NOWHERE = "postgresql+asyncpg://postgres@/app?host=/nonexistent/x0-api"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[tuple[subprocess.Popen, httpx.Client, Path]]:
    port = free_port()
    written = tmp_path / "log"
    env = os.environ | {"DATABASE_URL": NOWHERE, "X0_API_PORT": str(port), "X0_STATE": str(tmp_path)}
    with written.open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "infra.api"], env=env, stderr=log)
    # The connection is tried again until the process listens, so that a slow machine only makes this test slower.
    transport = httpx.HTTPTransport(retries=12)
    with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield process, client, written
    process.kill()
    process.wait()


def test_serves_without_a_database_says_so_and_ends_cleanly(gateway):
    process, client, written = gateway
    assert client.get("/health").json()["status"] == "alive"
    ready = client.get("/ready")
    assert (ready.status_code, ready.json()["missing"][0].partition(":")[0]) == (503, "database")
    assert "_created" not in client.get("/metrics").text
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    lines = written.read_text().splitlines()
    assert "gateway starts" in lines[0]
    assert not any("/health" in line for line in lines)


def test_a_list_of_plans_with_a_mistake_is_said_with_its_line_and_ends_the_process(tmp_path):
    plans = tmp_path / "plans.yaml"
    plans.write_text("plans:\n  - name: month\n    days: many\n    prices: {TON: 1}\n")
    env = os.environ | {"DATABASE_URL": NOWHERE, "X0_PLANS": str(plans), "X0_STATE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "infra.api"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{plans} line 3: plans[0].days" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said_and_ends_the_process(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        env = os.environ | {"DATABASE_URL": NOWHERE, "X0_API_PORT": port, "X0_STATE": str(tmp_path)}
        done = subprocess.run([sys.executable, "-m", "infra.api"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "address already in use" in done.stderr
