"""One Prefect server a session, for the few tests that look at what Prefect shows."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

# It takes about 20 s alone, and more beside other suites.
SERVER_SECONDS = 120


@pytest.fixture(scope="session")
def prefect_server(pytestconfig: pytest.Config) -> Iterator[None]:
    """A temporary Prefect server that every client of this process talks to."""
    from prefect.events import emit_event  # noqa: PLC0415 - four seconds that few workers need
    from prefect.settings import get_current_settings  # noqa: PLC0415 - as above
    from prefect.testing.utilities import prefect_test_harness  # noqa: PLC0415 - as above

    with prefect_test_harness(server_startup_timeout=SERVER_SECONDS):
        forgive_sockets_to(pytestconfig, urlsplit(str(get_current_settings().api.url)).port)
        # Prefect's one events client of this process speaks for ever to whom it spoke first: not to a cable to be cut.
        emit_event("tests begin", resource={"prefect.resource.id": "tests"})
        yield


def forgive_sockets_to(config: pytest.Config, port: int | None) -> None:
    """Let no test of this process fail for a socket to this port that nobody closed.

    Prefect's events client leaves its web sockets to the garbage collector, which comes during any later test.
    """
    config.addinivalue_line("filterwarnings", rf"ignore:unclosed <socket.*, {port}\)>:ResourceWarning")
