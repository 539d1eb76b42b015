import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, event, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, Session

from sqla_oban import Job, JobState
from sqla_oban.errors import InvalidJob, ObanError, UnserialisableValue
from sqla_oban.models import JobMixin
from tests.support import both_drivers

Sessions = async_sessionmaker[AsyncSession]
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
END_OF_THE_CALENDAR = datetime.max.replace(tzinfo=timezone(-timedelta(hours=5)))  # in UTC it has ended


def cycle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


OUT_OF_RANGE = [
    *(("worker", value) for value in ("", " \t", "x" * 128, None, 5)),
    *(("queue", value) for value in ("", " \t", "x" * 128, None, 5)),
    *(("priority", value) for value in (-1, 32_768, True, 1.0, "1", None)),
    *(("max_attempts", value) for value in (0, -1, 32_768, True, 2.5, "1", None)),
    *(("args", value) for value in (["a"], "text", 5)),
    *(("meta", value) for value in (["a"], "text", 5, None)),
    *(("tags", value) for value in ("text", 5, [5], [None], None)),
    *(("schedule_in", value) for value in (-1, math.nan, math.inf, True, "60", timedelta(-1), timedelta.max)),
    *(
        ("scheduled_at", value)
        for value in (NOON.replace(tzinfo=None), "2030-01-01", 5, NOON.date(), END_OF_THE_CALENDAR)
    ),
]
NOT_STORABLE = [
    *(("args", {"a": value}) for value in (math.nan, math.inf, {1}, NOON, "\x00", "\ud800", {1: 2})),
    *(("meta", {"a": value}) for value in (math.nan, b"", "\x00", "\ud800", {None: 1})),
    ("args", cycle()),
    ("meta", cycle()),
    *((field, value) for field in ("worker", "queue") for value in ("a\x00", "\ud800")),
    *(("tags", [value]) for value in ("a\x00", "\ud800")),
]


def made(**fields: Any) -> Job:
    return Job(**{"worker": "w", **fields})


@pytest.mark.parametrize(("field", "value"), OUT_OF_RANGE, ids=ascii)
def test_what_the_table_cannot_hold_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(InvalidJob, match=rf"^{field} m"):
        made(**{field: value})


@pytest.mark.parametrize("field", sorted({field for field, _ in OUT_OF_RANGE}))
def test_what_cannot_even_be_shown_is_refused_the_same(field: str) -> None:
    with pytest.raises(InvalidJob, match=rf"^{field} m.*, got a int that cannot be shown$"):
        made(**{field: 10**5_000})


@pytest.mark.parametrize(("field", "value"), NOT_STORABLE, ids=ascii)
def test_what_json_or_postgresql_cannot_express_is_refused(field: str, value: object) -> None:
    with pytest.raises((InvalidJob, UnserialisableValue)) as refused:
        made(**{field: value})
    assert isinstance(refused.value, ObanError)


@pytest.mark.parametrize(
    ("field", "value"), [case for case in OUT_OF_RANGE + NOT_STORABLE if case[0] != "schedule_in"], ids=ascii
)
def test_a_field_that_is_set_later_is_checked_the_same_and_keeps_its_value(field: str, value: object) -> None:
    job = made(queue="q", priority=1, max_attempts=2, args={"a": 1}, meta={"b": 2}, tags=["t"], scheduled_at=NOON)
    before = getattr(job, field)

    with pytest.raises(ObanError):
        setattr(job, field, value)

    assert getattr(job, field) == before


