"""Serving a node's page to Prometheus: one thread that waits, one a scrape."""

from __future__ import annotations

import gzip
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from typing import Any

import structlog

from ebpf.page import CONTENT_TYPE
from models.errors import MeshError

log = structlog.get_logger()

# Somebody who connects and says nothing holds a thread no longer.
_PATIENCE_S = 10
# The page shrinks to a tenth, on what may be a mesh's own links; higher levels take thrice the time for a few percent.
_LEVEL = 1


def serve(write: Callable[[], bytes], *, address: str, port: int) -> Callable[[], None]:
    """Answer every GET with what `write` writes then; it is called by the scraping thread.

    Returns:
        What stops it.

    Raises:
        OSError: the address and port cannot be listened on.
    """

    class Answer(BaseHTTPRequestHandler):
        timeout = _PATIENCE_S

        def do_GET(self) -> None:
            try:
                content = write()
            except MeshError as error:
                log.warning("metrics could not be read", reason=str(error))
                self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, explain=str(error))
                return
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", CONTENT_TYPE)
            if "gzip" in self.headers.get("Accept-Encoding", ""):
                content = gzip.compress(content, _LEVEL)
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *said: Any) -> None:
            """Keep quiet about every scrape."""

    class Server(ThreadingHTTPServer):
        address_family = AF_INET6 if ":" in address else AF_INET
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            log.warning("a scrape was not answered", reason=repr(sys.exception()))

    server = Server((address, port), Answer)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
