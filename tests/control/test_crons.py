"""`oban.crons`: the crontab at run time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import Job, SqlaOban, job
from sqla_oban.errors import InvalidJob, InvalidSchedule, UnknownCron, UnknownOption
from sqla_oban.migrations import migrate
from tests.support import both_drivers, jobs


@job(name="crons.report", queue="reports", max_attempts=3)
async def report(kind: str = "short") -> None: ...


@pytest.fixture
def oban(engine: AsyncEngine) -> SqlaOban:
    return SqlaOban(engine)


async def run(engine: AsyncEngine, sql: str) -> None:
    async with engine.begin() as connection:
        await connection.exec_driver_sql(sql)


@both_drivers
async def test_an_entry_is_created_with_all_it_needs(oban: SqlaOban) -> None:
    made = await oban.crons.create("nightly", "0 3 * * *", report.new("long"), timezone="Europe/Berlin", missed="all")
    stored = await oban.crons.get("nightly")
    assert stored is not None
    for entry in (made, stored):
        assert (entry.name, entry.expression, entry.timezone, entry.missed) == (
            "nightly",
            "0 3 * * *",
            "Europe/Berlin",
            "all",
        )
        assert (entry.worker, entry.args, entry.queue, entry.max_attempts) == (
            "crons.report",
            {"kind": "long"},
            "reports",
            3,
        )
        assert (entry.priority, entry.tags, entry.meta, entry.declared, entry.paused) == (
            None,
            None,
            None,
            False,
            False,
        )
        assert datetime.now(UTC) - entry.last_tick < timedelta(minutes=5)
    assert await oban.crons.get("another") is None
    shown = "<Cron name='nightly' expression='0 3 * * *' timezone='Europe/Berlin' paused=False>"
    assert repr(stored) == shown


async def test_all_entries_come_by_name(oban: SqlaOban) -> None:
    for name in ("b", "a", "c"):
        await oban.crons.create(name, "@daily", report.new())
    assert [entry.name for entry in await oban.crons.all()] == ["a", "b", "c"]


@both_drivers
async def test_an_update_changes_what_it_names_and_a_new_schedule_begins_now(
    oban: SqlaOban, engine: AsyncEngine
) -> None:
    await oban.crons.create("entry", "@daily", report.new("long"), timezone="Asia/Tokyo")
    await run(engine, "UPDATE oban_crons SET last_tick = '2026-01-01'")
    same = await oban.crons.update("entry", missed="skip", job=report.with_options(priority=2).new())
    assert (same.missed, same.args, same.priority, same.timezone) == ("skip", {}, 2, "Asia/Tokyo")
    assert same.last_tick == datetime(2026, 1, 1, tzinfo=UTC)
    other = await oban.crons.update("entry", expression="@hourly", timezone=None)
    assert (other.expression, other.timezone, other.missed) == ("@hourly", None, "skip")
    assert datetime.now(UTC) - other.last_tick < timedelta(minutes=5)


async def test_a_resumed_entry_begins_now_and_one_that_was_not_paused_goes_on(
    oban: SqlaOban, engine: AsyncEngine
) -> None:
    await oban.crons.create("entry", "@daily", report.new())
    await run(engine, "UPDATE oban_crons SET last_tick = '2026-01-01'")
    assert (await oban.crons.resume("entry")).last_tick == datetime(2026, 1, 1, tzinfo=UTC)
    assert (await oban.crons.pause("entry")).paused
    resumed = await oban.crons.resume("entry")
    assert not resumed.paused
    assert datetime.now(UTC) - resumed.last_tick < timedelta(minutes=5)


async def test_a_deleted_entry_is_gone(oban: SqlaOban) -> None:
    await oban.crons.create("entry", "@daily", report.new())
    await oban.crons.delete("entry")
    assert await oban.crons.all() == []


async def test_an_entry_that_stands_in_code_can_be_paused_but_not_changed(oban: SqlaOban, engine: AsyncEngine) -> None:
    await oban.crons.create("entry", "@daily", report.new())
    await run(engine, "UPDATE oban_crons SET declared = true")
    with pytest.raises(InvalidSchedule, match=r"stands in code, at the worker crons.report .* changed there"):
        await oban.crons.update("entry", expression="@hourly")
    with pytest.raises(InvalidSchedule, match="deleted there"):
        await oban.crons.delete("entry")
    assert (await oban.crons.pause("entry")).paused
    assert not (await oban.crons.resume("entry")).paused


@pytest.mark.parametrize("verb", ["update", "pause", "resume", "delete"])
async def test_an_entry_that_does_not_exist_is_told(oban: SqlaOban, verb: str) -> None:
    with pytest.raises(UnknownCron, match="no entry 'nightly'"):
        await getattr(oban.crons, verb)("nightly")


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("entry", "often", report.new()), {}, InvalidSchedule, "five fields"),
        (("entry", "@daily", report.new()), {"timezone": "Berlin"}, InvalidSchedule, "no time zone"),
        (("entry", "@daily", report.new()), {"missed": "some"}, InvalidSchedule, "missed must be one of"),
        (("entry", "@daily", report), {}, InvalidSchedule, "takes a job"),
        (("", "@daily", report.new()), {}, InvalidJob, "must not be blank"),
        (("x" * 200, "@daily", report.new()), {}, InvalidJob, "127 characters"),
        (("a\x00b", "@daily", report.new()), {}, InvalidJob, "NUL"),
        (("taken", "@daily", report.new()), {}, InvalidSchedule, "already"),
    ],
)
async def test_what_is_wrong_is_refused_at_the_call_and_the_transaction_stays_usable(
    oban: SqlaOban, engine: AsyncEngine, arguments: Any, options: Any, error: type[Exception], message: str
) -> None:
    await oban.crons.create("taken", "@daily", report.new())
    async with AsyncSession(engine) as session, session.begin():
        with pytest.raises(error, match=message):
            await oban.crons.create(*arguments, **options, session=session)
        session.add(Job(worker="after"))
    assert [one.worker for one in await jobs(engine)] == ["after"]


@pytest.mark.parametrize("name", ["a\x00b", "\ud800", "x" * 1000, 7, None])
async def test_a_name_that_no_entry_can_have_is_unknown_and_the_transaction_stays_usable(
    oban: SqlaOban, engine: AsyncEngine, name: Any
) -> None:
    async with AsyncSession(engine) as session, session.begin():
        assert await oban.crons.get(name, session=session) is None
        for verb in (oban.crons.pause, oban.crons.resume, oban.crons.delete, oban.crons.update):
            with pytest.raises(UnknownCron, match="the crontab has no entry"):
                await verb(name, session=session)
        session.add(Job(worker="after"))
    assert [one.worker for one in await jobs(engine)] == ["after"]


async def test_a_field_that_does_not_exist_is_told_with_the_one_that_was_meant(oban: SqlaOban) -> None:
    await oban.crons.create("entry", "@daily", report.new())
    wrong: dict[str, Any] = {"expresion": "@hourly"}
    with pytest.raises(UnknownOption, match="did you mean 'expression'"):
        await oban.crons.update("entry", **wrong)
    with pytest.raises(InvalidSchedule, match="five fields"):
        await oban.crons.update("entry", expression="often")


@both_drivers
@pytest.mark.parametrize("committed", [True, False])
async def test_a_verb_is_part_of_the_transaction_of_the_session_it_is_given(
    oban: SqlaOban, engine: AsyncEngine, committed: bool
) -> None:
    async with AsyncSession(engine) as session:
        await oban.crons.create("entry", "@daily", report.new(), session=session)
        await oban.crons.pause("entry", session=session)
        await (session.commit() if committed else session.rollback())
    assert [entry.paused for entry in await oban.crons.all()] == ([True] if committed else [])


async def test_the_crontab_of_another_schema_is_found(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA IF EXISTS crons CASCADE"))
        await connection.run_sync(migrate, schema="crons")
    oban = SqlaOban(engine, schema="crons")
    await oban.crons.create("entry", "@daily", report.new())
    assert (await oban.crons.update("entry", expression="@hourly")).expression == "@hourly"
    assert await SqlaOban(engine).crons.all() == []
    assert [entry.name for entry in await oban.crons.all()] == ["entry"]
    await run(engine, "DROP SCHEMA crons CASCADE")