def test_a_job_is_due_at_one_moment_only() -> None:
    with pytest.raises(InvalidJob, match="not both"):
        made(schedule_in=60, scheduled_at=NOON)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, "x" * 127) for field in ("worker", "queue")),
        *((field, "Ärger \U0001f600 'quoted' \\ %s :x") for field in ("worker", "queue")),
        *(("priority", value) for value in (0, 9, 32_767)),
        *(("max_attempts", value) for value in (1, 32_767)),
        *(("args", value) for value in ({}, {"": None, "\U0001f600": [1.5, {"b": True}], "big": 10**30})),
        ("meta", {"a": "\ue000"}),
        *(("tags", value) for value in ([], ["a", "ä b"])),
        *(("scheduled_at", value) for value in (NOON, datetime.max.replace(tzinfo=UTC))),
    ],
    ids=ascii,
)
@both_drivers
async def test_the_ends_of_a_range_are_stored_and_come_back(sessions: Sessions, field: str, value: object) -> None:
    async with sessions.begin() as session:
        session.add(made(**{field: value}))
    async with sessions() as session:
        assert getattr((await session.scalars(select(Job))).one(), field) == value


def test_tags_are_stripped_lower_cased_and_each_kept_once_in_order() -> None:
    assert made(tags=[" B ", "a", "b", "", "  ", "A"]).tags == ["b", "a"]


def test_later_changes_to_what_was_given_do_not_leak_in() -> None:
    args: dict[str, Any] = {"to": ["a"]}
    tags = ["x"]
    job = made(args=args, tags=tags)
    args["to"].append("b")
    tags.append("y")

    assert (job.args, job.tags) == ({"to": ["a"]}, ["x"])


