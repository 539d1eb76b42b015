"""`sqla-oban migrate`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import click
from sqlalchemy import URL, Connection

from sqla_oban import migrations
from sqla_oban.cli.address import opened, parsed
from sqla_oban.cli.configuration import Configuration, configured
from sqla_oban.cli.failure import explained
from sqla_oban.cli.options import config_option, required_url, url_option


@click.command()
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
@config_option
def migrate(
    file: Path | None, url: str | None, schema: str | None, to: int | None, start: int | None, *, sql: bool
) -> None:
    """Make the tables of sqla_oban, or bring them up to the version that this release needs.

    For databases without a migration history of their own: where alembic keeps one, let it have the revision.
    """
    if start is not None and not sql:
        raise click.UsageError("--from goes with --sql: a database says itself which version it has.")
    with explained():
        configuration = configured(file, url=url, schema=schema)
        if sql:
            click.echo(asyncio.run(_script(configuration, start, to)))
        else:
            click.echo(asyncio.run(_migrate(parsed(required_url(configuration)), configuration.schema, to)))


async def _migrate(address: URL, schema: str | None, to: int | None) -> str:
    async with opened(address) as engine, engine.begin() as connection:
        return await connection.run_sync(_bring_up, schema, to)


def _bring_up(connection: Connection, schema: str | None, to: int | None) -> str:
    """Migrate, and say from where to where."""
    before = migrations.current_version(connection, schema=schema)
    migrations.migrate(connection, schema=schema, version=to)
    if to is None:
        migrations.check_version(connection, schema=schema)
    after = migrations.current_version(connection, schema=schema)
    home = migrations.home_of(connection, schema)
    return f"The sqla_oban tables in schema {home} were at version {before} and are at version {after}."


async def _script(configuration: Configuration, start: int | None, to: int | None) -> str:
    schema = configuration.schema
    home, found = schema or "public", start or 0
    if start is None and configuration.url is not None:
        async with opened(parsed(configuration.url)) as engine, engine.connect() as connection:
            home = await connection.run_sync(migrations.home_of, schema)
            found = await connection.run_sync(migrations.current_version, schema=schema)
    target = migrations.required_version() if to is None else to
    return "\n\n".join(_lines(home, found, target, create_schema=schema is not None and not found))


def _lines(home: str, start: int, target: int, *, create_schema: bool) -> Iterator[str]:
    """A script for psql: one transaction, each statement as it is written in the migration."""
    statements = list(migrations.script(home, start=start, version=target, create_schema=create_schema))
    if not statements:
        yield f"-- The sqla_oban tables are at version {start}; version {target} needs nothing."
        return
    yield f"-- The sqla_oban tables in schema {home!r}, from version {start} to version {target}."
    yield "BEGIN;"
    yield from (f"{statement.strip()};" for statement in statements)
    yield "COMMIT;"
