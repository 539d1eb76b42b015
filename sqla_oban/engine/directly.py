"""Statements of the hot path, executed by the driver itself.

SQLAlchemy builds and compiles them, once; from then on it would only be in the way. Its share of an execution, 0.2 to
0.4 ms, is that of the statement itself where few jobs run at a time. What it does for the results of other statements
is not needed here: these take and return what drivers understand.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Dialect, Executable
from sqlalchemy.ext.asyncio import AsyncConnection

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement as a driver takes it.

    Args:
        sql: its text.
        names: its parameters in the order of their numbers, where the driver numbers them.
    """

    sql: str
    names: tuple[str, ...]


Fetch = Callable[[Compiled, Mapping[str, Any]], Awaitable[Rows]]


def compiled(statement: Executable, dialect: Dialect, schema: str | None) -> Compiled:
    """`statement` for a driver, with the tables in `schema`."""
    renamed = {"schema_translate_map": {None: schema}, "render_schema_translate": True} if schema else {}
    done: Any = statement.compile(dialect=dialect, **renamed)  # type: ignore[attr-defined]  # every statement has it
    return Compiled(str(done), tuple(done.positiontup or ()))


async def fetch_by(connection: AsyncConnection) -> Fetch:
    """What executes compiled statements on the driver's connection under `connection`."""
    driver: Any = (await connection.get_raw_connection()).driver_connection

    async def by_number(statement: Compiled, parameters: Mapping[str, Any]) -> Rows:
        rows: Rows = await driver.fetch(statement.sql, *[parameters[name] for name in statement.names])
        return rows

    async def by_name(statement: Compiled, parameters: Mapping[str, Any]) -> Rows:
        cursor = driver.cursor(row_factory=lambda _: tuple)  # whatever the connection's own is
        rows: Rows = await (await cursor.execute(statement.sql, parameters)).fetchall()
        return rows

    return by_number if connection.dialect.driver == "asyncpg" else by_name
