"""The address past a pooler, for the one connection that needs a session of its own."""

from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_oban.errors import ConfigurationError, UnsupportedEngine

WITHOUT_DRIVER = ("postgresql", "postgres")
DRIVERS = ("asyncpg", "psycopg", "psycopg_async")

PLACE = text("SELECT pg_postmaster_start_time(), current_database()")
"""Which server, and which of its databases; it tells a standby from its primary, too."""


def direct_url(value: object, driver: str) -> URL:
    """What `listen_url=` says, for the engine's `driver` where it names none.

    Raises:
        ConfigurationError: it is no address of a PostgreSQL database. What was given is not shown: it may hold a
            password.

    >>> direct_url("postgresql://localhost/shop?sslmode=require", "asyncpg")
    postgresql+asyncpg://localhost/shop?ssl=require
    """
    if not isinstance(value, str | URL):
        raise ConfigurationError(f"listen_url must be a str or a sqlalchemy URL, got a {type(value).__qualname__}")
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise ConfigurationError("listen_url is no database URL; one looks like postgresql://user@host/db") from None
    if url.drivername in WITHOUT_DRIVER:
        url = url.set(drivername=f"postgresql+{driver}")
    if url.get_backend_name() != "postgresql":
        raise ConfigurationError(f"listen_url must lead to PostgreSQL, it names {url.get_backend_name()}")
    if url.drivername.partition("+")[2] not in DRIVERS:
        raise UnsupportedEngine(f"listen_url names {url.drivername}; a runner listens by asyncpg or psycopg")
    return with_ssl(url)


async def check_direct(url: URL, engine: AsyncEngine) -> None:
    """Make sure that `url` leads to where `engine` does.

    Raises:
        ConfigurationError: it does not, and nothing would ever be heard there.
    """
    direct = create_async_engine(url)
    try:
        places = [await _place(one) for one in (direct, engine)]
    finally:
        await direct.dispose()
    if places[0] != places[1]:
        raise ConfigurationError("listen_url must lead to the engine's own database, it leads to another")


async def _place(engine: AsyncEngine) -> tuple[object, ...]:
    async with engine.connect() as connection:
        return tuple((await connection.execute(PLACE)).one())


def with_ssl(url: URL) -> URL:
    """As its driver reads it: `sslmode` is libpq's name, which such addresses carry, and `ssl` asyncpg's."""
    if url.drivername != "postgresql+asyncpg":
        return url
    return url.set(query={"ssl" if name == "sslmode" else name: value for name, value in url.query.items()})
