"""A runner for models of the application's own: in schemas of their own, with columns of their own."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData, Text, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from sqla_oban import Job, JobState, SqlaOban, insert_all, job, make_models, worker
from sqla_oban.errors import ConfigurationError, InvalidJob, InvalidSelection, JobIsExecuting, UnknownOption
from sqla_oban.migrations import migrate
from sqla_oban.models import JobMixin, Models
from sqla_oban.settings import HeartbeatSettings, LeaderSettings
from sqla_oban.telemetry.events import JobFailed, JobFinished, JobsEnqueued
from sqla_oban.testing import Drained, all_enqueued, drain, perform_job
from tests.support import Recorder, both_drivers, eventually

SCHEMAS = ("emea", "apac")


class Base(DeclarativeBase):
    metadata = MetaData()


emea, apac = make_models(Base, schema="emea"), make_models(Base, schema="apac")


class TenantJob(emea.Job):  # type: ignore[name-defined, misc]
    """A job with a column of the application's, which must be set."""

    tenant: Mapped[str] = mapped_column(Text)


class Customer(Base):
    """A table of the application's beside those of the jobs, in no schema of its own."""

    __tablename__ = "models_customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey(emea.Job.id))
    job: Mapped[JobMixin | None] = relationship(emea.Job)


TABLE = Base.metadata.tables["models_customers"]
SEEN: list[Any] = []


@pytest.fixture(autouse=True)
def seen() -> list[Any]:
    SEEN.clear()
    return SEEN


@pytest.fixture
async def regions(engine: AsyncEngine) -> AsyncIterator[None]:
    async def drop(connection: AsyncConnection) -> None:
        await connection.execute(text("DROP TABLE IF EXISTS models_customers"))
        for schema in SCHEMAS:
            await connection.execute(text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))

    async with engine.begin() as connection:
        await drop(connection)
        for schema in SCHEMAS:
            await connection.run_sync(migrate, schema=schema)
        await connection.execute(text("ALTER TABLE emea.oban_jobs ADD COLUMN tenant text"))
        await connection.run_sync(Base.metadata.create_all, [TABLE])
    yield
    async with engine.begin() as connection:
        await drop(connection)


@job(name="models.note")
async def note(number: int) -> None:
    SEEN.append(number)


@job(name="models.greet")
async def greet(customer: Customer) -> None:
    SEEN.append(customer.id)


@worker(name="models.Look")
class Look:
    async def process(self, job: Job) -> None:
        SEEN.append(job)


@worker(name="models.Bill", model=TenantJob, max_attempts=3)
class Bill:
    def process(self, job: TenantJob) -> None:
        SEEN.append(job)
        if job.args.get("fails"):
            raise ValueError("no money")

    def backoff(self, job: TenantJob) -> float:
        SEEN.append(f"backoff {job.tenant}")
        return 60.0

    def timeout(self, job: TenantJob) -> float | None:
        SEEN.append(f"timeout {job.tenant}")
        return None


@job(name="models.bill", model=TenantJob, backoff=lambda one: float(len(one.tenant)))
async def bill(number: int) -> None:
    raise ValueError(number)


def bills(*, args: dict[str, Any] | None = None, tenant: str = "acme") -> TenantJob:
    made = Bill.new(args)
    made.tenant = tenant
    return made


async def add(engine: AsyncEngine, *rows: Any) -> None:
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add_all(rows)


def test_new_makes_the_class_that_was_asked_for() -> None:
    assert type(note.new(1)) is Job
    assert type(bill.new(1)) is TenantJob
    assert type(bill.with_options(priority=1).new(1)) is TenantJob
    assert type(bill.with_options(model=apac.Job).new(1)) is apac.Job
    assert type(Bill.new()) is TenantJob
    assert type(Bill.new({}, model=emea.Job)) is emea.Job
    assert type(Look.new()) is Job


@pytest.mark.parametrize("model", [None, "Job", object, JobMixin, Customer, Job(worker="w")])
def test_a_model_that_is_no_class_of_jobs_is_refused(model: Any) -> None:
    for make in (lambda: job(model=model)(lambda: None), lambda: note.with_options(model=model)):
        with pytest.raises(InvalidJob, match="model must be a mapped class of jobs"):
            make()


