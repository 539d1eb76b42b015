import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import URL, Connection, create_engine, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_oban import migrations
from sqla_oban.errors import SchemaMismatch
from sqla_oban.migrations import check_version, current_version, downgrade, migrate, required_version, v01
from sqla_oban.migrations.version import Version
from tests.migrations.database import begun, things_in
from tests.support import PATIENCE, eventually

ODD = 'It\'s "Odd", \\ {really}:x'
"""A schema's name with what means something to SQL, to SQLAlchemy's text() and to str.format."""

WAYS = (
    ": with alembic run `alembic revision --autogenerate`, if no revision has it yet, then `alembic upgrade head`; "
    "without alembic run `sqla-oban migrate --url ...`"
)
"""How tables are made, as a user is told."""

V02 = Version(
    upgrade=("ALTER TABLE {schema}.oban_jobs ADD COLUMN note text DEFAULT 'a:b'",),
    downgrade=("ALTER TABLE {schema}.oban_jobs DROP COLUMN note",),
)


@pytest.fixture(params=["psycopg", "psycopg2", "asyncpg", "psycopg_async"])
def in_transaction(request: pytest.FixtureRequest, url: URL) -> Callable[..., Any]:
    """Calls a function with a connection of each driver, and commits; async drivers call it through run_sync."""

    def call(verb: Callable[..., Any], **options: Any) -> Any:
        if request.param in {"psycopg", "psycopg2"}:
            with begun(url, request.param) as connection:
                return verb(connection, **options)
        return asyncio.run(call_async(verb, options))

    async def call_async(verb: Callable[..., Any], options: dict[str, Any]) -> Any:
        engine = create_async_engine(url.set(drivername=f"postgresql+{request.param}"))
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(verb, **options)
        finally:
            await engine.dispose()

    return call


