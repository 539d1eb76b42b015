"""Serves the dashboard; what needs the extra `web` is imported here."""

from typing import Any

import click
import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from sqla_oban.runner import SqlaOban
from sqla_oban.web import dashboard
from sqla_oban.web.actions import read_only
from sqla_oban.web.metrics import Metrics

LOCAL_NAMES = ["localhost", "127.0.0.1", "[::1]"]
"""What a browser on this machine calls us. Any other name is that of a site which was made to lead here."""


async def serve(oban: SqlaOban, host: str, port: int, *, write: bool, local: bool, metrics: Metrics | None) -> None:
    """Serve until a signal; `write` lets everybody who gets here change things."""
    app: ASGIApp = dashboard(oban, authorize=_everything if write else read_only, metrics=metrics)
    if local:
        app = TrustedHostMiddleware(app, allowed_hosts=[*LOCAL_NAMES, host])
    server = uvicorn.Server(
        uvicorn.Config(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=1, lifespan="off")
    )
    click.echo(f"The dashboard is at http://{host}:{port}/" + ("" if write else ", read-only"))
    await server.serve()


def _everything(*_: Any) -> bool:
    return True
