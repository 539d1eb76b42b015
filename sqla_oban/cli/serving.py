"""Serves the dashboard; what needs the extra `web` is imported here."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import click
import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from sqla_oban.engine.interrupts import handled
from sqla_oban.runner import SqlaOban
from sqla_oban.web import dashboard
from sqla_oban.web.actions import read_only
from sqla_oban.web.metrics import Metrics

LOCAL_NAMES = ["localhost", "127.0.0.1", "[::1]"]
"""What a browser on this machine calls us. Any other name is that of a site which was made to lead here."""

GRACE: Final = 5
"""Seconds that answers on their way have when we are asked to leave; questions to PostgreSQL give up earlier."""


async def serve(oban: SqlaOban, host: str, port: int, *, write: bool, local: bool, metrics: Metrics | None) -> None:
    """Serve until a signal; `write` lets everybody who gets here change things.

    Raises:
        ClickException: the address cannot be had.
    """
    pages = dashboard(oban, authorize=_everything if write else read_only, metrics=metrics)
    app: ASGIApp = TrustedHostMiddleware(pages, allowed_hosts=[*LOCAL_NAMES, host]) if local else pages
    with _listening(host, port) as listener:
        click.echo(_introduction(host, listener.getsockname()[1], write=write, local=local))
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE, lifespan="off")
        await _Server(config, pages.state.leaving.set).serve(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends on a signal, and that is all: uvicorn's own sends it to the process again, which would die of it."""

    def __init__(self, config: uvicorn.Config, leave: Callable[[], None]) -> None:
        super().__init__(config)
        self._leave_streams = leave

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As long as it serves."""
        with handled(self._leave):
            yield

    def _leave(self) -> None:
        self.force_exit = self.should_exit  # the second time, without those who are still being answered
        self.should_exit = True
        self._leave_streams()


def _listening(host: str, port: int) -> socket.socket:
    """A socket on the address: before anything is said of it, and so that it is us who say what is wrong."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)  # localhost is both
        return socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:
        raise click.ClickException(
            f"the dashboard cannot be served on {host}, port {port}: {error}; another port is chosen by --port"
        ) from None


def _introduction(host: str, port: int, *, write: bool, local: bool) -> str:
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    more = "" if write else ", read-only; --write lets you retry, cancel and pause" if local else ", read-only"
    return f"The dashboard is at {url}{more}"


def _everything(*_: Any) -> bool:
    return True
