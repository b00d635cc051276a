"""The programs these tests call, and where the files they are about lie."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "infra" / "deploy"
PACKAGES = {
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
