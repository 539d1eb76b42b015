"""The runner that the configuration describes: the application's, or a plain one on a database."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from sqla_oban.cli.address import opened, parsed
from sqla_oban.cli.app import made
from sqla_oban.cli.configuration import Configuration, QueueSpec
from sqla_oban.errors import ConfigurationError
from sqla_oban.runner import SqlaOban
from sqla_oban.settings import ExecutorKind, ProcessSettings, QueueConfig
from sqla_oban.workers.registry import REGISTRY

PLAIN = ("schema", "listen_url", "node", "name", "leadership", "shutdown_grace_period")
"""Options of the runner that the configuration has under the same name."""


@contextlib.asynccontextmanager
async def configured_runner(configuration: Configuration, target: Any) -> AsyncIterator[SqlaOban]:
    """The runner as `given_runner` has it, with what the configuration says of it.

    Raises:
        ClickException: the application or the database is not to be had.
        ConfigurationError: the configuration does not fit the application's.
    """
    async with given_runner(configuration, target) as oban:
        yield adjusted(oban, configuration)


@contextlib.asynccontextmanager
async def given_runner(configuration: Configuration, target: Any) -> AsyncIterator[SqlaOban]:
    """The application's own, or a plain one, not started; its engine is disposed of at the end, with the process.

    Args:
        configuration: names the application or the database.
        target: what --app names; None for a plain runner on the url of the configuration.

    Raises:
        ClickException: the application or the database is not to be had.
    """
    if target is None:
        assert configuration.url is not None
        pooled = configuration.listen_url is not None
        async with opened(parsed(configuration.url), pooled=pooled) as engine:
            yield SqlaOban(engine)
        return
    oban = await made(target, str(configuration.app))
    try:
        yield oban
    finally:
        await oban.engine.dispose()


def adjusted(oban: SqlaOban, configuration: Configuration) -> SqlaOban:
    """`oban` with the options that the configuration has a word about.

    Raises:
        ConfigurationError: one of them does not fit the others.
    """
    options = {name: value for name in PLAIN if (value := getattr(configuration, name)) is not None}
    for service, fields in configuration.services.items():
        try:
            options[service] = replace(getattr(oban.settings, service), **fields)
        except ConfigurationError as error:
            raise ConfigurationError(f"the settings of {service} do not fit: {error}") from None
    if configuration.queues is not None:
        options["queues"] = _chosen(configuration.queues, oban.settings.queues)
    process: ProcessSettings = options.get("process", oban.settings.process)
    if configuration.app is not None and process.setup is None and _needs_processes(oban, options):
        options["process"] = replace(process, setup=configuration.app)
    return oban.with_options(**{"node": oban.node, **options}) if options else oban


def _needs_processes(oban: SqlaOban, options: Mapping[str, Any]) -> bool:
    queues: Mapping[str, QueueConfig] = options.get("queues", oban.settings.queues)
    workers = REGISTRY.definitions()
    return any(queue.executor for queue in queues.values()) or any(
        worker.executor is ExecutorKind.PROCESS for worker in workers
    )


def _chosen(spec: QueueSpec, known: Mapping[str, QueueConfig]) -> dict[str, QueueConfig]:
    """The queues of `spec`, each with what the application says of it but for its number."""
    return {queue: _config(queue, value, known) for queue, value in spec.items()}


def _config(queue: str, value: int | QueueConfig | None, known: Mapping[str, QueueConfig]) -> QueueConfig:
    if isinstance(value, QueueConfig):
        return value
    if value is not None:
        return replace(known.get(queue, QueueConfig()), limit=value)
    if queue in known:
        return known[queue]
    close = get_close_matches(queue, known, n=1)
    meant = f"did you mean {close[0]!r}?" if close else f"say how many jobs, as in {queue}:10"
    raise ConfigurationError(f"the application runs no queue {queue!r}; {meant}")