async def test_a_model_is_nothing_to_update(engine: AsyncEngine) -> None:
    with pytest.raises(UnknownOption):
        await SqlaOban(engine).jobs.update(1, model=TenantJob)  # type: ignore[call-overload]


@both_drivers
async def test_runners_of_several_schemas_run_their_own_jobs(
    engine: AsyncEngine, regions: None, start: Any, events: Recorder
) -> None:
    calm = {"queues": {"default": 2}, "heartbeat": HeartbeatSettings(), "leader": LeaderSettings()}
    for node, models in (*zip(SCHEMAS, (emea, apac), strict=True), ("here", Models())):
        await start(node=node, models=models, **calm)
    for_emea, for_apac, here = emea.Job(worker="models.Look"), apac.Job(worker="models.Look"), Look.new()
    await add(engine, for_emea, for_apac, here)
    for node in (*SCHEMAS, "here"):
        await events.wait_for(JobFinished, node=node)
    await eventually(lambda: len(SEEN) == 3)

    assert {type(one) for one in SEEN} == {emea.Job, apac.Job, Job}
    assert {one.id for one in SEEN} == {1}  # one number, three jobs
    async with AsyncSession(engine) as session:
        for model in (emea.Job, apac.Job, Job):
            await wait_for_state(session, model, JobState.COMPLETED)


async def wait_for_state(session: AsyncSession, model: type[JobMixin], state: JobState) -> None:
    async def ended() -> bool:
        await session.rollback()
        return (await session.scalars(select(model.state))).all() == [state]

    await eventually(ended)


async def test_workers_are_given_the_columns_of_their_class(
    engine: AsyncEngine, regions: None, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 2}, models=emea)
    await add(engine, bills(args={"fails": True}))
    await events.wait_for(JobFinished)
    timeout, given, backoff = SEEN
    assert (timeout, backoff) == ("timeout acme", "backoff acme")
    assert type(given) is TenantJob
    assert (given.tenant, given.state, given.args) == ("acme", JobState.EXECUTING, {"fails": True})
    async with AsyncSession(engine) as session:
        merged = await session.merge(given, load=False)
        assert merged.tenant == "acme"


async def test_a_function_s_rule_is_given_them_too(
    engine: AsyncEngine, regions: None, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 2}, models=Models(TenantJob))
    made = bill.new(7)
    made.tenant = "x" * 3000
    await add(engine, made)
    await events.wait_for(JobFailed)
    async with AsyncSession(engine) as session:
        await wait_for_state(session, emea.Job, JobState.RETRYABLE)
        delay = await session.scalar(select(emea.Job.scheduled_at - emea.Job.attempted_at))
        assert delay is not None
        assert delay.total_seconds() > 2900


async def test_what_the_runner_makes_of_jobs_counts_where_the_worker_says_nothing(
    engine: AsyncEngine, regions: None, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 2}, models=Models(TenantJob))
    made = TenantJob(worker="models.Look", tenant="acme")
    await add(engine, made)
    await events.wait_for(JobFinished)
    assert [(type(one), one.tenant) for one in SEEN] == [(TenantJob, "acme")]


async def test_a_worker_s_class_of_another_schema_does_not_count(
    engine: AsyncEngine, regions: None, start: Any, events: Recorder
) -> None:
    @worker(name="models.elsewhere", model=TenantJob)
    class Elsewhere:
        async def process(self, job: Any) -> None:
            SEEN.append(job)

    await start(queues={"default": 2}, models=apac)
    await add(engine, apac.Job(worker="models.elsewhere"))
    await events.wait_for(JobFinished)
    assert [type(one) for one in SEEN] == [apac.Job]