@pytest.fixture
def two_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release of the library that knows one more version."""
    monkeypatch.setattr(migrations, "VERSIONS", {1: v01.VERSION, 2: V02})


def stamp(connection: Connection, version: int) -> None:
    connection.execute(text(f"COMMENT ON CONSTRAINT oban_jobs_pkey ON oban_jobs IS 'sqla_oban\\:{version}'"))


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""').replace(":", r"\:") + '"'


def insert_job(connection: Connection, schema: str) -> None:
    connection.execute(text(f"INSERT INTO {quoted(schema)}.oban_jobs (worker) VALUES ('w')"))


def test_every_driver_migrates_and_takes_it_back(in_transaction: Callable[..., Any]) -> None:
    assert in_transaction(current_version) == 0
    in_transaction(migrate)
    assert in_transaction(current_version) == required_version() == 1
    in_transaction(check_version)
    in_transaction(insert_job, schema="public")
    in_transaction(downgrade)
    assert in_transaction(current_version) == 0
    assert in_transaction(things_in) == []


def test_every_driver_migrates_a_schema_of_an_odd_name(in_transaction: Callable[..., Any]) -> None:
    in_transaction(migrate, schema=ODD)
    in_transaction(check_version, schema=ODD)
    in_transaction(insert_job, schema=ODD)
    in_transaction(downgrade, schema=ODD)
    assert in_transaction(current_version, schema=ODD) == 0
    assert in_transaction(things_in, schema=ODD) == []


def test_migrating_again_changes_nothing(url: URL) -> None:
    with begun(url) as connection:
        migrate(connection)
        insert_job(connection, "public")
        before = things_in(connection)
        migrate(connection)
        migrate(connection, version=1)
        assert things_in(connection) == before
        assert connection.scalar(text("SELECT count(*) FROM oban_jobs")) == 1


def test_downgrading_an_empty_database_changes_nothing(url: URL) -> None:
    with begun(url) as connection:
        downgrade(connection)
        assert things_in(connection) == []


async def test_a_second_migration_at_the_same_time_waits_and_finds_nothing_to_do(url: URL) -> None:
    def migrate_too() -> None:
        with begun(url) as second:
            migrate(second)

    def somebody_waits() -> bool:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with begun(url) as onlooker:
            return bool(onlooker.scalar(text(waiting)))

    with begun(url) as first:
        migrate(first)
        other = asyncio.create_task(asyncio.to_thread(migrate_too))
        await eventually(somebody_waits, "the second migration to wait for the first")

    await asyncio.wait_for(other, PATIENCE)
    with begun(url) as connection:
        assert current_version(connection) == 1


def test_a_transaction_that_is_rolled_back_leaves_nothing(url: URL) -> None:
    with begun(url) as connection:
        migrate(connection, schema=ODD)
        migrate(connection)
        assert current_version(connection) == current_version(connection, schema=ODD) == 1
        connection.rollback()

    with begun(url) as connection:
        assert things_in(connection) == []
        assert ODD not in inspect(connection).get_schema_names()


def test_two_schemas_of_one_database_live_and_go_apart(url: URL) -> None:
    with begun(url) as connection:
        migrate(connection)
        assert current_version(connection, schema=ODD) == 0
        migrate(connection, schema=ODD)
        insert_job(connection, ODD)
        assert connection.scalar(text("SELECT count(*) FROM public.oban_jobs")) == 0

        downgrade(connection, schema=ODD)
        assert current_version(connection) == 1
        assert current_version(connection, schema=ODD) == 0


def test_a_job_rings_the_channel_of_its_own_schema_whatever_the_search_path_of_the_inserter(url: URL) -> None:
    with begun(url) as connection:
        migrate(connection)
        migrate(connection, schema=ODD)
        # without a ttl it is another library's, which is always rung
        producer = "INSERT INTO {}.oban_producers (uuid, node, queue) VALUES (gen_random_uuid(), 'n', 'default')"
        for schema in ("public", ODD):
            connection.execute(text(producer.format(quoted(schema))))
            connection.execute(text(f"LISTEN {quoted(f'{schema}.oban_insert')}"))
        connection.commit()

        with begun(url) as inserter:
            inserter.execute(text("SET search_path = ''"))
            insert_job(inserter, ODD)

        heard = next(connection.connection.driver_connection.notifies(timeout=PATIENCE))  # type: ignore[union-attr]
        assert (heard.channel, heard.payload) == (f"{ODD}.oban_insert", '{"queue": "default"}')


def test_slots_that_are_freed_in_two_schemas_ring_in_both(url: URL) -> None:
    """Once for each queue of a transaction is enough; queues of one name in two schemas are two queues."""
    with begun(url) as connection:
        for schema in ("public", ODD):
            migrate(connection, schema=schema)
            producer = "INSERT INTO {}.oban_producers (uuid, node, queue) VALUES (gen_random_uuid(), 'n', 'default')"
            job = "INSERT INTO {}.oban_jobs (worker, state, partition) VALUES ('w', 'executing', '')"
            for statement in (producer, job):
                connection.execute(text(statement.format(quoted(schema))))
            connection.execute(text(f"LISTEN {quoted(f'{schema}.oban_insert')}"))
        connection.commit()

        with begun(url) as ender:
            for schema in ("public", ODD):
                ender.execute(text(f"UPDATE {quoted(schema)}.oban_jobs SET state = 'completed'"))

        told = connection.connection.driver_connection.notifies(timeout=PATIENCE, stop_after=2)  # type: ignore[union-attr]
        assert {notice.channel for notice in told} == {"public.oban_insert", f"{ODD}.oban_insert"}


def test_without_a_schema_the_tables_are_found_and_made_on_the_search_path(url: URL) -> None:
    with begun(url) as connection:
        migrate(connection, schema="app")
        connection.execute(text("SET LOCAL search_path = public, app"))
        assert current_version(connection) == 1
        migrate(connection)
        assert things_in(connection) == []

        connection.execute(text("SET LOCAL search_path = public"))
        migrate(connection)
        assert "oban_jobs" in things_in(connection)


def test_a_search_path_that_leads_nowhere_is_refused(url: URL) -> None:
    with begun(url) as connection:
        connection.execute(text("SET LOCAL search_path = nowhere"))
        with pytest.raises(SchemaMismatch, match="pass schema="):
            migrate(connection)


@pytest.mark.parametrize("verb", [migrate, downgrade])
@pytest.mark.parametrize("version", [99, -1])
def test_a_version_that_does_not_exist_is_refused(url: URL, verb: Callable[..., None], version: int) -> None:
    with begun(url) as connection:
        migrate(connection)
        with pytest.raises(SchemaMismatch, match=f"no version {version} .* it knows 1 to 1"):
            verb(connection, version=version)
        assert current_version(connection) == 1


@pytest.mark.usefixtures("two_versions")
def test_versions_are_climbed_and_descended_one_by_one_and_keep_the_jobs(url: URL) -> None:
    with begun(url) as connection:
        migrate(connection, version=1)
        insert_job(connection, "public")
        migrate(connection)
        assert current_version(connection) == 2
        assert connection.scalars(text("SELECT note FROM oban_jobs")).all() == ["a:b"]

        downgrade(connection, version=1)
        assert current_version(connection) == 1
        assert connection.scalar(text("SELECT count(*) FROM oban_jobs")) == 1
        assert "note" not in {column["name"] for column in inspect(connection).get_columns("oban_jobs")}


@pytest.mark.usefixtures("two_versions")
def test_a_database_ahead_of_the_version_asked_for_stays_there(url: URL) -> None:
    with begun(url) as connection:
        migrate(connection)
        migrate(connection, version=1)
        assert current_version(connection) == 2


def test_a_database_without_tables_is_told_which_command_makes_them(url: URL) -> None:
    with begun(url) as connection, pytest.raises(SchemaMismatch) as refusal:
        check_version(connection)

    assert "has no sqla_oban tables and this release needs version 1" in str(refusal.value)
    assert str(refusal.value).endswith(WAYS)


def test_a_database_that_is_behind_is_told_which_command_brings_it_up(url: URL, request: pytest.FixtureRequest) -> None:
    with begun(url) as connection:
        migrate(connection)
        request.getfixturevalue("two_versions")
        with pytest.raises(SchemaMismatch) as refusal:
            check_version(connection)

    assert "has version 1 of the sqla_oban tables and this release needs version 2" in str(refusal.value)
    assert str(refusal.value).endswith(WAYS)


def test_a_database_that_is_ahead_is_told_to_upgrade_the_library(url: URL) -> None:
    with begun(url) as connection:
        migrate(connection)
        stamp(connection, 99)
        with pytest.raises(SchemaMismatch) as refusal:
            check_version(connection)

    assert "has version 99 of the sqla_oban tables and this release knows only 1" in str(refusal.value)
    assert "`pip install --upgrade sqla-oban`" in str(refusal.value)


def test_a_comment_of_somebody_else_is_no_version(url: URL) -> None:
    with begun(url) as connection:
        migrate(connection)
        connection.execute(text("COMMENT ON CONSTRAINT oban_jobs_pkey ON oban_jobs IS 'the primary key'"))
        assert current_version(connection) == 0


def test_no_migration_commits(url: URL) -> None:
    engine = create_engine(url.set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        migrate(connection)
        downgrade(connection)
        migrate(connection)
        assert connection.in_transaction()
        with begun(url) as other:
            assert current_version(other) == 0
    engine.dispose()


def test_no_statement_has_a_percent_sign_which_alembic_doubles_in_a_script() -> None:
    assert [one for one in (*v01.VERSION.upgrade, *v01.VERSION.downgrade) if "%" in one] == []
