"""`sqla-oban run`."""

import asyncio
import logging
import sys
from collections.abc import Collection
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
from sqla_oban.cli.observing import observed
from sqla_oban.cli.options import (
    config_option,
    health_port_option,
    log_format_option,
    log_level_option,
    loop_option,
    metrics_port_option,
    node_option,
    processes_option,
    read_by,
    refuse_url_beside_app,
    runner_options,
)
from sqla_oban.cli.placement import unserved, unused
from sqla_oban.cli.runner import adjusted, given_runner
from sqla_oban.cli.supervised import Line, run_supervised
from sqla_oban.cli.supervisor import Supervisor
from sqla_oban.engine.interrupts import leave_when_asked
from sqla_oban.errors import reason
from sqla_oban.runner import SqlaOban
from sqla_oban.settings.checks import whole
from sqla_oban.telemetry.events import RunnerStarted
from sqla_oban.workers.definition import Definition
from sqla_oban.workers.registry import REGISTRY

log = logging.getLogger(__name__)


@click.command()
@runner_options
@node_option
@processes_option
@loop_option
@click.option("--line", callback=read_by(Line.parsed), hidden=True)
@health_port_option
@metrics_port_option
@log_level_option
@log_format_option
@config_option
def run(file: Path | None, line: Line | None, **options: Any) -> None:
    """Run jobs until SIGTERM or Ctrl-C, and let those that run end; a second one ends them.

    Either --app names the application, which has its engine and its queues; or --url and --queues say what to run, and
    --import where the workers are.
    """
    leave_when_asked()
    with explained():
        configuration = configured(file, **options)
        _check_usage(configuration, url=options["url"])
        if line is None and (number := configuration.processes or 1) > 1:
            write_log(configuration.log_level, configuration.log_format)
            sys.exit(asyncio.run(_supervise(number)))
        before = set(REGISTRY)
        for module in configuration.imports:
            imported(module)
        target = None if configuration.app is None else found(configuration.app)
        write_log(configuration.log_level, configuration.log_format)
        with configuration.loop.runner() as runner:
            runner.run(_run(configuration, target, line, before))


def _check_usage(configuration: Configuration, *, url: str | None) -> None:
    refuse_url_beside_app(configuration, url)
    if configuration.processes is not None:
        whole("processes", configuration.processes)
    if configuration.app is None and (configuration.url is None or not configuration.queues):
        raise click.UsageError("Missing option '--app', or '--url' and '--queues' in its place.")


async def _supervise(number: int) -> int:
    return await Supervisor(sys.argv[1:], number).run()


async def _run(configuration: Configuration, target: Any, line: Line | None, before: Collection[str]) -> None:
    async with given_runner(configuration, target) as given:
        oban = adjusted(given, configuration)
        if line is not None:
            oban = oban.with_options(node=f"{oban.node}.{line.number}")
        if not oban.settings.queues and not oban.settings.leadership:
            raise click.ClickException("the application runs no queues; say which with --queues, as in default:10")
        await knock(oban.engine)
        if line is None or line.number == 1:
            workers = [worker for worker in REGISTRY.definitions() if worker.name not in before]
            _warn_of_queues(workers, given, oban, chosen=configuration.queues is not None)
        telemetry.attach(lambda _: click.echo(_introduction(oban)), RunnerStarted)
        try:
            async with observed(oban, configuration, number=1 if line is None else line.number):
                await (oban.run() if line is None else run_supervised(oban, line))
        except OSError as error:  # a server that went away between the knock and the start
            raise click.ClickException(f"the runner could not start: {reason(error)}") from None


def _warn_of_queues(workers: Collection[Definition], given: SqlaOban, oban: SqlaOban, *, chosen: bool) -> None:
    """Who chooses queues leaves others out on purpose, and may mistype one."""
    running = oban.settings.queues
    if running:
        for words in unused(workers, running, given.settings.queues) if chosen else unserved(workers, running):
            log.warning(words)


def _introduction(oban: SqlaOban) -> str:
    queues = ", ".join(f"{name}:{config.limit}" for name, config in oban.settings.queues.items()) or "none"
    return f"sqla-oban {version('sqla-oban')} runs as node {oban.node}, queues: {queues}"
