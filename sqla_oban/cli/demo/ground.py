"""Where the demonstration takes place: a schema of its own, on a server of its own unless one is given."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.schema import CreateSchema, DropSchema

from sqla_oban.cli.address import opened, parsed
from sqla_oban.cli.demo.screen import Screen
from sqla_oban.cli.demo.shop import ShopBase, sessions
from sqla_oban.migrations import migrate
from sqla_oban.testing import TemporaryPostgres


@dataclass(frozen=True, slots=True)
class Ground:
    """The place of all tables of the demonstration.

    Args:
        address: the database.
        schema: the schema, which nobody else has.
    """

    address: URL
    schema: str

    def within(self, engine: AsyncEngine) -> AsyncEngine:
        """`engine`, with tables that name no schema found in this one: no search path to set, on any driver."""
        return engine.execution_options(schema_translate_map={None: self.schema})


@contextlib.contextmanager
def found(url: str | None, screen: Screen) -> Iterator[Ground]:
    """A database: the one of `url`, else one on a temporary server that is gone afterwards.

    Raises:
        ClickException: `url` is no address of a PostgreSQL database.
        TemporaryPostgresError: no server is installed here, or it does not start.
    """
    schema = f"sqla_oban_demo_{secrets.token_hex(4)}"
    if url is not None:
        screen.tell(f"works in a schema of its own, {schema}, and drops it at the end (if killed: do that by hand)")
        yield Ground(parsed(url), schema)
        return
    screen.tell("starts a temporary PostgreSQL")
    with TemporaryPostgres() as server:
        screen.tell(f"temporary PostgreSQL runs in {server.directory} and is removed at the end")
        yield Ground(server.url(), schema)


@contextlib.asynccontextmanager
async def prepared(ground: Ground) -> AsyncIterator[None]:
    """The tables of the queue and of the shop, and sessions bound to them; dropped at the end.

    Raises:
        ClickException: the server cannot be reached.
        DBAPIError: the role may not create a schema.
    """
    async with opened(ground.address) as plain:
        engine = ground.within(plain)
        sessions.configure(bind=engine)
        try:
            async with engine.begin() as connection:
                await connection.execute(CreateSchema(ground.schema))
                await connection.run_sync(migrate, schema=ground.schema)
                await connection.run_sync(ShopBase.metadata.create_all)
            yield
        finally:
            async with plain.begin() as connection:
                await connection.execute(DropSchema(ground.schema, cascade=True, if_exists=True))
