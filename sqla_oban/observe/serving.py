"""Endpoints on a port of their own, served by a thread: a job that blocks the event loop does not make them silent."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sqla_oban.observe.answer import Endpoints
from sqla_oban.observe.asgi import answered

log = logging.getLogger(__name__)

SLOWEST = 10.0
"""Seconds that a client may take to say what it wants."""


@contextlib.contextmanager
def served(endpoints: Endpoints, port: int, host: str = "0.0.0.0") -> Iterator[int]:  # noqa: S104 (probes come from outside)
    """Serve `endpoints` until the end of the block; gives the port, which the system chooses for 0.

    Raises:
        OSError: the port is taken.
    """
    server = ThreadingHTTPServer((host, port), _handler(endpoints))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name=f"sqla_oban port {port}", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(endpoints: Endpoints) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers one request."""

        timeout = SLOWEST

        def do_GET(self) -> None:
            """Answer with a body."""
            answer = answered(endpoints, "GET", self.path.partition("?")[0])
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_HEAD = do_GET  # noqa: N815 (as the base class has it)

        def log_message(self, format: str, *args: object) -> None:
            """A probe every few seconds is no news."""
            log.debug(format, *args)

    return Handler
