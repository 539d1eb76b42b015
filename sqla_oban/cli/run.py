"""`sqla-oban run`."""

import asyncio
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from sqla_oban import telemetry
from sqla_oban.cli.address import knock
from sqla_oban.cli.app import found, imported
from sqla_oban.cli.configuration import Configuration, configured
from sqla_oban.cli.failure import explained
from sqla_oban.cli.log import write_log
from sqla_oban.cli.options import (
    app_option,
    config_option,
    imports_option,
    listen_url_option,
    log_format_option,
    log_level_option,
    node_option,
    queues_option,
    refuse_url_beside_app,
    schema_option,
    url_option,
)
from sqla_oban.cli.runner import configured_runner
from sqla_oban.errors import reason
from sqla_oban.runner import SqlaOban
from sqla_oban.telemetry.events import RunnerStarted


@click.command()
@app_option
@url_option
@listen_url_option
@queues_option
@imports_option
@node_option
@schema_option
@log_level_option
@log_format_option
@config_option
def run(file: Path | None, **options: Any) -> None:
    """Run jobs until SIGTERM or Ctrl-C, and let those that run end; a second one ends them.

    Either --app names the application, which has its engine and its queues; or --url and --queues say what to run, and
    --import where the workers are.
    """
    with explained():
        configuration = configured(file, **options)
        _check_usage(configuration, url=options["url"])
        for module in configuration.imports:
            imported(module)
        target = None if configuration.app is None else found(configuration.app)
        write_log(configuration.log_level, configuration.log_format)
        asyncio.run(_run(configuration, target))


def _check_usage(configuration: Configuration, *, url: str | None) -> None:
    refuse_url_beside_app(configuration, url)
    if configuration.app is None and (configuration.url is None or not configuration.queues):
        raise click.UsageError("Missing option '--app', or '--url' and '--queues' in its place.")


async def _run(configuration: Configuration, target: Any) -> None:
    async with configured_runner(configuration, target) as oban:
        if not oban.settings.queues and not oban.settings.leadership:
            raise click.ClickException("the application runs no queues; say which with --queues, as in default:10")
        await knock(oban.engine)
        telemetry.attach(lambda _: click.echo(_introduction(oban)), RunnerStarted)
        try:
            await oban.run()
        except OSError as error:  # a server that went away between the knock and the start
            raise click.ClickException(f"the runner could not start: {reason(error)}") from None


def _introduction(oban: SqlaOban) -> str:
    queues = ", ".join(f"{name}:{config.limit}" for name, config in oban.settings.queues.items()) or "none"
    return f"sqla-oban {version('sqla-oban')} runs as node {oban.node}, queues: {queues}"
