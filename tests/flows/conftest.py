"""One Prefect server a session, for the few tests that look at what Prefect shows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

# It takes about 20 s alone, and more beside other suites.
SERVER_SECONDS = 120


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A temporary Prefect server that every client of this process talks to."""
    from prefect.testing.utilities import prefect_test_harness  # noqa: PLC0415 - four seconds that few workers need

    with prefect_test_harness(server_startup_timeout=SERVER_SECONDS):
        yield
