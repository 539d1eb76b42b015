"""The workers and the domain of the tests: what they did is written where a test can read it, in any process."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import BigInteger, Identity, Text, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_oban import current_job, job

SHOP = "CREATE TABLE IF NOT EXISTS runs (job_id bigint, attempt int, pid int, note text)"


class Base(DeclarativeBase):
    pass


class Order(Base):
    """A domain row that jobs are committed with."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    item: Mapped[str] = mapped_column(Text, unique=True)


class Gate:
    """Lets a job say that it is inside, and wait there until the test opens it."""

    def __init__(self) -> None:
        self.entered: list[int] = []
        self.cancelled: list[int] = []
        self._open = asyncio.Event()
        self._open_for_threads = threading.Event()

    async def wait(self) -> None:
        self.entered.append(current_job().id)
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.cancelled.append(current_job().id)
            raise

    def block(self) -> None:
        """The same for a job in a thread, which looks whether it is cancelled."""
        self.entered.append(current_job().id)
        while not self._open_for_threads.wait(0.01):
            if current_job().cancelled:
                self.cancelled.append(current_job().id)
                raise RuntimeError("told to stop")

    def open(self) -> None:
        self._open.set()
        self._open_for_threads.set()


GATES: dict[str, Gate] = {}


@contextmanager
def gate(name: str) -> Iterator[Gate]:
    GATES[name] = Gate()
    try:
        yield GATES[name]
    finally:
        GATES.pop(name).open()


@job(name="shop.noop")
async def noop() -> None: ...


@job(name="shop.fail", backoff=lambda _: 0.01)
async def fail(message: str) -> None:
    raise ValueError(message)


@job(name="shop.pass_gate")
async def pass_gate(name: str) -> None:
    await GATES[name].wait()


@job(name="shop.block_at_gate")
def block_at_gate(name: str) -> None:
    GATES[name].block()


@job(name="shop.record")
async def record(note: str = "") -> None:
    await write_run(note)


@job(name="shop.record_and_stay")
async def record_and_stay(note: str = "") -> None:
    """Writes that it began, and ends only with its process or by being cancelled."""
    await write_run(note)
    if current_job().attempt == 1:
        await asyncio.Event().wait()


@job(name="shop.record_both_ends")
async def record_both_ends(seconds: float) -> None:
    await write_run("begin")
    await asyncio.sleep(seconds)
    await write_run("end")


_engine: AsyncEngine | None = None


async def write_run(note: str) -> None:
    global _engine  # noqa: PLW0603 (one engine a node process)
    if _engine is None:
        _engine = create_async_engine(os.environ["SHOP_URL"], pool_size=5)
    running = current_job()
    async with _engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO runs VALUES (:job_id, :attempt, :pid, :note)"),
            {"job_id": running.id, "attempt": running.attempt, "pid": os.getpid(), "note": note},
        )


async def make_runs(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(SHOP))
        await connection.execute(text("TRUNCATE runs"))


async def runs(engine: AsyncEngine) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(text("SELECT job_id, attempt, pid, note FROM runs"))).all())


@job(name="shop.block_the_loop")
async def block_the_loop(seconds: float) -> None:
    """Ill-behaved: blocks the event loop that it runs in."""
    await write_run("begin")
    time.sleep(seconds)  # noqa: ASYNC251 (the fault that is tested)
    await write_run("end")


async def make_orders(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(text("TRUNCATE orders"))
