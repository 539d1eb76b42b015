"""Right uses of the public surface; `mypy --strict` and strict pyright must accept all of it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, assert_type

from sqlalchemy import Connection, Executable, ForeignKey, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

import sqla_oban
from sqla_oban import (
    Cancel,
    Job,
    JobState,
    QueueConfig,
    Snooze,
    SqlaOban,
    current_job,
    inject,
    insert_all,
    job,
    make_models,
    worker,
)
from sqla_oban.models import JobMixin, Models


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


class TenantJob(JobMixin, Base):
    """The application's own jobs."""

    __tablename__ = "oban_jobs"

    tenant: Mapped[str | None]
    order_id: Mapped[int | None] = mapped_column(ForeignKey(Order.id))
    order: Mapped[Order | None] = relationship(Order)


models = make_models(Base, schema="jobs")


class Delivery(Base):
    __tablename__ = "typed_deliveries"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey(Job.id))
    job: Mapped[Job | None] = relationship(Job)
    own_id: Mapped[int | None] = mapped_column(ForeignKey(models.Job.id))
    own: Mapped[JobMixin | None] = relationship(models.Job)


@job(model=TenantJob, queue="bills", backoff=lambda one: float(len(one.tenant or "")))
async def bill(number: int) -> None: ...


@worker(model=TenantJob, timeout=60)
class Remind:
    def process(self, job: TenantJob) -> str | None:
        return job.tenant


@job(transactional=True)
async def ship(order: Order, weight: Decimal, session: AsyncSession = inject()) -> None:
    await current_job().complete(session)


@job
def archive(order: Order | None, session: Session = inject()) -> None:
    current_job().complete(session)


async def insert(session: AsyncSession, connection: Connection) -> None:
    assert_type(await insert_all(session, [bare.new(1)]), list[Job])
    assert_type(insert_all(connection, iter(make_jobs())), list[Job])


def select_jobs(session: Session, hour_ago: datetime) -> list[Executable]:
    discarded = select(Job).where(Job.state == JobState.DISCARDED, Job.args["user_id"].as_integer() == 1)
    assert_type(session.scalars(discarded).all(), Sequence[Job])
    assert_type(session.scalars(select(Job.state)).one(), JobState)
    assert_type(session.scalars(select(TenantJob).where(TenantJob.tenant == "acme")).one(), TenantJob)
    assert_type(session.scalars(select(models.Job).where(models.Job.queue == "bills")).one(), JobMixin)
    assert_type(session.scalars(select(models.Peer.node)).one(), str)
    return [
        discarded.order_by(Job.scheduled_at.desc()).limit(10),
        select(Job.id, func.count()).where(Job.state.in_([JobState.AVAILABLE, JobState.SCHEDULED])).group_by(Job.id),
        select(Job).where(Job.tags.contains(["mail"]), Job.meta["team"].as_string() == "growth"),
        select(Job).where(Job.args.contains({"user_id": 1}), Job.completed_at.is_(None), Job.priority < 3),
        select(Delivery).join(Delivery.job).where(Job.inserted_at > hour_ago, Job.attempt >= Job.max_attempts),
        select(Order).join(TenantJob, TenantJob.order_id == Order.id),
        update(Job).where(Job.scheduled_at < hour_ago + timedelta(hours=1)).values(priority=0),
        delete(Job).where(Job.worker.startswith("app."), Job.errors != []),
    ]


def jobs_of_ones_own(session: Session) -> None:
    assert_type(bill.new(1), TenantJob)
    assert_type(bill.with_options(priority=1).new(1), TenantJob)
    assert_type(bill.with_options(model=Job).new(1), Job)
    assert_type(bare.with_options(model=TenantJob).new(1), TenantJob)
    assert_type(bare.with_options(model=models.Job).new(1), JobMixin)
    assert_type(Remind.new({}, queue="slow"), TenantJob)
    assert_type(Remind.new({}, model=Job), Job)
    assert_type(Transcode.new(), Job)
    made = bill.new(1)
    made.tenant = "acme"
    made.order = Order()
    session.add(made)
    session.add(models.Job(worker="app.bill", args={"number": 1}))
    assert_type(insert_all(session, [bill.new(1)]), list[TenantJob])
    assert_type(made.state, JobState)


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
    SqlaOban(engine, queues={"bills": 1}, models=models)
    SqlaOban(engine, models=Models(TenantJob))
    assert_type(await oban.jobs.cancel(select(TenantJob).where(TenantJob.tenant == "acme")), int)
    assert_type(await oban.jobs.retry([bill.new(1)]), int)


def read(one: Job) -> None:
    assert_type(one.id, int)
    assert_type(one.state, JobState)
    assert_type(one.args, dict[str, Any])
    assert_type(one.scheduled_at, datetime)
    assert_type(one.completed_at, datetime | None)
