"""How alembic reaches the database of the host, `examples/fastapi_app`: its tables and ours in one history."""

import asyncio
import os

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

import sqla_oban
import sqla_oban.alembic_env
from examples.fastapi_app.database import Base

target_metadata = [sqla_oban.metadata, Base.metadata]  # ours first, so that foreign keys to jobs find their table


def database_url() -> str:
    url = context.get_x_argument(as_dictionary=True).get("url") or os.environ.get("DATABASE_URL")
    if not url:
        raise CommandError("say which database: `alembic -x url=postgresql+asyncpg://...`, or set DATABASE_URL")
    return url


def run_migrations(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=target_metadata)
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_run() -> None:
    engine = create_async_engine(database_url())
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run_migrations)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=target_metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(connect_and_run())
