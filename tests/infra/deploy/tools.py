"""The programs these tests call, and where the files they are about lie."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "infra" / "deploy"
PACKAGES = {
    "ip": "iproute2",
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "amtool": "prometheus-alertmanager",
    "prometheus-alertmanager": "prometheus-alertmanager",
}


def tool(name: str) -> str:
    """Return a program's path; set-up for tests brings it, but only root can install it."""
    found = shutil.which(name)
    if found is not None:
        return found
    lacks = f"{name} is not installed (apt-get install {PACKAGES[name]})"
    if os.geteuid() == 0:
        pytest.fail(lacks)
    pytest.skip(lacks)


READY_SECONDS = 30.0
STOP_SECONDS = 10.0
LOOK_SECONDS = 0.1


def free_port() -> int:
    """Return a port of the loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def fetch(url: str) -> str:
    """Return what a server on this machine answers."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - a loopback address of the test's own
        return str(answer.read().decode())


@contextmanager
def running(command: list[str], *, log: Path, ready: str = "") -> Iterator[None]:
    """Run a server until the body ends; begin once `ready` answers, where an address is given.

    Raises:
        AssertionError: it ended or did not answer in time; with the end of its log.
    """
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            deadline = time.monotonic() + READY_SECONDS
            while ready and not _answers(ready):
                said = log.read_text()[-2000:]
                assert process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(LOOK_SECONDS)
            yield
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _answers(url: str) -> bool:
    try:
        fetch(url)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True
