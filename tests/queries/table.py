"""Rows as any client of the database may write and read them: past the models and their checks."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Executable, Row, text
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.ext.asyncio import AsyncConnection

from sqla_oban.queries.claim import CLAIM, START, Claimed, Key, behind
from sqla_oban.queries.producers import producer_id

PAST = "timezone('UTC', clock_timestamp()) - interval '1 hour'"
FUTURE = "timezone('UTC', clock_timestamp()) + interval '1 hour'"


def ago(seconds: float) -> str:
    """A moment in the past (or, if negative, the future) as SQL."""
    return f"timezone('UTC', clock_timestamp()) - {seconds} * interval '1 second'"


class Table:
    """Writes and reads through one autocommitting connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection

    async def add(self, **columns: str) -> int:
        """Insert a job, every column given as SQL; returns its id."""
        given = {"worker": "'w'", **columns}
        insert = f"INSERT INTO oban_jobs ({', '.join(given)}) VALUES ({', '.join(given.values())}) RETURNING id"
        return int(await self.scalar(insert))

    async def add_producer(
        self, *, beaten: str, meta: str = "{}", started: str = PAST, uuid: UUID | None = None
    ) -> str:
        """Insert a producer that has last beaten at `beaten`; returns its id."""
        uuid = uuid or producer_id()
        await self.scalar(
            "INSERT INTO oban_producers (uuid, node, queue, meta, started_at, updated_at) "
            f"VALUES ('{uuid}', 'node', 'default', '{meta}', {started}, {beaten}) RETURNING uuid"
        )
        return str(uuid)

    async def add_executing(self, producer: str | None = None, **columns: str) -> int:
        """Insert a job that `producer` runs since an hour ago."""
        held = {
            "state": "'executing'",
            "attempt": "1",
            "attempted_at": PAST,
            "attempted_by": f"ARRAY['node', '{producer or uuid4()}']",
        }
        return await self.add(**{**held, **columns})

    async def scalar(self, sql: str) -> Any:
        return (await self.connection.execute(text(sql.replace(":", r"\:")))).scalar()

    async def job(self, id: int) -> Row[Any]:
        return (await self.connection.execute(text("SELECT * FROM oban_jobs WHERE id = :id"), {"id": id})).one()

    async def states(self) -> dict[int, str]:
        rows = await self.connection.execute(text("SELECT id, CAST(state AS text) FROM oban_jobs"))
        return {row[0]: row[1] for row in rows}

    async def run(self, statement: Executable, **parameters: Any) -> list[Row[Any]]:
        result = await self.connection.execute(statement, parameters)
        return list(result.all()) if result.returns_rows else []

    async def claim(self, demand: int = 10, queue: str = "default", after: Sequence[Key] = (START,)) -> list[Claimed]:
        """What a producer gets, by id."""
        asked = {"of_queue": queue, "demand": demand, "holder": ["node", "me"], **behind(*after)}
        return sorted(Claimed._make(row) for row in await self.run(CLAIM, **asked))

    async def plan(self, statement: Executable, **literals: str) -> str:
        """How PostgreSQL would run `statement`, its parameters given as SQL."""
        compiled = statement.compile(dialect=psycopg.dialect())  # type: ignore[attr-defined, no-untyped-call]
        explain = f"EXPLAIN {compiled}" % {**compiled.params, **literals}
        return "\n".join(row[0] for row in await self.connection.exec_driver_sql(explain.replace("%", "%%")))
