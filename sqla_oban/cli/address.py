"""The database that a command was pointed at."""

import contextlib
from collections.abc import AsyncIterator

import click
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_oban.doctor.asking import unreachable
from sqla_oban.engine.direct import DRIVERS, WITHOUT_DRIVER, with_ssl
from sqla_oban.engine.poolers import preparing_nothing

EXAMPLE = "postgresql://user:password@host:5432/database"


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
        return with_ssl(address.set(drivername="postgresql+asyncpg"))
    backend, _, driver = address.drivername.partition("+")
    if backend != "postgresql":
        raise click.ClickException(f"sqla_oban needs PostgreSQL, the url names {backend}; one looks like {EXAMPLE}")
    if driver not in DRIVERS:
        raise click.ClickException(f"the url names the driver {driver}; take asyncpg or psycopg, or leave it out")
    return address


@contextlib.asynccontextmanager
async def opened(address: URL, *, pooled: bool = False) -> AsyncIterator[AsyncEngine]:
    """An engine on a server that answers; disposed of at the end.

    Args:
        address: of the database.
        pooled: whether it leads through a pooler.

    Raises:
        ClickException: the driver is not installed, or the server does not let us in.
    """
    try:
        arguments = preparing_nothing(address.drivername.partition("+")[2]) if pooled else {}
        engine = create_async_engine(address, connect_args=dict(arguments))
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
        ClickException: it does not.
    """
    why = await unreachable(engine)
    if why is not None:
        raise click.ClickException(why)
