"""Runners behind a real PgBouncer."""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeAlias

import pytest
from sqlalchemy import URL, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from sqla_oban import JobState, SqlaOban, insert_all
from sqla_oban.engine.database import Link
from sqla_oban.engine.notifier import POOLED, Notifier
from sqla_oban.engine.poolers import preparing_nothing
from sqla_oban.errors import ConfigurationError, UnsupportedEngine
from sqla_oban.settings import HeartbeatSettings, NotifierSettings, StagerSettings
from sqla_oban.telemetry.events import JobFinished, JobsClaimed, LeadershipGained, ListenerDown, ListenerUp
from tests import pgbouncer
from tests.shop import noop
from tests.support import Recorder, both_drivers, enqueue, eventually, jobs

SELDOM = StagerSettings(interval=600, deaf_interval=600)
"""Finds nothing by polling within a test's time."""
OFTEN = NotifierSettings(health_interval=0.3)

PATIENT = {"heartbeat": HeartbeatSettings()}
"""Two statements may wait for the one session that there is."""

Through: TypeAlias = Callable[..., AsyncEngine]


@pytest.fixture
async def through(engine: AsyncEngine, driver: str) -> AsyncIterator[Through]:
    """Engines that lead through a PgBouncer of their own: `through(mode="session")`."""
    async with contextlib.AsyncExitStack() as stack:

        def make(arguments: Mapping[str, Any] = preparing_nothing(driver), **options: Any) -> AsyncEngine:
            url = stack.enter_context(pgbouncer.bouncing(engine.url, **options))
            made = create_async_engine(url, connect_args=dict(arguments))
            stack.push_async_callback(made.dispose)
            return made

        yield make


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What this library has warned of."""
    caplog.set_level(logging.WARNING, "sqla_oban")
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("sqla_oban")]


async def all_completed(engine: AsyncEngine, count: int) -> bool:
    return [job.state for job in await jobs(engine)] == [JobState.COMPLETED] * count


@both_drivers
@pytest.mark.parametrize("size", [1, 3])
async def test_without_a_session_of_its_own_a_runner_polls_and_says_once_what_to_do(
    size: int, through: Through, engine: AsyncEngine, start: Any, events: Recorder, warnings: Callable[[], list[str]]
) -> None:
    pooled = through(size=size)
    await start(engine=pooled, queues={"default": 5}, notifier=OFTEN, **PATIENT)
    await start(engine=pooled, queues={"default": 5}, node="another", **PATIENT)
    down = await events.wait_for(ListenerDown, count=2)
    await enqueue(pooled, *(noop.new() for _ in range(50)))
    await eventually(lambda: all_completed(engine, 50), "all jobs to complete")
    await events.wait_for(LeadershipGained)
    assert len(events.of(JobFinished)) == 50
    assert (len(down), events.of(ListenerUp)) == (2, [])
    others = [warning for warning in warnings() if not warning.endswith("listen_url=...)")]
    assert len(warnings()) - len(others) == 2, "one for each runner"
    assert all("is tried again in" in warning for warning in others), "on a busy machine"


@both_drivers
async def test_hearing_itself_by_a_shared_session_does_not_count_as_hearing(
    through: Through, start: Any, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All connections share one session, so that everything it sends itself comes back."""
    tries: list[str | None] = []
    hear_another = Notifier._hear_another

    async def counted(notifier: Notifier) -> str | None:
        tries.append(await hear_another(notifier))
        return tries[-1]

    monkeypatch.setattr(Notifier, "_hear_another", counted)
    await start(engine=through(size=1), queues={"default": 5}, notifier=OFTEN, **PATIENT)
    await eventually(lambda: len(tries) >= 3, "three tries")
    assert set(tries) == {POOLED}
    assert events.of(ListenerUp) == []
    assert len(events.of(ListenerDown)) == 1


