"""Ourselves, by the public surface alone, with the settings that a user gets."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from benchmarks.peers.contender import Missing
from benchmarks.peers.own_table import FILL, QUEUE, OwnTable
from benchmarks.peers.witness import Witness
from sqla_oban import Job, QueueConfig, SqlaOban, Workflow, insert_all, job, telemetry
from sqla_oban.errors import DeclarationError
from sqla_oban.telemetry.events import JobFinished

STAGES = 10
"""Of a workflow: each waits for the last job of the one before it, which waits for all others of its own."""

seen = Witness()


@job(name="benchmarks.noop", queue=QUEUE)
async def noop(number: int, nap: float = 0) -> None:
    """Does nothing, so that only the queue is measured."""
    await seen.ran(number, nap)


class SqlaObanContender(OwnTable):
    """Options: the driver, and any of

    * `quiet` to enqueue without waking anybody,
    * `limited` to run on all nodes together no more jobs than on each,
    * `woven` to fill the queue with the jobs of one workflow.
    """

    given = "`QueueConfig(limit=concurrency)`, everything else as it comes"

    def __init__(self, url: str, driver: str = "asyncpg", *options: str) -> None:
        super().__init__(url, driver, *options)
        self._engine: AsyncEngine | None = None

    @property
    def version(self) -> str:
        driver = self.options[0]
        return f"sqla_oban {version('sqla-oban')}, SQLAlchemy {version('sqlalchemy')}, {driver} {version(driver)}"

    async def fill(self, jobs: int, nap: float) -> None:
        if "woven" not in self.options:
            await super().fill(jobs, nap)
            return
        engine = self._make_engine()
        async with AsyncSession(engine) as session:
            session.add(fan_outs(jobs, nap))
            await session.commit()
        await engine.dispose()

    @asynccontextmanager
    async def work(self, concurrency: int, witness: Witness) -> AsyncIterator[None]:
        global seen  # noqa: PLW0603 (a worker is a function of a module)
        seen = witness
        engine = self._make_engine()
        most = concurrency if "limited" in self.options else None
        async with SqlaOban(engine, queues={QUEUE: QueueConfig(limit=concurrency, global_limit=most)}):
            yield
        await engine.dispose()

    async def connect(self, connections: int) -> None:
        quiet = {"connect_args": {"server_settings": {"sqla_oban.notify": "off"}}}
        self._engine = self._make_engine(pool_size=connections, **(quiet if "quiet" in self.options else {}))
        connected = [await self._engine.connect() for _ in range(connections)]
        await asyncio.gather(*(connection.close() for connection in connected))

    async def add(self, number: int) -> None:
        async with AsyncSession(self._engine, expire_on_commit=False) as session:
            session.add(noop.new(number))
            await session.commit()

    def add_many(self, numbers: Sequence[int]) -> Awaitable[object]:
        return self._insert_all([noop.new(number) for number in numbers])

    async def add_at(self, number: int, due: float) -> None:
        later = noop.with_options(scheduled_at=datetime.fromtimestamp(due, UTC))
        async with AsyncSession(self._engine, expire_on_commit=False) as session:
            session.add(later.new(number))
            await session.commit()

    @asynccontextmanager
    async def burn(self, jobs: int, concurrency: int, witness: Witness) -> AsyncIterator[None]:
        try:
            importlib.import_module("benchmarks.peers.burner")
        except DeclarationError as error:
            raise Missing('`executor="process"` is not there') from error
        await self.sql(FILL, QUEUE, "benchmarks.burn", "{}", jobs)

        def ended(event: JobFinished) -> None:
            witness.saw(event.id)

        telemetry.attach(ended, JobFinished)
        async with self.work(concurrency, witness):
            yield

    async def _insert_all(self, jobs: list[Job]) -> None:
        async with AsyncSession(self._engine) as session:
            await insert_all(session, jobs)
            await session.commit()

    def _make_engine(self, **options: Any) -> AsyncEngine:
        return create_async_engine(make_url(self.url).set(drivername=f"postgresql+{self.options[0]}"), **options)


def fan_outs(jobs: int, nap: float) -> Workflow:
    """A workflow of so many jobs, a multiple of `STAGES`, in stages that begin with many at once and end with one."""
    workflow, before = Workflow(name="bench"), list[str]()
    width = jobs // STAGES
    for first in range(0, width * STAGES, width):
        *many, last = map(str, range(first, first + width))
        for name in many:
            workflow.add(name, noop.new(int(name), nap), deps=before)
        workflow.add(last, noop.new(int(last), nap), deps=many)
        before = [last]
    return workflow


contender = SqlaObanContender
