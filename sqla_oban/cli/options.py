"""Options that several commands have, and what they are read by."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sqla_oban.cli.address import EXAMPLE
from sqla_oban.cli.app import checked_spec
from sqla_oban.cli.configuration import Configuration, LogLevel, parse_queues
from sqla_oban.cli.configuration.sources import FILE_VARIABLE
from sqla_oban.cli.loop import Loop
from sqla_oban.errors import ConfigurationError
from sqla_oban.telemetry.log import Format


def read_by(reader: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """What click calls with an option's value: `reader`, whose refusal is a wrong usage of the command."""

    def read(_: click.Context, __: click.Parameter, value: str | None) -> Any:
        try:
            return None if value is None else reader(value)
        except (ConfigurationError, ValueError) as error:
            raise click.BadParameter(str(error)) from None

    return read


config_option = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    envvar=FILE_VARIABLE,
    help="A TOML file with settings; default: sqla_oban.toml, or [tool.sqla_oban] in pyproject.toml.",
)
url_option = click.option("--url", help=f"The database, as {EXAMPLE}; asyncpg and psycopg can be named.")
listen_url_option = click.option(
    "--listen-url", help="The same database past a pooler in transaction mode, for the one connection that listens."
)
schema_option = click.option("--schema", help="The schema of the tables; default: where the search path finds them.")
app_option = click.option(
    "--app",
    callback=read_by(checked_spec),
    metavar="MODULE:OBJECT",
    help="The application's SqlaOban, or a function that returns it; found in the current directory too.",
)
imports_option = click.option(
    "--import", "imports", multiple=True, metavar="MODULE", help="A module that declares workers; may be repeated."
)
queues_option = click.option(
    "--queues",
    callback=read_by(parse_queues),
    metavar="NAME:NUMBER,...",
    help="The queues to run here and how many jobs of each at a time, instead of all that the application runs; "
    "a name without a number keeps the application's.",
)


def runner_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Those that say which runner is meant: an application's, or one made of a database, queues and workers."""
    # click shows first what is applied last
    for option in (schema_option, imports_option, queues_option, listen_url_option, url_option, app_option):
        command = option(command)
    return command


node_option = click.option("--node", help="The name of this node; default: host name and process id.")
processes_option = click.option(
    "--processes",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="How many runners to run, each in a process of its own, that is started again when it dies; default: 1.",
)
loop_option = click.option(
    "--loop",
    type=click.Choice([kind.value for kind in Loop]),
    callback=read_by(Loop),
    help="The event loop that jobs run in; uvloop comes with sqla-oban[uvloop]; default: asyncio.",
)
health_port_option = click.option(
    "--health-port",
    type=click.IntRange(1, 65535),
    help="Serve /live and /ready there, on all addresses; with --processes each runner takes one port more.",
)
metrics_port_option = click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    help="Serve /metrics for Prometheus there, likewise; it may be the same port.",
)
log_level_option = click.option(
    "--log-level",
    type=click.Choice([level.value for level in LogLevel], case_sensitive=False),
    callback=read_by(LogLevel),
    help="What is to be logged at least, where the application does not say itself; default: info.",
)
log_format_option = click.option(
    "--log-format",
    type=click.Choice([kind.value for kind in Format]),
    callback=read_by(Format),
    help="How, where the application does not say itself; default: text.",
)


def required_url(configuration: Configuration) -> str:
    """The url that was said somewhere.

    Raises:
        UsageError: none was.
    """
    if configuration.url is None:
        raise click.UsageError(
            "Missing option '--url' or '--app'; SQLA_OBAN_URL, or url in [tool.sqla_oban], would do as well."
        )
    return configuration.url


def refuse_url_beside_app(configuration: Configuration, url: str | None) -> None:
    """Make sure that it is clear which database is meant.

    Raises:
        UsageError: the command line names one, and an application has another.
    """
    if configuration.app is not None and url is not None:
        raise click.UsageError(f"--url goes without --app: {configuration.app} has an engine of its own.")