async def test_the_session_is_usable_after_a_refusal(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        job = made(queue="first")
        session.add(job)
        await session.flush()
        with pytest.raises(InvalidJob):
            job.queue = ""
        with pytest.raises(UnserialisableValue):
            session.add(made(args={"a": math.nan}))
        session.add(made(queue="second"))
    async with sessions() as session:
        assert (await session.scalars(select(Job.queue).order_by(Job.id))).all() == ["first", "second"]


@both_drivers
async def test_what_is_left_out_is_decided_by_the_table_and_known_after_the_flush(sessions: Sessions) -> None:
    job = made()
    async with sessions.begin() as session:
        session.add(job)

    assert (job.id, job.state, job.queue, job.attempt, job.max_attempts, job.priority) == (
        *(1, JobState.AVAILABLE, "default"),
        *(0, 20, 0),
    )
    assert (job.args, job.meta, job.tags, job.errors, job.attempted_by) == ({}, {}, [], [], [])
    assert job.inserted_at == job.scheduled_at


@both_drivers
@pytest.mark.parametrize("delay", [3600, 3600.0, timedelta(hours=1)], ids=repr)
async def test_a_relative_delay_counts_from_the_insert_by_the_clock_of_the_database(
    sessions: Sessions, delay: float | timedelta
) -> None:
    clock = select(func.clock_timestamp())
    job = made(schedule_in=delay)
    async with sessions.begin() as session:
        begun = await session.scalar(select(func.now()))
        before = await session.scalar(clock)
        session.add(job)
        await session.flush()
        after = await session.scalar(clock)
        inserted = job.scheduled_at - timedelta(hours=1)

    assert begun is not None
    assert before is not None
    assert after is not None
    assert begun < before <= inserted <= after  # from the INSERT, not from the beginning of the transaction
    assert job.state is JobState.SCHEDULED


async def test_a_moment_makes_a_scheduled_job(sessions: Sessions) -> None:
    job = made(scheduled_at=NOON)
    async with sessions.begin() as session:
        session.add(job)

    assert (job.state, job.scheduled_at) == (JobState.SCHEDULED, NOON)


async def test_a_moment_set_later_replaces_a_delay(sessions: Sessions) -> None:
    job = made(schedule_in=60)
    job.scheduled_at = NOON
    async with sessions.begin() as session:
        session.add(job)

    assert (job.state, job.scheduled_at) == (JobState.SCHEDULED, NOON)


async def test_a_moment_may_be_an_expression(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        job = made()
        session.add(job)
        await session.flush()
        job.scheduled_at = func.timezone("UTC", func.now()) + timedelta(days=1)
        await session.flush()
        await session.refresh(job)

        assert job.scheduled_at == job.inserted_at + timedelta(days=1)


def test_a_repr_shows_what_is_loaded_and_emits_no_sql(connection: Connection) -> None:
    statements: list[str] = []
    event.listen(connection, "before_cursor_execute", lambda *call: statements.append(call[2]))
    with Session(connection) as session:
        job = made(queue="mailers")
        assert repr(job) == "<Job worker='w' queue='mailers'>"
        session.add(job)
        session.flush()
        inserted = len(statements)
        assert repr(job).startswith(f"<Job id={job.id} worker='w' queue='mailers' state=")
        session.expire(job)
        assert repr(job).startswith("<Job")
        assert len(statements) == inserted
        assert (job.queue, len(statements)) == ("mailers", inserted + 1)  # the counter counts


def test_the_host_can_add_columns_on_a_base_of_its_own(connection: Connection) -> None:
    class Base(DeclarativeBase):
        metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s", "ck": "ck_%(constraint_name)s"})

    class TenantJob(JobMixin, Base):
        __tablename__ = "oban_jobs"
        tenant: Mapped[int | None]

    connection.execute(text("ALTER TABLE oban_jobs ADD COLUMN tenant int"))
    with Session(connection) as session:
        session.add_all([TenantJob(worker="w", tenant=7, schedule_in=60), Job(worker="w")])
        session.flush()
        job = session.scalars(select(TenantJob).where(TenantJob.tenant == 7)).one()

        assert (job.state, job.args) == (JobState.SCHEDULED, {})
        with pytest.raises(InvalidJob):
            job.queue = ""


def test_names_do_not_follow_the_naming_convention_of_the_host(connection: Connection) -> None:
    class Base(DeclarativeBase):
        metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s", "ck": "ck_%(constraint_name)s"})

    class OwnJob(JobMixin, Base):
        __tablename__ = "oban_jobs"

    names = {constraint.name for constraint in OwnJob.metadata.tables["oban_jobs"].constraints}
    ours = text("SELECT conname FROM pg_constraint WHERE conrelid = 'oban_jobs'::regclass AND contype IN ('p', 'c')")
    assert names == set(connection.scalars(ours))


@both_drivers
@pytest.mark.parametrize(
    ("column", "value", "loaded"),
    [
        ("priority", "12", 12),
        ("priority", "32767", 32_767),
        ("worker", "' '", " "),
        ("queue", "E'\\t'", "\t"),
        ("args", "'[]'", []),
        ("args", "'1'", 1),
        ("args", "'null'", None),
        ("meta", "'\"text\"'", "text"),
        ("errors", "'{}'", {}),
        ("tags", "ARRAY['A', ' ', '', 'A', NULL]", ["A", " ", "", "A", None]),
        ("tags", "'{{a,b},{c,d}}'", [["a", "b"], ["c", "d"]]),
        ("attempted_by", "ARRAY[NULL]::text[]", [None]),
        ("state", "'suspended'", JobState.SUSPENDED),
    ],
)
async def test_a_row_of_somebody_else_can_be_loaded_even_if_we_would_not_write_it(
    sessions: Sessions, column: str, value: str, loaded: object
) -> None:
    fields = {"worker": "'w'", column: value}
    async with sessions.begin() as session:
        await session.execute(
            text(f"INSERT INTO oban_jobs ({', '.join(fields)}) VALUES ({', '.join(fields.values())})")
        )
    async with sessions.begin() as session:
        job = (await session.scalars(select(Job))).one()
        assert getattr(job, column) == loaded
        job.max_attempts = 3  # and the rest of it can be changed
    async with sessions() as session:
        assert (await session.scalars(select(Job.max_attempts))).all() == [3]


async def test_bulk_statements_leave_the_checks_to_the_table(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        session.add(made())
        await session.flush()
        await session.execute(update(Job).values(priority=12))
        assert await session.scalar(select(Job.priority)) == 12
