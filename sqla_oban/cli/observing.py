"""What `sqla-oban run` shows to others while it runs: health and metrics, on ports of their own."""

import contextlib
import importlib
from collections.abc import AsyncIterator
from typing import Any

import click

from sqla_oban.cli.configuration import Configuration
from sqla_oban.errors import ConfigurationError
from sqla_oban.observe.answer import Endpoints
from sqla_oban.observe.health import Health
from sqla_oban.observe.serving import served
from sqla_oban.observe.survey import Survey
from sqla_oban.runner import SqlaOban


@contextlib.asynccontextmanager
async def observed(oban: SqlaOban, configuration: Configuration, *, number: int) -> AsyncIterator[None]:
    """Serve what the configuration asks for, from before the runner starts until after it has stopped.

    Args:
        oban: not started.
        configuration: has the ports.
        number: which of several runners on this machine it is; each takes one port more than the one before.

    Raises:
        ClickException: a port cannot be had.
        ConfigurationError: what it needs is not installed.
    """
    ports: dict[int, Endpoints] = {}
    async with contextlib.AsyncExitStack() as stack:
        if configuration.health_port is not None:
            health = await stack.enter_async_context(Health(oban))
            ports[configuration.health_port] = health.endpoints
        if configuration.metrics_port is not None:
            metrics = stack.enter_context(extra("sqla_oban.observe.prometheus").PrometheusMetrics())
            ports[configuration.metrics_port] = {**ports.get(configuration.metrics_port, {}), **metrics.endpoints}
            await stack.enter_async_context(Survey(oban))
        for port, endpoints in ports.items():
            try:
                stack.enter_context(served(endpoints, port + number - 1))
            except (OSError, OverflowError) as error:
                raise click.ClickException(f"nothing can be served on port {port + number - 1}: {error}") from None
        yield


def extra(module: str) -> Any:
    """A module that needs the extra `prometheus`.

    Raises:
        ConfigurationError: that is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name != "prometheus_client":
            raise
        raise ConfigurationError("prometheus_client is not installed; pip install 'sqla-oban[prometheus]'") from None
