"""Whether a port is ours to take: asked before anything starts, since another's answer would pass for our own."""

from __future__ import annotations

import os
import socket

from models.errors import ConfigurationInvalid


def require_free(host: str, port: int, *, variable: str) -> None:
    """Return if this machine lets somebody listen there now.

    Args:
        host: Address of this machine, or its name.
        port: TCP.
        variable: What chooses the port.

    Raises:
        ConfigurationInvalid: somebody listens there, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        message = f"nobody can listen on port {port} of {host} ({os.strerror(error.errno or 0)})"
        raise ConfigurationInvalid(message, f"stop what listens there, or choose another with {variable}") from error
