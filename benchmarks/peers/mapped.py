"""The least that a mapped class can do: what SQLAlchemy itself makes of `session.add` and of a bulk INSERT.

The table is ours without its triggers. No job could be run by what is written here; it bounds what can be asked of
any queue whose jobs are added to a session.
"""

from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any

from sqlalchemy import BigInteger, insert, make_url
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.peers.contender import Missing
from benchmarks.peers.own_table import QUEUE, OwnTable
from benchmarks.peers.witness import Witness

WORKER = "benchmarks.noop"


class Base(DeclarativeBase):
    """Of a class that knows nothing of jobs."""


class Row(Base):
    """Four of the columns."""

    __tablename__ = "oban_jobs"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    queue: Mapped[str]
    worker: Mapped[str]
    args: Mapped[dict[str, Any]] = mapped_column(JSONB)


class MappedContender(OwnTable):
    """`AsyncSession` on asyncpg."""

    given = "a class with four columns; `session.add(Row(...))`, `session.scalars(insert(Row).returning(Row.id), rows)`"

    @property
    def version(self) -> str:
        return f"SQLAlchemy {version('sqlalchemy')}, asyncpg {version('asyncpg')}"

    async def prepare(self) -> None:
        await super().prepare()
        await self.sql("ALTER TABLE oban_jobs DISABLE TRIGGER USER")

    def work(self, concurrency: int, witness: Witness) -> AbstractAsyncContextManager[None]:
        raise Missing("runs nothing")

    async def connect(self, connections: int) -> None:
        url = make_url(self.url).set(drivername="postgresql+asyncpg")
        self._engine = create_async_engine(url, pool_size=connections)

    async def add(self, number: int) -> None:
        async with AsyncSession(self._engine, expire_on_commit=False) as session:
            session.add(Row(queue=QUEUE, worker=WORKER, args={"number": number}))
            await session.commit()

    def add_many(self, numbers: Sequence[int]) -> Awaitable[object]:
        return self._insert([{"queue": QUEUE, "worker": WORKER, "args": {"number": number}} for number in numbers])

    async def _insert(self, rows: list[dict[str, Any]]) -> None:
        async with AsyncSession(self._engine) as session:
            (await session.scalars(insert(Row).returning(Row.id, sort_by_parameter_order=True), rows)).all()
            await session.commit()

    async def add_at(self, number: int, due: float) -> None:
        raise Missing("has no schedule")


contender = MappedContender
