"""The database that a command was pointed at."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import click
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_oban.errors import reason

EXAMPLE = "postgresql://user:password@host:5432/database"
WITHOUT_DRIVER = ("postgresql", "postgres")
DRIVERS = ("asyncpg", "psycopg", "psycopg_async")

CONNECTING = 15.0
"""Seconds that a server has to answer."""


def parsed(url: str) -> URL:
    """The address that `url` names; one without a driver gets asyncpg.

    Raises:
        ClickException: it is no address of a PostgreSQL database, or not for an asynchronous driver.

    >>> parsed("postgresql://localhost/shop?sslmode=require")
    postgresql+asyncpg://localhost/shop?ssl=require
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise click.ClickException(f"the url is no database URL; one looks like {EXAMPLE}") from None
    if address.drivername in WITHOUT_DRIVER:
        return _for_asyncpg(address)
    backend, _, driver = address.drivername.partition("+")
    if backend != "postgresql":
        raise click.ClickException(f"sqla_oban needs PostgreSQL, the url names {backend}; one looks like {EXAMPLE}")
    if driver not in DRIVERS:
        raise click.ClickException(f"the url names the driver {driver}; take asyncpg or psycopg, or leave it out")
    return address


@contextlib.asynccontextmanager
async def opened(address: URL) -> AsyncIterator[AsyncEngine]:
    """An engine on a server that answers; disposed of at the end.

    Raises:
        ClickException: the driver is not installed, or the server does not let us in.
    """
    try:
        engine = create_async_engine(address)
    except ModuleNotFoundError as missing:
        raise click.ClickException(
            f"the url needs {missing.name}, which is not installed: pip install {missing.name}"
        ) from None
    try:
        await knock(engine)
        yield engine
    finally:
        await engine.dispose()


async def knock(engine: AsyncEngine) -> None:
    """Make sure that the server of `engine` lets us in.

    Raises:
        ClickException: it does not. A connection fails in as many ways as there are drivers and options.
    """
    try:
        async with asyncio.timeout(CONNECTING), engine.connect():
            pass
    except Exception as error:
        why = f"no answer in {CONNECTING:.0f} seconds" if isinstance(error, TimeoutError) else reason(error)
        raise click.ClickException(f"cannot connect to {hidden(engine.url)}: {why}") from None


def hidden(address: URL) -> str:
    """`address` without any password; drivers take them in the query as well.

    >>> hidden(parsed("postgresql://me:secret@localhost/shop?password=secret"))
    'postgresql+asyncpg://me:***@localhost/shop?password=***'
    """
    secret = {name: "***" for name in address.query if "pass" in name.lower()}
    return address.update_query_dict(secret).render_as_string().replace("%2A", "*")


def _for_asyncpg(address: URL) -> URL:
    """`sslmode` is libpq's name, which such URLs carry; asyncpg calls the same option `ssl`."""
    query = {"ssl" if name == "sslmode" else name: value for name, value in address.query.items()}
    return address.set(drivername="postgresql+asyncpg", query=query)
