"""Every finding of the doctor, caused on a real database."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sqla_oban import Job, SqlaOban
from sqla_oban.doctor import horizon as horizon_module
from sqla_oban.doctor import vacuum as vacuum_module
from sqla_oban.doctor.ailment import Ailment
from sqla_oban.doctor.asking import asked
from sqla_oban.doctor.backlog import backlog
from sqla_oban.doctor.bloat import bloat
from sqla_oban.doctor.diagnosis import diagnosed
from sqla_oban.doctor.finding import Finding, Verdict
from sqla_oban.doctor.horizon import horizon
from sqla_oban.doctor.leadership import leadership
from sqla_oban.doctor.nodes import nodes
from sqla_oban.doctor.thresholds import Thresholds
from sqla_oban.doctor.vacuum import vacuum
from sqla_oban.doctor.ways import notify_queue, pooler
from sqla_oban.engine import heartbeat
from sqla_oban.settings import LeaderSettings
from sqla_oban.telemetry.events import AcksWritten, Beaten, LeadershipGained, ListenerUp
from tests import pgbouncer
from tests.queries.table import Table
from tests.support import Recorder, both_drivers, enqueue, eventually

HOME = "public"
AT_ONCE = Thresholds(horizon=0.0)
HOUR_AGO = "timezone('UTC', now()) - interval '1 hour'"


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that is rolled back."""
    async with engine.connect() as connection:
        yield connection


async def of(connection: AsyncConnection, check: Callable[..., Iterable[Finding]], *arguments: Any) -> list[Finding]:
    return await connection.run_sync(lambda sync: list(check(sync, *arguments)))


def named(ailment: Ailment, findings: list[Finding]) -> Finding:
    (found,) = [one for one in findings if one.ailment is ailment]
    return found


async def test_all_is_well_where_a_node_runs_and_leads(
    engine: AsyncEngine, start: Any, events: Recorder, table: Table
) -> None:
    await start(queues={"default": 1}, leader=LeaderSettings())  # a lease as long as by default
    await events.wait_for(LeadershipGained)
    await events.wait_for(ListenerUp)
    await events.wait_for(Beaten, count=len(events.of(Beaten)) + 1)
    found = await diagnosed(SqlaOban(engine), thresholds=Thresholds(clock=60))
    assert [one for one in found if one.verdict is not Verdict.OK] == []
    subjects = {
        "database",
        "server",
        "pooler",
        "notifications",
        "horizon",
        "schema",
        "vacuum",
        "bloat",
        "nodes",
        "leader",
    }
    assert {one.subject for one in found} == {*subjects, "backlog"}


@both_drivers
async def test_a_session_that_forgot_its_transaction(engine: AsyncEngine, connection: AsyncConnection) -> None:
    async with engine.connect() as forgetful:
        await forgetful.execute(text("SELECT pg_current_xact_id()"))
        pid = await forgetful.scalar(text("SELECT pg_backend_pid()"))
        mine = [one for one in await of(connection, horizon, AT_ONCE) if one.facts.get("pid") == pid]
    assert [one.ailment for one in mine] == [Ailment.OLD_SESSION]
    assert f"pg_terminate_backend({pid})" in mine[0].remedy
    assert mine[0].facts["state"] == "idle in transaction"


async def test_a_prepared_transaction_that_nobody_ends(engine: AsyncEngine, connection: AsyncConnection) -> None:
    async with engine.connect() as other:
        autocommit = await other.execution_options(isolation_level="AUTOCOMMIT")
        for statement in ("BEGIN", "SELECT pg_current_xact_id()", "PREPARE TRANSACTION 'it''s late'"):
            await autocommit.exec_driver_sql(statement)
        try:
            found = named(Ailment.OLD_PREPARED_TRANSACTION, await of(connection, horizon, AT_ONCE))
        finally:
            await autocommit.exec_driver_sql("ROLLBACK PREPARED 'it''s late'")
    assert found.facts["gid"] == "it's late"
    assert "ROLLBACK PREPARED 'it''s late'" in found.remedy


