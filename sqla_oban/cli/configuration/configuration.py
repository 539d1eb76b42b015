"""The settings that the commands share, gathered from where they stand."""

import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from sqla_oban.cli.configuration.decoding import decoded, decoded_fields, refuse_unknown
from sqla_oban.cli.configuration.levels import LogLevel
from sqla_oban.cli.configuration.queues import QueueSpec, parse_queues
from sqla_oban.cli.configuration.sources import Source, environment, from_environment, from_file
from sqla_oban.cli.loop import Loop
from sqla_oban.errors import ConfigurationError
from sqla_oban.given import Settings
from sqla_oban.settings import QueueConfig
from sqla_oban.telemetry.log import Format

SETTINGS = "sqla_oban.settings."
"""Where those of services are declared."""
SECRET = ("url", "listen_url")
"""What may hold a password, and is not shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What was said on the command line, else in the environment, else in a file; None where nothing was.

    Args:
        url: the database, for what does not get its engine from an application.
        listen_url: the same database past a pooler, for the connection that listens.
        schema: the schema of the tables.
        app: the application as `module:object`.
        queues: which queues run here, instead of the application's.
        node: the name of this node.
        name: runners of one name elect one leader among them.
        leadership: whether this node may lead.
        processes: how many runners run, each in a process of its own.
        loop: the event loop that the jobs run in.
        imports: modules that declare workers.
        log_level: what is too small to be logged.
        log_format: how the log is written.
        shutdown_grace_period: seconds that running jobs have to end.
        health_port: where /live and /ready are served.
        metrics_port: where /metrics is served.
        services: by the service's name, those fields of its settings that were said.
    """

    url: str | None = field(default=None, repr=False)
    listen_url: str | None = field(default=None, repr=False)
    schema: str | None = None
    app: str | None = None
    queues: QueueSpec | None = None
    node: str | None = None
    name: str | None = None
    leadership: bool | None = None
    processes: int | None = None
    loop: Loop = Loop.ASYNCIO
    imports: tuple[str, ...] = ()
    log_level: LogLevel = LogLevel.INFO
    log_format: Format = Format.TEXT
    shutdown_grace_period: float | None = None
    health_port: int | None = None
    metrics_port: int | None = None
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def services() -> dict[str, type[Any]]:
    """The class of settings of each service that a node is made from, by the service's name.

    >>> services()["stager"].__name__
    'StagerSettings'
    """
    return {
        name: kind
        for name, kind in typing.get_type_hints(Settings).items()
        if isinstance(kind, type) and is_dataclass(kind) and kind.__module__.startswith(SETTINGS)
    }


def configured(file: Path | None, **options: Any) -> Configuration:
    """The configuration of this process.

    Args:
        file: the file that was asked for; default: the one in the current directory, if any.
        options: what the command line says, already read; None and () where it says nothing.

    Raises:
        ConfigurationError: a setting is of the wrong type, or a file cannot be read.
        UnknownOption: a setting does not exist.
    """
    sources = (from_file(file, Path.cwd()), from_environment(environment()))
    said = {name: value for name, value in options.items() if value not in (None, ())}
    return _merged([*(_read(source) for source in sources), said])


def _read(source: Source) -> dict[str, Any]:
    """The settings in one place, each of its type."""
    hints, tables = typing.get_type_hints(Configuration), services()
    plain = {one.name for one in fields(Configuration)} - {"services"}
    refuse_unknown(source.values, plain | tables.keys(), source)
    values: dict[str, Any] = {}
    for name, value in source.values.items():
        if name == "queues":
            values[name] = _queues(value, source)
        elif name in tables:
            values[name] = decoded_fields(tables[name], value, source, (name,))
        else:
            values[name] = _plain(hints[name], value, source, name)
    return values


def _plain(kind: Any, value: object, source: Source, name: str) -> Any:
    """That nothing was said is said by leaving it out: None is no choice here."""
    members = tuple(member for member in typing.get_args(kind) if member is not type(None))
    if name in SECRET and not isinstance(value, str):
        raise ConfigurationError(f"{source.named((name,))} must be a string")
    return decoded(members[0] if type(None) in typing.get_args(kind) else kind, value, source, (name,))


def _queues(value: object, source: Source) -> QueueSpec:
    if not source.written:
        queues: QueueSpec = decoded(Mapping[str, int | QueueConfig], value, source, ("queues",))
        return queues
    if not isinstance(value, str):
        raise ConfigurationError(
            f"{source.place} sets all queues in one variable, as SQLA_OBAN_QUEUES=mailers:10,media:2"
        )
    try:
        return parse_queues(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source.named(('queues',))}: {error}") from None


def _merged(parts: Iterable[Mapping[str, Any]]) -> Configuration:
    """Later parts count more; of a service each field by itself."""
    tables = services()
    values: dict[str, Any] = {}
    given: dict[str, dict[str, Any]] = {}
    for part in parts:
        for name, value in part.items():
            if name in tables:
                given[name] = {**given.get(name, {}), **value}
            else:
                values[name] = value
    return Configuration(**values, services=given)
