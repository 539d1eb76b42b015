"""The runner that a command speaks to, not started: the application's, or a plain one on a database."""

import asyncio
import contextlib
import functools
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from sqla_oban.cli.app import found, imported
from sqla_oban.cli.configuration import Configuration, configured
from sqla_oban.cli.failure import explained
from sqla_oban.cli.operating.output import Output
from sqla_oban.cli.options import (
    app_option,
    config_option,
    imports_option,
    refuse_url_beside_app,
    schema_option,
    url_option,
)
from sqla_oban.cli.runner import configured_runner
from sqla_oban.control.missing import mismatch
from sqla_oban.control.watch.reader import Reader
from sqla_oban.runner import SqlaOban

T = TypeVar("T")
Work = Callable[..., Awaitable[None]]

name_option = click.option("--name", "runners", help="The name that the runners share, if it is not Oban.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")


def operating(work: Work) -> Callable[..., None]:
    """A command that does `work(oban, output, ...)`, with the options that say on which database."""

    @functools.wraps(work)
    def command(file: Path | None, *, as_json: bool, **options: Any) -> None:
        said = {name: options.pop(name) for name in ("app", "url", "schema", "imports")}
        said["name"] = options.pop("runners")  # an argument of the command's own may be called so
        with explained():
            configuration = configured(file, **said)
            _check_usage(configuration, said["url"])
            with contextlib.redirect_stdout(sys.stderr):  # what an application prints is no part of the answer
                for module in configuration.imports:
                    imported(module)
                target = None if configuration.app is None else found(configuration.app)
            asyncio.run(_do(work, configuration, target, Output(as_json), options))

    # click shows first what is applied last
    for option in (config_option, json_option, name_option, schema_option, imports_option, url_option, app_option):
        command = option(command)
    return command


async def _do(work: Work, configuration: Configuration, target: Any, output: Output, options: dict[str, Any]) -> None:
    async with configured_runner(configuration, target) as oban:
        try:
            await work(oban, output, **options)
        except DBAPIError as error:
            if (why := await mismatch(error, oban.engine, oban.settings.schema)) is not None:
                raise why from None
            raise


async def answer(oban: SqlaOban, question: Callable[[Session], T]) -> T:
    """What a question of `control.watch` is answered."""
    return await Reader(oban.engine, oban.settings.scope).ask(question)


def _check_usage(configuration: Configuration, url: str | None) -> None:
    refuse_url_beside_app(configuration, url)
    if configuration.app is None and configuration.url is None:
        raise click.UsageError(
            "Missing option '--url' or '--app'; SQLA_OBAN_URL, or url in [tool.sqla_oban], would do as well."
        )
