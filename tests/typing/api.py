"""Right uses of the public surface; `mypy --strict` and strict pyright must accept all of it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, assert_type

from sqlalchemy import Connection, Executable, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import sqla_oban
from sqla_oban import Cancel, Job, JobState, QueueConfig, Snooze, SqlaOban, current_job, inject, insert_all, job, worker


@job
async def bare(user_id: int, *, lang: str = "en") -> str:
    return f"{user_id}/{lang}"


@job(queue="mailers", priority=1, max_attempts=5, tags=["mail"], meta={"team": "growth"}, backoff=lambda one: 5.0)
async def send(user_id: int, *, lang: str = "en") -> Snooze | Cancel | None:
    running = current_job()
    assert_type(running.attempt, int)
    assert_type(running.cancelled, bool)
    return Snooze(timedelta(minutes=5)) if running.attempt < 2 else Cancel("enough")


@job(executor="thread")
def shrink(path: str, /, width: int = 80) -> bytes:
    return path.encode()[:width]


@worker(queue="media", name="media.Transcode")
class Transcode:
    async def process(self, job: Job) -> object:
        return job.args["path"]

    def backoff(self, job: Job) -> float:
        return 2.0**job.attempt


@sqla_oban.worker
class Index:
    def process(self, job: Job) -> None: ...


class ExportWorker:
    def process(self, job: Job) -> None: ...


Export = worker(queue="slow")(ExportWorker)


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "typed_orders"

    id: Mapped[int] = mapped_column(primary_key=True)


@job(transactional=True)
async def ship(order: Order, weight: Decimal, session: AsyncSession = inject()) -> None:
    await current_job().complete(session)


@job
def archive(order: Order | None, session: Session = inject()) -> None:
    current_job().complete(session)


async def insert(session: AsyncSession, connection: Connection) -> None:
    assert_type(await insert_all(session, [bare.new(1)]), list[Job])
    assert_type(insert_all(connection, iter(make_jobs())), list[Job])


def select_jobs() -> Executable:
    return select(Job).where(Job.state == JobState.DISCARDED, Job.args["user_id"].as_integer() == 1)


def make_jobs() -> list[Job]:
    return [
        ship.new(Order(), Decimal("1.5")),
        archive.new(None),
        bare.new(1),
        bare.new(1, lang="de"),
        bare.new(user_id=1),
        send.with_options(schedule_in=60, priority=1).new(1, lang="de"),
        send.with_options(schedule_in=timedelta(hours=1)).with_options(scheduled_at=datetime.now(UTC)).new(1),
        shrink.new("a.png"),
        shrink.new("a.png", 20),
        shrink.new("a.png", width=20),
        Transcode.new({"path": "a.mp4"}, schedule_in=60, queue="slow"),
        Transcode.new(),
        Transcode.new({}, priority=1, max_attempts=5, tags=["film"], meta={"team": "media"}),
        Transcode.new({}, schedule_in=timedelta(hours=1)),
        Index.new({}, scheduled_at=datetime.now(UTC)),
        Export.new({"to": "s3"}, schedule_in=60),
        Job(worker="app.mail.send", args={"user_id": 1}, queue="mailers"),
    ]


async def call_plainly() -> None:
    assert_type(await bare(1, lang="de"), str)
    assert_type(shrink("a.png"), bytes)
    assert_type(Export(), ExportWorker)


async def enqueue(session: AsyncSession, sync_session: Session) -> None:
    session.add(bare.new(1))
    session.add_all(make_jobs())
    sync_session.add(shrink.new("a.png"))


async def run(engine: AsyncEngine) -> None:
    oban = SqlaOban(engine, queues={"mailers": 10, "media": QueueConfig(limit=2)}, node="web-1")
    assert_type(oban.is_leader, bool)
    async with oban as running:
        assert_type(running, SqlaOban)
    await oban.start()
    await oban.stop()
    await oban.run()


def read(one: Job) -> None:
    assert_type(one.id, int)
    assert_type(one.state, JobState)
    assert_type(one.args, dict[str, Any])
    assert_type(one.scheduled_at, datetime)
    assert_type(one.completed_at, datetime | None)
