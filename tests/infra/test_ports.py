"""A port that another process holds is told before anything starts."""

from __future__ import annotations

import socket

import pytest

from infra.ports import require_free
from models.errors import ConfigurationInvalid


def test_a_port_that_somebody_listens_on_is_named_with_what_chooses_it():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationInvalid, match=rf"port {port} of 127\.0\.0\.1.*in use.*X0_API_PORT"):
            require_free("127.0.0.1", port, variable="X0_API_PORT")


def test_a_port_that_was_asked_about_stays_free():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    require_free("127.0.0.1", port, variable="X0_API_PORT")
    require_free("127.0.0.1", port, variable="X0_API_PORT")


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(ConfigurationInvalid, match=r"192\.0\.2\.1"):
        require_free("192.0.2.1", 8080, variable="X0_API_PORT")