async def test_a_replication_slot_that_nobody_reads(connection: AsyncConnection) -> None:
    if await connection.scalar(text("SHOW wal_level")) == "minimal":
        pytest.skip("the server writes no log for replication: wal_level is minimal")
    await connection.execute(text("SELECT pg_create_physical_replication_slot('sqla_oban_forgotten', true)"))
    try:
        found = [one for one in await of(connection, horizon, AT_ONCE) if one.ailment is Ailment.OLD_SLOT]
    finally:
        await connection.execute(text("SELECT pg_drop_replication_slot('sqla_oban_forgotten')"))
    assert [one.facts["slot"] for one in found] == ["sqla_oban_forgotten"]
    assert found[0].verdict is Verdict.PROBLEM
    assert "keeps the log, and nobody reads it" in found[0].message


async def test_a_slot_and_a_standby_that_keep_dead_rows(
    connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their rows: a standby would be a second server."""
    slot = "SELECT 's' AS slot_name, 'physical' AS slot_type, {} AS active, 9000 AS age, 0 AS catalog_age, 0 AS behind"
    standby = "SELECT 'replica' AS application_name, '::1' AS address, 2000000 AS age"
    monkeypatch.setattr(horizon_module, "STANDBYS", text(standby))
    monkeypatch.setattr(horizon_module, "SLOTS", text(slot.format("true")))
    found = await of(connection, horizon, Thresholds())
    assert named(Ailment.OLD_STANDBY, found).facts["standby"] == "replica"
    assert named(Ailment.OLD_SLOT, found).verdict is Verdict.NOTE
    monkeypatch.setattr(horizon_module, "SLOTS", text(slot.format("false")))
    assert "keeps dead rows and the log" in named(Ailment.OLD_SLOT, await of(connection, horizon, Thresholds())).message


async def test_a_role_that_does_not_see_others_is_told_so(connection: AsyncConnection) -> None:
    await connection.execute(text("CREATE ROLE sqla_oban_blind"))
    await connection.execute(text("SET ROLE sqla_oban_blind"))
    found = named(Ailment.NOT_ALLOWED_TO_SEE, await of(connection, horizon, Thresholds()))
    assert found.remedy == "GRANT pg_read_all_stats TO sqla_oban_blind"


@contextlib.asynccontextmanager
async def dead_rows(engine: AsyncEngine) -> AsyncIterator[None]:
    """Five thousand jobs that are gone, while somebody might still want to see them."""
    async with engine.connect() as other, engine.connect() as keeper:
        await (await keeper.execution_options(isolation_level="REPEATABLE READ")).execute(text("SELECT 1"))
        await keeper.execute(text("SELECT count(*) FROM oban_jobs"))
        write = await other.execution_options(isolation_level="AUTOCOMMIT")
        await write.execute(text("INSERT INTO oban_jobs (worker) SELECT 'w' FROM generate_series(1, 5000)"))
        await eventually(lambda: counted(write, "n_live_tup >= 5000"), "the statistics")
        await write.execute(text("ANALYZE oban_jobs"))
        await keeper.execute(text("LOCK TABLE oban_jobs IN SHARE UPDATE EXCLUSIVE MODE"))  # no autovacuum counts anew
        await write.execute(text("DELETE FROM oban_jobs"))
        await eventually(lambda: counted(write, "n_dead_tup >= 5000 AND n_live_tup = 0"), "the statistics")
        yield


async def counted(connection: AsyncConnection, condition: str) -> bool:
    return bool(
        await connection.scalar(text(f"SELECT {condition} FROM pg_stat_user_tables WHERE relname = 'oban_jobs'"))
    )


async def test_dead_rows_of_which_no_vacuum_gets_rid(engine: AsyncEngine, connection: AsyncConnection) -> None:
    async with dead_rows(engine):
        found = await of(connection, vacuum, HOME, Thresholds(dead_rows=1000))
        found += await of(connection, bloat, HOME, Thresholds(bytes=100_000))
    found = [one for one in found if one.facts.get("table") == "oban_jobs"]  # others have dead rows of earlier tests
    assert "which every claim reads past" in named(Ailment.DEAD_ROWS, found).message
    assert named(Ailment.AUTOVACUUM_LAGS, found).facts["begins"] == 50 + 0.02 * 5000
    assert named(Ailment.TABLE_BLOAT, found).facts["filled"] == 0


async def test_indexes_that_are_bloated(engine: AsyncEngine, connection: AsyncConnection) -> None:
    async with engine.connect() as other:
        write = await other.execution_options(isolation_level="AUTOCOMMIT")
        await write.execute(text("INSERT INTO oban_jobs (worker) SELECT 'w' FROM generate_series(1, 5000)"))
        await write.execute(text("DELETE FROM oban_jobs"))
        await write.execute(text("VACUUM oban_jobs"))
    found = await of(connection, bloat, HOME, Thresholds(bytes=50_000))
    bloated = {one.facts["index"]: one for one in found if one.ailment is Ailment.INDEX_BLOAT}
    assert {"oban_jobs_pkey", "oban_jobs_claim_index"} <= bloated.keys()
    assert "REINDEX INDEX CONCURRENTLY" in bloated["oban_jobs_pkey"].remedy


async def test_autovacuum_that_is_off(connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    await connection.execute(text("ALTER TABLE oban_jobs SET (autovacuum_enabled = false)"))
    found = named(Ailment.AUTOVACUUM_OFF, await of(connection, vacuum, HOME, Thresholds()))
    assert found.remedy == 'ALTER TABLE "public".oban_jobs RESET (autovacuum_enabled)'
    await connection.rollback()
    off = "SELECT name, CASE name WHEN 'autovacuum' THEN 'off' ELSE setting END AS setting FROM pg_settings"
    monkeypatch.setattr(vacuum_module, "SETTINGS", text(off))
    found = named(Ailment.AUTOVACUUM_OFF, await of(connection, vacuum, HOME, Thresholds()))
    assert found.message == "autovacuum is off: dead rows stay for ever"


async def test_an_index_that_is_invalid(connection: AsyncConnection) -> None:
    await connection.execute(text("CREATE INDEX oban_jobs_pkey_ccnew1 ON oban_jobs (id)"))
    for index in ("oban_jobs_claim_index", "oban_jobs_pkey_ccnew1"):
        await connection.execute(text(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{index}'::regclass"))
    found = await of(connection, bloat, HOME, Thresholds())
    remedies = {one.facts["index"]: one.remedy for one in found if one.ailment is Ailment.INVALID_INDEX}
    assert remedies["oban_jobs_claim_index"] == 'REINDEX INDEX CONCURRENTLY "public"."oban_jobs_claim_index"'
    assert remedies["oban_jobs_pkey_ccnew1"].startswith('DROP INDEX "public"."oban_jobs_pkey_ccnew1"')


async def test_nodes_of_other_versions_and_of_other_libraries(
    connection: AsyncConnection, start: Any, table: Table
) -> None:
    await start(queues={"default": 1}, node="new")
    await add_node(table, "old", """{"ttl": 600, "version": "0.0.1"}""")
    await add_node(table, "theirs", "{}")
    found = await of(connection, nodes, HOME, "Oban", Thresholds(clock=60))
    assert named(Ailment.VERSION_DRIFT, found).facts == {"versions": f"0.0.1: old; {heartbeat.VERSION}: new"}
    assert named(Ailment.FOREIGN_NODES, found).facts == {"nodes": "theirs"}


async def test_a_node_that_hears_nothing(connection: AsyncConnection, start: Any, events: Recorder) -> None:
    oban = await start(queues={"default": 1}, node="deaf")
    await events.wait_for(ListenerUp)
    oban._node._notifier.hearing = False
    await events.wait_for(Beaten, count=len(events.of(Beaten)) + 2)
    found = named(Ailment.DEAF_NODE, await of(connection, nodes, HOME, "Oban", Thresholds(clock=60)))
    assert (found.facts, found.verdict) == ({"node": "deaf"}, Verdict.PROBLEM)


async def test_a_node_whose_clock_is_wrong(
    connection: AsyncConnection, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() - 3600)  # to the end, or the next beat would be right
    await start(queues={"default": 1}, node="late")
    found = named(Ailment.CLOCK_DIFFERENCE, await of(connection, nodes, HOME, "Oban", Thresholds()))
    assert found.facts["node"] == "late"
    assert "s behind PostgreSQL's" in found.message


async def test_a_node_that_died_and_was_not_cleared_up_after(connection: AsyncConnection, table: Table) -> None:
    await add_node(table, "gone", """{"ttl": 30}""", beaten=HOUR_AGO)
    found = await of(connection, nodes, HOME, "Oban", Thresholds())
    assert named(Ailment.DEAD_NODE, found).facts["node"] == "gone"


@pytest.mark.parametrize("meta", ["5", "[]", '{"ttl": 1e400, "clock": 1e400, "hearing": 3, "version": {}}'])
async def test_whatever_somebody_wrote_as_meta_is_read(meta: str, connection: AsyncConnection, table: Table) -> None:
    await add_node(table, "odd", meta)
    assert await of(connection, nodes, HOME, "Oban", Thresholds(clock=1e13))


async def test_the_queue_of_notifications_fills_up(engine: AsyncEngine, connection: AsyncConnection) -> None:
    async with engine.connect() as listener, engine.connect() as other:
        await listener.exec_driver_sql("LISTEN sqla_oban_unread")
        await listener.commit()
        await listener.execute(text("SELECT 1"))  # and stays in this transaction
        pid = await listener.scalar(text("SELECT pg_backend_pid()"))
        notify = text("SELECT pg_notify('sqla_oban_unread', repeat('x', 7000) || n) FROM generate_series(1, 200) n")
        await other.execute(notify)
        await other.commit()
        found = named(Ailment.NOTIFY_QUEUE, await of(connection, notify_queue, Thresholds(notify_queue=0.0)))
    assert found.facts["pid"] == pid


async def test_a_pooler_in_between(engine: AsyncEngine, database_url: URL) -> None:
    assert (await pooler(engine, None)).verdict is Verdict.OK
    with pgbouncer.bouncing(database_url) as url:
        through = create_async_engine(
            url.set(drivername="postgresql+asyncpg"), connect_args={"statement_cache_size": 0}
        )
        found = await pooler(through, None)
        assert (await pooler(through, database_url)).verdict is Verdict.OK
        await through.dispose()
    assert (found.ailment, found.verdict) == (Ailment.POOLER, Verdict.NOTE)


async def test_jobs_of_a_worker_that_no_node_knows(
    engine: AsyncEngine, connection: AsyncConnection, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 1})
    await enqueue(engine, Job(worker="nobody.knows"))
    await events.wait_for(AcksWritten, written=1)
    found = named(Ailment.UNKNOWN_WORKER, await of(connection, backlog, HOME, None))
    assert (found.facts["worker"], found.facts["jobs"]) == ("nobody.knows", 1)
    assert "import the module" in found.remedy
    found = named(Ailment.UNKNOWN_WORKER, await of(connection, backlog, HOME, ["nobody.knows"]))
    assert "this application declares it" in found.remedy


async def test_a_queue_that_no_node_runs(engine: AsyncEngine, connection: AsyncConnection, start: Any) -> None:
    await start(queues={"default": 1})
    await enqueue(engine, Job(worker="w", queue="lonely"))
    assert named(Ailment.QUEUE_WITHOUT_NODE, await of(connection, backlog, HOME, None)).facts == {"queue": "lonely"}


async def test_nodes_of_which_none_leads(connection: AsyncConnection, table: Table) -> None:
    found = named(Ailment.NO_LEADER, await of(connection, leadership, HOME, "Oban", Thresholds()))
    assert found.verdict is Verdict.NOTE  # no node runs
    await add_node(table, "follower", """{"ttl": 600}""", started=HOUR_AGO)
    found = named(Ailment.NO_LEADER, await of(connection, leadership, HOME, "Oban", Thresholds()))
    assert found.verdict is Verdict.PROBLEM


async def test_a_lease_that_does_not_end(connection: AsyncConnection, table: Table) -> None:
    await table.scalar(
        "INSERT INTO oban_peers VALUES ('Oban', 'n', '2026-01-01', timezone('UTC', now()) + interval '1 year') "
        "RETURNING 1"
    )
    found = named(Ailment.STUCK_LEADER, await of(connection, leadership, HOME, "Oban", Thresholds()))
    assert found.facts["node"] == "n"


async def test_jobs_that_nobody_rescued(connection: AsyncConnection, table: Table) -> None:
    job = await table.add_executing()
    found = named(Ailment.NOT_RESCUED, await of(connection, leadership, HOME, "Oban", Thresholds()))
    assert found.facts == {"jobs": 1, "first": job}


async def test_jobs_that_are_due_and_not_made_available(connection: AsyncConnection, table: Table) -> None:
    await table.add(state="'retryable'", scheduled_at=HOUR_AGO)
    assert named(Ailment.NOT_STAGED, await of(connection, leadership, HOME, "Oban", Thresholds())).facts["jobs"] == 1


async def test_a_server_that_cannot_be_reached(database_url: URL) -> None:
    engine = create_async_engine("postgresql+asyncpg://nobody:secret@127.0.0.1:1/none")
    (found,) = await diagnosed(SqlaOban(engine))
    assert found.ailment is Ailment.UNREACHABLE
    assert "secret" not in found.message


async def test_tables_that_are_not_there(engine: AsyncEngine) -> None:
    found = await diagnosed(SqlaOban(engine, schema="nowhere"))
    assert named(Ailment.SCHEMA, found).message == "there is no schema nowhere"


async def test_a_part_that_is_missing(engine: AsyncEngine, connection: AsyncConnection) -> None:
    async with engine.connect() as other:
        write = await other.execution_options(isolation_level="AUTOCOMMIT")
        await write.execute(text("ALTER TABLE oban_jobs DISABLE TRIGGER oban_jobs_wake"))
        try:
            found = await diagnosed(SqlaOban(engine))
        finally:
            await write.execute(text("ALTER TABLE oban_jobs ENABLE TRIGGER oban_jobs_wake"))
    assert "oban_jobs_wake on oban_jobs is disabled" in named(Ailment.SCHEMA, found).message


async def test_a_server_that_takes_no_writes(engine: AsyncEngine) -> None:
    options = {"server_settings": {"default_transaction_read_only": "on"}}
    reading = create_async_engine(engine.url, connect_args=options)
    found = await diagnosed(SqlaOban(reading))
    await reading.dispose()
    assert "read-only by default" in named(Ailment.SERVER, found).message


async def test_a_question_that_cannot_be_asked_is_a_finding_and_ends_nothing(engine: AsyncEngine) -> None:
    def broken(connection: Any) -> Iterable[Finding]:
        connection.execute(text("SELECT * FROM nowhere"))
        return []

    (found,) = await asked(engine, broken)
    assert found.ailment is Ailment.UNANSWERED
    assert 'relation "nowhere" does not exist' in found.message


def test_thresholds_are_plain_data() -> None:
    assert replace(Thresholds(), horizon=1.0).horizon == 1.0


async def add_node(
    table: Table,
    node: str,
    meta: str,
    *,
    beaten: str = "timezone('UTC', now())",
    started: str = "timezone('UTC', now())",
) -> None:
    await table.scalar(
        "INSERT INTO oban_producers (uuid, name, node, queue, meta, started_at, updated_at) VALUES "
        f"(gen_random_uuid(), 'Oban', '{node}', 'default', '{meta}', {started}, {beaten}) RETURNING uuid"
    )
