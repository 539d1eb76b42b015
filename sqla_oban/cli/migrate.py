"""`sqla-oban migrate`."""

import asyncio

import click
from sqlalchemy import URL, Connection

from sqla_oban import migrations
from sqla_oban.cli.address import EXAMPLE, opened, parsed
from sqla_oban.cli.failure import explained


@click.command()
@click.option("--url", required=True, help=f"The database, as {EXAMPLE}; asyncpg and psycopg can be named.")
@click.option("--schema", help="The schema of the tables, made if missing; default: the first on the search path.")
def migrate(url: str, schema: str | None) -> None:
    """Make the tables of sqla_oban, or bring them up to the version that this release needs.

    For databases without a migration history of their own: where alembic keeps one, let it have the revision.
    """
    with explained():
        click.echo(asyncio.run(_migrate(parsed(url), schema)))


async def _migrate(address: URL, schema: str | None) -> str:
    async with opened(address) as engine, engine.begin() as connection:
        return await connection.run_sync(_bring_up, schema)


def _bring_up(connection: Connection, schema: str | None) -> str:
    """Migrate, and say from where to where."""
    before = migrations.current_version(connection, schema=schema)
    migrations.migrate(connection, schema=schema)
    migrations.check_version(connection, schema=schema)
    after = migrations.current_version(connection, schema=schema)
    home = migrations.home_of(connection, schema)
    return f"The sqla_oban tables in schema {home} were at version {before} and are at version {after}."
