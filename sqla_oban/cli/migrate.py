"""`sqla-oban migrate`."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection, text

from sqla_oban import migrations
from sqla_oban.cli.address import knock
from sqla_oban.cli.app import found
from sqla_oban.cli.configuration import Configuration, configured
from sqla_oban.cli.failure import explained
from sqla_oban.cli.options import app_option, config_option, refuse_url_beside_app, required_url, url_option
from sqla_oban.cli.runner import configured_runner
from sqla_oban.runner import SqlaOban

HISTORY = text(
    "SELECT to_regclass('alembic_version') IS NOT NULL OR EXISTS (SELECT FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = :home AND relname = 'alembic_version')"
)
"""Whether alembic keeps its history where a connection finds it, or beside the tables."""


@click.command()
@app_option
@url_option
@click.option("--schema", help="The schema of the tables, made if missing; default: the first on the search path.")
@click.option("--to", type=click.IntRange(min=1), help="The version to stop at; default: the newest.")
@click.option("--sql", is_flag=True, help="Print the SQL instead of running it.")
@click.option(
    "--from",
    "start",
    type=click.IntRange(min=0),
    help="With --sql: the version to start from, without asking a database; default: that of the database, 0 without.",
)
@click.option(
    "--concurrently",
    is_flag=True,
    help="With --sql: build indexes outside of the transaction, as is done without --sql where the table has rows.",
)
@click.option(
    "--beside-alembic",
    is_flag=True,
    help="Go on where alembic keeps a history of the database, although the next one made by it will lack the tables.",
)
@config_option
def migrate(
    file: Path | None,
    app: str | None,
    url: str | None,
    schema: str | None,
    to: int | None,
    start: int | None,
    *,
    sql: bool,
    concurrently: bool,
    beside_alembic: bool,
) -> None:
    """Make the tables of sqla_oban, or bring them up to the version that this release needs.

    Tables that oban.py or Oban for Elixir made are adopted, with every job in them. For databases without a migration
    history of their own: where alembic keeps one, it is refused, because a revision is to have the tables.
    """
    if start is not None and not sql:
        raise click.UsageError("--from goes with --sql: a database says itself which version it has.")
    if concurrently and not sql:
        raise click.UsageError("--concurrently goes with --sql: a database says itself whether it needs it.")
    with explained():
        configuration = _meant(configured(file, app=app, url=url, schema=schema), app, url, needed=not sql)
        with contextlib.redirect_stdout(sys.stderr):  # what an application prints is no part of the script
            target = None if configuration.app is None else found(configuration.app)
        if sql:
            click.echo(asyncio.run(_script(configuration, target, start, to, concurrently=concurrently)))
        else:
            click.echo(asyncio.run(_migrate(configuration, target, to, beside_alembic=beside_alembic)))


def _meant(configuration: Configuration, app: str | None, url: str | None, *, needed: bool) -> Configuration:
    """What names the database: --url before the settings' application, whose role need not own the tables.

    Raises:
        UsageError: nothing does and one is needed, or the command line names two.
    """
    if app is not None:
        refuse_url_beside_app(configuration, url)
    named = Configuration(
        url=configuration.url, schema=configuration.schema, app=configuration.app if url is None else None
    )
    if needed and named.app is None:
        required_url(named)
    return named


async def _migrate(configuration: Configuration, target: Any, to: int | None, *, beside_alembic: bool) -> str:
    async with configured_runner(configuration, target) as oban:
        await knock(oban.engine)
        async with oban.engine.connect() as connection:
            schema = oban.settings.schema
            if not beside_alembic:
                await connection.run_sync(_leave_to_alembic, schema, to)
            told = await connection.run_sync(_bring_up, schema, to)
            await connection.commit()
            return told


def _leave_to_alembic(connection: Connection, schema: str | None, to: int | None) -> None:
    """Make sure that no history of alembic's is to have what there is to do.

    Raises:
        ClickException: it is. Autogenerate writes what a database lacks: tables that are made beside the history get
            into no revision, and the next database is made without them.
    """
    target = migrations.required_version() if to is None else to
    if migrations.current_version(connection, schema=schema) >= target:
        return
    if connection.scalar(HISTORY, {"home": migrations.home_of(connection, schema)}):
        raise click.ClickException(
            "alembic keeps a history of this database, and a revision is to have the tables: run `alembic revision "
            "--autogenerate`, if none has them yet, then `alembic upgrade head`; or say --beside-alembic"
        )


def _bring_up(connection: Connection, schema: str | None, to: int | None) -> str:
    """Migrate, and say from where to where."""
    before = migrations.current_version(connection, schema=schema)
    migrations.migrate(connection, schema=schema, version=to, outside=lambda: _outside(connection))
    if to is None:
        migrations.check_version(connection, schema=schema)
    after = migrations.current_version(connection, schema=schema)
    home = migrations.home_of(connection, schema)
    return f"The sqla_oban tables in schema {home} were at version {before} and are at version {after}."


@contextlib.contextmanager
def _outside(connection: Connection) -> Iterator[None]:
    """Between two transactions of the connection."""
    connection.commit()
    connection.execution_options(isolation_level="AUTOCOMMIT")
    try:
        yield
    finally:
        connection.commit()
        connection.execution_options(isolation_level=connection.default_isolation_level)


async def _script(
    configuration: Configuration, target: Any, start: int | None, to: int | None, *, concurrently: bool
) -> str:
    schema = configuration.schema
    home, current = schema or "public", start or 0
    if target is not None or (start is None and configuration.url is not None):
        async with configured_runner(configuration, target) as oban:
            schema = oban.settings.schema
            home, current = (schema or "public", current) if start is not None else await _there(oban)
    last = migrations.required_version() if to is None else to
    return "\n\n".join(
        _lines(home, current, last, create_schema=schema is not None and not current, concurrently=concurrently)
    )


async def _there(oban: SqlaOban) -> tuple[str, int]:
    """The schema of the tables, and their version."""
    await knock(oban.engine)
    schema = oban.settings.schema
    async with oban.engine.connect() as connection:
        home = await connection.run_sync(migrations.home_of, schema)
        return home, await connection.run_sync(migrations.current_version, schema=schema)


def _lines(home: str, start: int, target: int, *, create_schema: bool, concurrently: bool) -> Iterator[str]:
    """A script for psql: one transaction unless told otherwise, each statement as it is written in the migration."""
    statements = list(
        migrations.script(home, start=start, version=target, create_schema=create_schema, concurrently=concurrently)
    )
    if not statements:
        yield f"-- The sqla_oban tables are at version {start}; version {target} needs nothing."
        return
    yield f"-- The sqla_oban tables in schema {home!r}, from version {start} to version {target}."
    if concurrently:
        yield "-- Run it so that it stops at the first error (psql -v ON_ERROR_STOP=1); then it can be run again."
    yield "BEGIN;"
    yield from (f"{statement.strip()};" for statement in statements)
    yield "COMMIT;"