async def test_a_value_that_cannot_be_read_fails_its_own_attempt_only(
    engine: AsyncEngine, regions: None, start: Any, events: Recorder
) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE emea.oban_jobs DROP COLUMN tenant"))
    await start(queues={"default": 2}, models=emea)
    await add(engine, emea.Job(worker="models.Bill"), emea.Job(worker="models.Look"))
    [failed] = await events.wait_for(JobFailed)
    assert "tenant" in failed.message
    [finished] = await events.wait_for(JobFinished, worker="models.Look")
    assert finished.state is JobState.COMPLETED


async def test_a_job_can_be_cancelled_while_its_columns_are_read(
    engine: AsyncEngine, regions: None, start: Any, events: Recorder
) -> None:
    reading = asyncio.Event()

    class Stuck(AsyncSession):
        async def execute(self, *args: Any, **options: Any) -> Any:
            reading.set()
            await asyncio.Event().wait()

    oban = await start(queues={"default": 2}, models=emea, session_factory=async_sessionmaker(engine, class_=Stuck))
    made = bills()
    await add(engine, made)
    await reading.wait()
    assert await oban.jobs.cancel(made.id) == 1
    [finished] = await events.wait_for(JobFinished)
    assert (finished.state, SEEN) == (JobState.CANCELLED, [])


@both_drivers
async def test_jobs_are_steered_as_the_application_s_own(engine: AsyncEngine, regions: None) -> None:
    oban = SqlaOban(engine, models=emea)
    one, two, three, other = bills(), bills(), emea.Job(worker="w"), apac.Job(worker="w")
    await add(engine, one, two, three, other, Customer(id=1, job_id=None))
    await add(engine, Customer(id=2, job_id=two.id))

    found = await oban.jobs.get(three.id)
    assert type(found) is emea.Job
    changed = await oban.jobs.update(three.id, queue="slow")
    assert (type(changed), changed.queue) == (emea.Job, "slow")
    wanted = select(TenantJob).where(
        TenantJob.tenant == "acme", TenantJob.id.in_(select(Customer.job_id).where(Customer.job_id.is_not(None)))
    )
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        loaded = await session.get_one(emea.Job, two.id)
        assert await oban.jobs.cancel(wanted, session=session) == 1
        assert loaded.state is JobState.CANCELLED
    assert await oban.jobs.retry(wanted) == 1
    assert await oban.jobs.update(wanted, priority=3) != []
    assert await oban.jobs.delete(select(emea.Job).where(emea.Job.queue == "slow")) == 1
    assert await oban.jobs.delete([one]) == 1
    assert await oban.jobs.get(three.id) is None
    async with AsyncSession(engine) as session:
        assert (await session.execute(select(emea.Job.id, emea.Job.priority))).all() == [(two.id, 3)]
        assert (await session.scalars(select(apac.Job.state))).all() == [JobState.AVAILABLE]


async def test_jobs_of_another_schema_are_refused(engine: AsyncEngine, regions: None) -> None:
    stranger, own = apac.Job(worker="w"), Job(worker="w")
    await add(engine, stranger, own)
    for which in (stranger, [stranger], select(apac.Job).where(apac.Job.id == 1)):
        with pytest.raises(InvalidSelection, match=r"a job of apac\.oban_jobs, this runner is for those of emea"):
            await SqlaOban(engine, models=emea).jobs.cancel(which)
        with pytest.raises(InvalidSelection, match="for those of the search path"):
            await SqlaOban(engine).jobs.cancel(which)
    assert await SqlaOban(engine, schema="apac").jobs.cancel(stranger) == 1


async def test_a_session_s_jobs_of_another_schema_are_left_alone(engine: AsyncEngine, regions: None) -> None:
    async with AsyncSession(engine) as session, session.begin():
        ours, theirs = emea.Job(worker="w"), apac.Job(worker="w")
        session.add_all([ours, theirs])
        await session.flush()
        assert ours.id == theirs.id
        assert await SqlaOban(engine, models=emea).jobs.delete(ours.id, session=session) == 1
        assert theirs in session
        assert ours not in session


