"""`sqla-oban check`."""

import asyncio
import contextlib
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from sqla_oban.cli.app import found, imported
from sqla_oban.cli.configuration import Configuration, configured
from sqla_oban.cli.options import config_option, refuse_url_beside_app, runner_options
from sqla_oban.cli.report import show, show_json
from sqla_oban.cli.runner import configured_runner
from sqla_oban.doctor.examination import examined
from sqla_oban.doctor.finding import Finding, all_well, ok, problem
from sqla_oban.errors import ObanError
from sqla_oban.workers.registry import REGISTRY


@click.command()
@runner_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@config_option
def check(file: Path | None, *, as_json: bool, **options: Any) -> None:
    """Look whether all is well: settings, application, workers, server, tables, permissions and notifications.

    Changes nothing. Exits with 1 if there is something to do.
    """
    with contextlib.redirect_stdout(sys.stderr):  # what an application prints is no part of the answer
        findings = _findings(file, options)
    (show_json if as_json else show)(findings)
    sys.exit(0 if all_well(findings) else 1)


def _findings(file: Path | None, options: dict[str, Any]) -> list[Finding]:
    try:
        configuration = configured(file, **options)
    except ObanError as error:
        return [problem("settings", str(error))]
    _check_usage(configuration, options["url"])
    before = set(REGISTRY)
    try:
        for module in configuration.imports:
            imported(module)
        target = None if configuration.app is None else found(configuration.app)
        return asyncio.run(_examined(configuration, target, before))
    except ObanError as error:
        return [problem("settings", str(error))]
    except click.ClickException as error:
        return [problem("application" if configuration.app else "database", error.message)]


def _check_usage(configuration: Configuration, url: str | None) -> None:
    refuse_url_beside_app(configuration, url)
    if configuration.app is None and configuration.url is None:
        raise click.UsageError("Missing option '--app' or '--url'.")


async def _examined(configuration: Configuration, target: Any, before: Collection[str]) -> list[Finding]:
    async with configured_runner(configuration, target) as oban:
        declared = [name for name in REGISTRY if name not in before]
        concerns_workers = target is not None or bool(configuration.queues) or bool(configuration.imports)
        opening = [ok("settings", "can be read")]
        if configuration.app is not None:
            opening.append(ok("application", f"{configuration.app} is found"))
        return opening + await examined(oban, declared if concerns_workers else None)
