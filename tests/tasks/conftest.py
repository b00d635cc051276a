"""Logs of the stages are kept off the screen: printing a traceback for people costs more than the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[EventDict]]:
    """What was logged during the test."""
    with capture_logs() as events:
        yield events