@both_drivers
async def test_an_engine_that_translates_schemas_is_followed(
    engine: AsyncEngine, regions: None, start: Any, events: Recorder
) -> None:
    there = engine.execution_options(schema_translate_map={None: "apac", "emea": "apac"})
    async with there.begin() as connection:
        await connection.run_sync(Base.metadata.create_all, [TABLE])
    runner = await start(engine=there, queues={"default": 2})
    assert runner.settings.schema == "apac"
    customer = Customer(id=7)
    async with AsyncSession(there, expire_on_commit=False) as session, session.begin():
        session.add_all([greet.new(customer), customer])
        await session.flush()
        await insert_all(session, [note.new(8), note.new(9)])
    [announced] = await events.wait_for(JobsEnqueued)
    assert [one.worker for one in announced.jobs] == [greet.name, note.name, note.name]
    await events.wait_for(JobFinished, count=3)
    assert sorted(SEEN) == [7, 8, 9]
    async with AsyncSession(engine) as session:
        assert (await session.scalars(select(Job))).all() == []
        assert len((await session.scalars(select(apac.Job))).all()) == 3


async def test_a_class_s_own_schema_is_translated_too(
    engine: AsyncEngine, regions: None, start: Any, events: Recorder
) -> None:
    there = engine.execution_options(schema_translate_map={"emea": "apac"})
    oban = await start(engine=there, queues={"default": 2}, models=emea)
    assert oban.settings.schema == "apac"
    made = emea.Job(worker="models.Look")
    await add(there, made)
    await events.wait_for(JobFinished)
    assert [type(one) for one in SEEN] == [emea.Job]
    assert type(await oban.jobs.get(made.id)) is emea.Job
    async with AsyncSession(engine) as session:
        await wait_for_state(session, apac.Job, JobState.COMPLETED)
        assert (await session.scalars(select(emea.Job))).all() == []


async def test_in_a_test_jobs_are_of_their_class_too(engine: AsyncEngine, regions: None) -> None:
    await perform_job(bills(tenant="initech"))
    assert [one if isinstance(one, str) else one.tenant for one in SEEN] == ["timeout initech", "initech"]
    SEEN.clear()
    oban = SqlaOban(engine, models=emea)
    await add(engine, bills())
    assert len(await all_enqueued(oban)) == 1
    assert await drain(oban) == Drained(completed=1)
    assert [one if isinstance(one, str) else (type(one), one.tenant) for one in SEEN] == [
        "timeout acme",
        (TenantJob, "acme"),
    ]


async def test_a_running_job_of_the_application_s_own_cannot_be_changed(engine: AsyncEngine, regions: None) -> None:
    made = emea.Job(worker="w", state=JobState.EXECUTING)
    await add(engine, made)
    with pytest.raises(JobIsExecuting):
        await SqlaOban(engine, models=emea).jobs.update(made, priority=1)


async def test_a_runner_can_be_made_before_all_models_are_imported(engine: AsyncEngine) -> None:
    class Early(DeclarativeBase):
        metadata = MetaData()

    models = make_models(Early)

    class Parcel(models.Job):  # type: ignore[name-defined, misc]
        order_id: Mapped[int | None] = mapped_column(ForeignKey("late_orders.id"))
        order: Mapped[Any] = relationship("LateOrder")

    try:
        assert SqlaOban(engine, models=Models(Parcel)).settings.provider.model is Parcel
        note.with_options(model=Parcel)
    finally:
        Early.registry.dispose()


@pytest.mark.parametrize("models", [emea.Job, (emea.Job, emea.Peer), "emea", Base])
def test_what_are_no_models_is_refused(engine: AsyncEngine, models: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"models must be what make_models\(\) returns"):
        SqlaOban(engine, models=models)


async def test_a_schema_beside_models_of_another_is_refused(engine: AsyncEngine) -> None:
    assert SqlaOban(engine, models=emea).settings.schema == "emea"
    assert SqlaOban(engine, models=emea, schema="emea").settings.schema == "emea"
    assert SqlaOban(engine, models=Models(), schema="emea").settings.schema == "emea"
    with pytest.raises(ConfigurationError, match="schema='apac' was given with models of the schema 'emea'"):
        SqlaOban(engine, models=emea, schema="apac")
