"""procrastinate: https://pypi.org/project/procrastinate."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version

import procrastinate

from benchmarks.peers.contender import Contender
from benchmarks.peers.witness import Witness

QUEUE = "bench"
TASK = "noop"
FILL = """
    INSERT INTO procrastinate_jobs (queue_name, task_name, args)
    SELECT %s, %s, jsonb_build_object('number', n, 'nap', %s::float8) FROM generate_series(0, %s - 1) n
"""
KEEP = """
    INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, attempts)
    SELECT %s, %s, jsonb_build_object('number', n), 'succeeded', 1 FROM generate_series(0, %s - 1) n
"""
UNFINISHED = """
    SELECT FROM procrastinate_jobs WHERE status = 'todo'
    UNION ALL SELECT FROM procrastinate_jobs WHERE status = 'doing' LIMIT 1
"""


class ProcrastinateContender(Contender):
    """By its psycopg connector."""

    given = (
        "`concurrency=concurrency`, `listen_notify=True`, `delete_jobs='never'`, a `PsycopgConnector` with a pool of "
        "at most 20 connections (it fetches and finishes jobs one by one), `batch_defer_async` in bulk"
    )

    @property
    def version(self) -> str:
        return f"procrastinate {version('procrastinate')}, psycopg {version('psycopg')}"

    async def prepare(self) -> None:
        async with self._app(1).open_async() as app:
            await app.schema_manager.apply_schema_async()

    async def fill(self, jobs: int, nap: float) -> None:
        await self.sql(FILL, QUEUE, TASK, nap, jobs)

    async def keep(self, jobs: int) -> None:
        await self.sql("SET session_replication_role = replica")  # no events for what is long over
        await self.sql(KEEP, QUEUE, TASK, jobs)
        await self.sql("RESET session_replication_role")

    @asynccontextmanager
    async def work(self, concurrency: int, witness: Witness) -> AsyncIterator[None]:
        app = self._app(min(concurrency + 2, 20))

        async def noop(number: int, nap: float = 0) -> None:
            await witness.ran(number, nap)

        app.task(name=TASK, queue=QUEUE)(noop)
        async with app.open_async():
            working = asyncio.create_task(
                app.run_worker_async(
                    queues=[QUEUE],
                    concurrency=concurrency,
                    install_signal_handlers=False,
                    shutdown_graceful_timeout=1,
                )
            )
            yield
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working

    async def is_finished(self) -> bool:
        return not await self.sql(UNFINISHED)

    async def connect(self, connections: int) -> None:
        self._client = self._app(connections)
        await self._client.open_async()

    async def add(self, number: int) -> None:
        await self._deferrer().defer_async(number=number)

    def add_many(self, numbers: Sequence[int]) -> Awaitable[object]:
        putting_in: Awaitable[object] = self._deferrer().batch_defer_async(*({"number": number} for number in numbers))
        return putting_in

    async def add_at(self, number: int, due: float) -> None:
        at = datetime.fromtimestamp(due, UTC)
        await self._client.configure_task(TASK, queue=QUEUE, schedule_at=at).defer_async(number=number)

    def _app(self, connections: int) -> procrastinate.App:
        connector = procrastinate.PsycopgConnector(conninfo=self.url, min_size=connections, max_size=connections)
        return procrastinate.App(connector=connector)

    def _deferrer(self) -> procrastinate.jobs.JobDeferrer:
        return self._client.configure_task(TASK, queue=QUEUE)


contender = ProcrastinateContender