@both_drivers
async def test_what_others_get_of_a_shared_session_is_as_it_was(
    through: Through, engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    """Neither settings, nor advisory locks, nor channels are left in it."""
    alter = f'ALTER DATABASE "{engine.url.database}" SET datestyle ='
    async with engine.begin() as connection:
        await connection.execute(text(f"{alter} 'German'"))
    pooled = through(size=3)
    async with contextlib.AsyncExitStack() as stack:
        before = [await left_in(await stack.enter_async_context(pooled.connect())) for _ in range(3)]
    oban = await start(engine=pooled, queues={"default": 5}, notifier=OFTEN, **PATIENT)
    await events.wait_for(ListenerDown)
    await enqueue(pooled, *(noop.new() for _ in range(10)))
    await events.wait_for(JobFinished, count=10)
    await oban.stop()
    async with contextlib.AsyncExitStack() as stack:  # all at once: each holds one of the three sessions
        after = [await left_in(await stack.enter_async_context(pooled.connect())) for _ in range(3)]
    assert len({session for session, *_ in after}) == 3
    async with engine.begin() as connection:
        await connection.execute(text(f"{alter} DEFAULT"))
    assert before[0][1].startswith("German")
    assert [state for _, *state in after] == [state for _, *state in before]


async def left_in(connection: AsyncConnection) -> tuple[Any, ...]:
    question = text(
        "SELECT pg_backend_pid(), current_setting('datestyle'), current_setting('lock_timeout'), "
        "current_setting('idle_session_timeout'), "
        "current_setting('default_transaction_isolation'), current_setting('application_name'), "
        "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), "
        "(SELECT count(*) FROM pg_listening_channels() AS channel WHERE channel LIKE '%oban\\_%' "
        " AND channel NOT LIKE 'sqla\\_oban\\_%')"
    )
    return tuple((await connection.execute(question)).one())


@both_drivers
@pytest.mark.parametrize("written", [str, URL])
async def test_with_a_listen_url_a_job_that_comes_through_the_pooler_wakes_a_sleeping_runner(
    written: type, through: Through, engine: AsyncEngine, start: Any, events: Recorder, warnings: Any
) -> None:
    direct = engine.url.set(drivername="postgresql")
    listen_url = direct if written is URL else direct.render_as_string(hide_password=False)
    pooled = through(size=2)
    await start(engine=pooled, queues={"default": 5}, stager=SELDOM, listen_url=listen_url)
    await events.wait_for(ListenerUp)
    for _ in range(3):
        await eventually(lambda: sleeps(engine), "the runner to fall asleep")
        (id_,) = await enqueue(pooled, noop.new())
        await events.wait_for(JobFinished, id=id_)
    assert warnings() == []
    await eventually(lambda: is_one_pulse(engine), "one pulse, and none of an earlier test")


async def sleeps(engine: AsyncEngine) -> bool:
    held = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    async with engine.connect() as connection:
        return bool(await connection.scalar(text(held)))


async def is_one_pulse(engine: AsyncEngine) -> bool:
    """Whether one session says that it is a pulse, which it does only where nobody else gets it."""
    question = (
        "SELECT count(*) = 1 FROM pg_stat_activity "
        "WHERE application_name = 'sqla_oban pulse' AND datname = current_database()"
    )
    async with engine.connect() as connection:
        return bool(await connection.scalar(text(question)))


@both_drivers
async def test_through_a_pooler_that_lends_whole_sessions_a_runner_hears(
    through: Through, engine: AsyncEngine, start: Any, events: Recorder, warnings: Any
) -> None:
    pooled = through(mode="session", size=20)
    await start(engine=pooled, queues={"default": 5}, stager=SELDOM)
    await events.wait_for(ListenerUp)
    await eventually(lambda: sleeps(engine), "the runner to fall asleep")
    (id_,) = await enqueue(pooled, noop.new())
    await events.wait_for(JobFinished, id=id_)
    assert warnings() == []


@both_drivers
async def test_a_pooler_is_told_from_none(through: Through, engine: AsyncEngine) -> None:
    pooled = through()
    for application, expected in ((engine, False), (pooled, True)):
        link = Link(application, purpose="test", schema=None, timeout=10)
        await link.execute(select(1))
        assert link.pooled is expected
        await link.close()


@both_drivers
async def test_an_application_enqueues_through_it(through: Through) -> None:
    pooled = through(size=2)
    for _ in range(5):
        async with AsyncSession(pooled) as session, session.begin():
            session.add(noop.new())
            await session.flush()
            await insert_all(session, [noop.new() for _ in range(3)])
    assert len(await jobs(pooled)) == 20


MIXED_UP: dict[str, dict[str, Any]] = {"asyncpg": {}, "psycopg": {"prepare_threshold": 0}}


@both_drivers
async def test_prepared_statements_that_the_pooler_mixes_up_are_explained(through: Through, driver: str) -> None:
    pooled = through(MIXED_UP[driver], size=2)
    link = Link(pooled, purpose="test", schema=None, timeout=10)
    process = select(func.pg_backend_pid())
    async with contextlib.AsyncExitStack() as stack:
        ((first,),) = await link.execute(process)
        held = None
        while held != first:  # the session that the statement was prepared in is lent to somebody else
            connection = await stack.enter_async_context(pooled.connect())
            held = await connection.scalar(text("SELECT pg_backend_pid()"))
        with pytest.raises(UnsupportedEngine, match="mixes up the engine's prepared statements"):
            await link.execute(process)
    await link.close()


@both_drivers
async def test_where_the_isolation_cannot_be_chosen_another_default_is_refused(
    through: Through, engine: AsyncEngine
) -> None:
    pooled = through()
    async with engine.begin() as connection:
        alter = f'ALTER DATABASE "{engine.url.database}" SET default_transaction_isolation = '
        await connection.execute(text(f"{alter} 'repeatable read'"))
    try:
        with pytest.raises(ConfigurationError, match="the default is 'repeatable read': ALTER ROLE"):
            await SqlaOban(pooled, queues={"default": 1}).start()
    finally:
        async with engine.begin() as connection:
            await connection.execute(text(f"{alter} DEFAULT"))


async def test_a_listen_url_that_leads_elsewhere_is_refused(engine: AsyncEngine, server_url: URL) -> None:
    oban = SqlaOban(engine, queues={"default": 1}, listen_url=server_url)
    with pytest.raises(ConfigurationError, match="must lead to the engine's own database"):
        await oban.start()


@pytest.mark.skipif(pgbouncer.version() < (1, 21), reason="it keeps prepared statements apart from PgBouncer 1.21 on")
@both_drivers
async def test_a_pooler_that_keeps_prepared_statements_apart_needs_no_setting(
    through: Through, engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    pooled = through({}, size=3, more="max_prepared_statements = 200")
    await start(engine=pooled, queues={"default": 5}, **PATIENT)
    await enqueue(pooled, *(noop.new() for _ in range(50)))
    await eventually(lambda: all_completed(engine, 50), "all jobs to complete")
    assert sum(claim.count for claim in events.of(JobsClaimed)) == 50
