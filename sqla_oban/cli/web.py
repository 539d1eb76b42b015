"""`sqla-oban web`."""

import asyncio
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import click

from sqla_oban.cli.address import knock
from sqla_oban.cli.app import found, imported
from sqla_oban.cli.configuration import Configuration, configured
from sqla_oban.cli.failure import explained
from sqla_oban.cli.observing import extra
from sqla_oban.cli.options import config_option, refuse_url_beside_app, runner_options
from sqla_oban.cli.runner import configured_runner
from sqla_oban.engine.interrupts import leave_when_asked

EXTRA: Final = ("jinja2", "starlette", "uvicorn", "markupsafe", "anyio")
serve: Callable[..., Any] | None
"""Serves the dashboard of a runner; None where the extra `web` is not installed."""

try:
    from sqla_oban.cli.serving import serve
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] not in EXTRA:
        raise
    serve = None


@click.command()
@runner_options
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=4000, show_default=True, type=click.IntRange(0, 65_535), help="The port to listen on.")
@click.option("--write", is_flag=True, help="Let whoever opens it change things; only on an address of this machine.")
@click.option("--metrics", is_flag=True, help="Tell Prometheus of queues and nodes at /metrics.")
@config_option
def web(file: Path | None, host: str, port: int, *, write: bool, metrics: bool, **options: Any) -> None:
    """Serve the dashboard until SIGTERM or Ctrl-C.

    It asks nobody who they are, so by default it can be reached from this machine only, and changes nothing. For
    everything else mount `sqla_oban.web.dashboard` in an application of yours, with authorize=.
    """
    if serve is None:
        raise click.ClickException("the dashboard needs Starlette, Jinja2 and uvicorn: pip install 'sqla-oban[web]'")
    if write and not _is_local(host):
        raise click.UsageError(
            f"--write on {host} would let everybody there change things; mount dashboard(..., authorize=...) instead."
        )
    leave_when_asked()
    with explained():
        configuration = configured(file, **options)
        refuse_url_beside_app(configuration, options["url"])
        if configuration.app is None and configuration.url is None:
            raise click.UsageError("Missing option '--app' or '--url'.")
        for module in configuration.imports:
            imported(module)
        target = None if configuration.app is None else found(configuration.app)
        told = extra("sqla_oban.observe.fleet").FleetMetrics() if metrics else None
        serving = partial(serve, host=host, port=port, write=write, local=_is_local(host), metrics=told)
        asyncio.run(_serve(serving, configuration, target))


async def _serve(serving: Callable[..., Any], configuration: Configuration, target: Any) -> None:
    async with configured_runner(configuration, target) as oban:
        await knock(oban.engine)
        await serving(oban)


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
