"""Chains, as enqueueing, steering and upkeep meet them."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import URL, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_oban import Cancel, Chain, Job, JobState, Snooze, SqlaOban, insert_all, job
from sqla_oban.errors import DeclarationError, InvalidJob
from sqla_oban.queries.chains import mend_chains
from sqla_oban.queries.prune import prune
from sqla_oban.telemetry.events import JobFinished
from sqla_oban.testing import drain
from tests.enqueue.conftest import Run, every_session
from tests.support import Recorder, enqueue, eventually, fast_settings, jobs

ran: list[tuple[int, int]] = []


class Base(DeclarativeBase): ...


class Account(Base):
    __tablename__ = "chained_accounts"
    id: Mapped[int] = mapped_column(primary_key=True)


@job(name="chains.book", chain="account", max_attempts=2, backoff=lambda _: 0)
async def book(account: int, number: int, how: str = "well") -> Any:
    ran.append((account, number))
    match how:
        case "badly" | "once" if how == "badly" or ran.count((account, number)) == 1:
            raise ValueError(how)
        case "snooze" if ran.count((account, number)) == 1:
            return Snooze(0)
        case "cancel":
            return Cancel("no")
    return None


@job(name="chains.close", chain="account")
def close(account: Account) -> None: ...


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


async def states(engine: AsyncEngine) -> list[str]:
    return [one.state.value for one in await jobs(engine)]


async def run(engine: AsyncEngine, sql: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(sql))


@every_session
async def test_the_first_of_each_chain_has_the_turn(run: Run[None]) -> None:
    def check(session: Session) -> None:
        new = [book.new(1, 1), book.new(2, 1), book.new(1, 2), book.with_options(schedule_in=60).new(1, 3)]
        session.add_all(new)
        session.flush()
        assert [one.state for one in new] == ["available", "available", "suspended", "suspended"]
        more = insert_all(session, [book.new(2, 2), book.new(3, 1), book.with_options(chain=None).new(2, 3)])
        assert [one.state for one in more] == ["suspended", "available", "available"]
        assert insert_all(session.connection(), [book.new(3, 2)])[0].state == "suspended"

    await run(check)


async def test_a_chain_is_of_a_worker_and_the_values_of_its_arguments() -> None:
    assert book.new(1, 1).chain_key == book.with_options(queue="other").new(1, 2).chain_key
    assert book.new(1, 1).chain_key != book.new(2, 1).chain_key
    assert book.new(1, 1).chain_key != Job(worker="other", args={"account": 1}, chain="account").chain_key
    both = book.with_options(chain=("account", "number"))
    assert both.new(1, 1).chain_key == book.with_options(chain=("number", "account")).new(1, 1).chain_key
    assert both.new(1, 1).chain_key != both.new(1, 2).chain_key


@pytest.mark.parametrize("chain", ["", (), 5, ("account", 5), [""]])
def test_what_is_no_chain_is_refused(chain: Any) -> None:
    with pytest.raises(InvalidJob, match="name of an argument"):
        book.with_options(chain=chain)


def test_what_no_job_has_is_refused() -> None:
    with pytest.raises(DeclarationError, match="no such parameter"):
        book.with_options(chain="acount")
    with pytest.raises(InvalidJob, match="pass it"):
        Job(worker="w", args={}, chain="account")
    with pytest.raises(InvalidJob, match="on_discard"):
        Chain("account", on_discard="stop")


async def test_a_chain_by_an_entity_that_the_same_flush_inserts(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(connection) as session:
            account = Account()
            new = [close.new(account), close.new(account)]
            session.add_all([*new, account])
            await session.flush()
            keys = [one.chain_key for one in new]
            assert keys[0] == keys[1]
            assert keys[0] is not None
            assert sorted(one.state.value for one in new) == ["available", "suspended"]
        await connection.rollback()


async def test_jobs_run_in_their_order_whatever_becomes_of_them(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    hows = ["once", "snooze", "cancel", "well", "badly"]
    wanted = [book.new(account, number, how) for number, how in enumerate(hows) for account in range(3)]
    await start(queues={"default": 10})
    async with AsyncSession(engine) as session, session.begin():
        await insert_all(session, wanted)
    await events.wait_for(JobFinished, state=JobState.DISCARDED, count=3)
    for account in range(3):
        assert [number for one, number in ran if one == account] == [0, 0, 1, 1, 2, 3, 4, 4]


async def test_drain_runs_a_chain_within_the_transaction(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add_all([book.new(1, 2), book.new(1, 1), book.new(2, 1)])
        assert (await drain(session)).completed == 3
    assert [one for one in ran if one[0] == 1] == [(1, 2), (1, 1)]


async def test_a_discarded_job_holds_its_chain_until_it_is_retried(engine: AsyncEngine) -> None:
    (first, *_) = await enqueue(engine, book.with_options(max_attempts=1).new(1, 1, "once"), book.new(1, 2))
    async with AsyncSession(engine) as session, session.begin():
        assert (await drain(session, safely=True)).discarded == 1
    assert await states(engine) == ["discarded", "suspended"]
    await enqueue(engine, book.new(1, 3))
    async with AsyncSession(engine) as session, session.begin():
        assert (await session.scalars(prune(JobState.DISCARDED), {"ids": [first]})).all() == []
        assert await SqlaOban(engine).jobs.retry(first, session=session) == 1
        assert (await drain(session)).completed == 3
    assert ran == [(1, 1), (1, 1), (1, 2), (1, 3)]


async def test_a_chain_goes_on_when_what_holds_it_is_deleted(engine: AsyncEngine) -> None:
    (first, _) = await enqueue(engine, book.new(1, 1), book.new(1, 2))
    await run(engine, f"UPDATE oban_jobs SET state = 'discarded' WHERE id = {first}")
    assert await states(engine) == ["discarded", "suspended"]
    assert await SqlaOban(engine).jobs.delete(first) == 1
    assert await states(engine) == ["available"]


async def test_a_chain_that_continues_does_not_wait_for_what_was_discarded(engine: AsyncEngine) -> None:
    on = book.with_options(chain=Chain("account", on_discard="continue"), max_attempts=1)
    await enqueue(engine, on.new(1, 1, "badly"), on.new(1, 2))
    async with AsyncSession(engine) as session, session.begin():
        assert (await drain(session, safely=True)).discarded == 1
    assert ran == [(1, 1), (1, 2)]


@pytest.mark.parametrize("state", ["completed", "cancelled"])
async def test_whoever_ends_a_job_the_next_has_the_turn(engine: AsyncEngine, state: str) -> None:
    await enqueue(engine, book.new(1, 1), book.new(1, 2), book.with_options(schedule_in=60).new(1, 3))
    await run(engine, f"UPDATE oban_jobs SET state = '{state}' WHERE id = 1")
    assert await states(engine) == [state, "available", "suspended"]
    await run(engine, f"UPDATE oban_jobs SET state = '{state}' WHERE id = 2")
    assert await states(engine) == [state, state, "scheduled"]


async def test_several_that_are_cancelled_by_one_statement_are_passed_over(engine: AsyncEngine) -> None:
    await enqueue(engine, *(book.new(1, number) for number in range(4)))
    assert await SqlaOban(engine).jobs.cancel([1, 2, 3]) == 3
    assert await states(engine) == ["cancelled", "cancelled", "cancelled", "available"]


async def test_what_is_retried_while_another_has_the_turn_waits_for_it(engine: AsyncEngine) -> None:
    await enqueue(engine, *(book.new(1, number) for number in range(3)))
    await run(engine, "UPDATE oban_jobs SET state = 'completed' WHERE id = 1")
    assert await SqlaOban(engine).jobs.retry([1, 3]) == 2
    assert await states(engine) == ["suspended", "available", "suspended"]
    await run(engine, "UPDATE oban_jobs SET state = 'completed' WHERE id = 2")
    assert await states(engine) == ["available", "completed", "suspended"]


async def test_what_is_suspended_for_another_reason_comes_in_when_it_is_released(engine: AsyncEngine) -> None:
    late = book.new(1, 1)
    late.state = JobState.SUSPENDED
    await enqueue(engine, late, book.new(1, 2))
    assert await states(engine) == ["suspended", "available"]
    await run(engine, "UPDATE oban_jobs SET state = 'completed' WHERE id = 2")
    assert await states(engine) == ["suspended", "completed"]
    await run(engine, "UPDATE oban_jobs SET state = 'available' WHERE id = 1")
    assert await states(engine) == ["available", "completed"]


async def test_an_outcome_passes_over_a_row_behind_which_somebody_enqueues(engine: AsyncEngine) -> None:
    """Else the one who ends it would not see the other, and nobody would release him."""
    await enqueue(engine, book.new(1, 1))
    async with AsyncSession(engine) as session, session.begin():
        session.add(book.new(1, 2))
        await session.flush()
        async with engine.connect() as other:
            passed = await other.execute(select(Job.id).with_for_update(skip_locked=True))
            assert passed.all() == []


async def test_who_enqueues_behind_a_row_that_is_being_ended_waits_for_that(
    engine: AsyncEngine, database_url: URL
) -> None:
    await enqueue(engine, book.new(1, 1))
    impatient = create_async_engine(
        database_url.set(drivername="postgresql+psycopg"), connect_args={"options": "-c lock_timeout=50"}
    )
    async with engine.begin() as ending:
        await ending.execute(text("UPDATE oban_jobs SET state = 'completed'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            await enqueue(impatient, book.new(1, 2))
    await enqueue(impatient, book.new(1, 2))
    assert await states(engine) == ["completed", "available"]
    await impatient.dispose()


async def test_locks_of_several_chains_are_taken_in_one_order(engine: AsyncEngine) -> None:
    """Two that insert into the same chains the other way round do not deadlock."""
    forth, back = ([book.new(account, 1) for account in order] for order in (range(40), range(39, -1, -1)))
    async with AsyncSession(engine) as session, AsyncSession(engine) as other:
        await insert_all(session, forth)
        held = "SELECT classid, objid FROM pg_locks WHERE locktype = 'advisory' AND classid = 1868718447"
        locked = (await session.execute(text(held))).all()
        await session.rollback()
        await insert_all(other, back)
        assert sorted(locked) == sorted((await other.execute(text(held))).all())
        await other.rollback()


async def test_the_turn_waits_a_moment_for_who_has_the_next_job_locked(engine: AsyncEngine) -> None:
    """As `oban.wait` and `oban.jobs.update` do: without that, the turn would come by the leader's sweep."""
    assert await ended_beside(engine, "UPDATE oban_jobs SET priority = 1 WHERE id = {second}") == [
        "completed",
        "available",
        "suspended",
    ]


async def test_the_turn_is_for_who_waits_after_the_moment(engine: AsyncEngine) -> None:
    """What it waited for may be the end of the one whose turn it would have been."""
    assert await ended_beside(engine, "UPDATE oban_jobs SET state = 'cancelled' WHERE id = {second}") == [
        "completed",
        "cancelled",
        "available",
    ]


async def ended_beside(engine: AsyncEngine, statement: str) -> list[str]:
    """The states of a chain of three, the first of which ended while another transaction had the second locked."""
    for account in range(20):  # on a busy machine the moment may be over before it was seen to be waited for
        first, second, _ = await enqueue(engine, *(book.new(account, number) for number in range(3)))
        async with engine.connect() as locker:
            await locker.execute(text(statement.format(second=second)))
            ended = asyncio.create_task(run(engine, f"UPDATE oban_jobs SET state = 'completed' WHERE id = {first}"))
            seen = False
            while not seen and not ended.done():
                seen = await is_waited_for(engine)
            await locker.commit()
        await ended
        found = await states(engine)
        if seen and "available" in found:
            return found
        await run(engine, "DELETE FROM oban_jobs")
    pytest.fail("no end was seen to wait for the lock of the next job")


async def is_waited_for(engine: AsyncEngine) -> bool:
    waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted)"
    async with engine.connect() as observer:
        return bool(await observer.scalar(text(waiting)))


async def test_the_sweep_gives_the_turn_where_nobody_has_it(engine: AsyncEngine) -> None:
    await enqueue(engine, book.new(1, 1), book.new(1, 2), book.new(2, 1), book.new(2, 2))
    async with engine.begin() as locker, engine.begin() as ender:
        await locker.execute(text("SELECT FROM oban_jobs WHERE id = 2 FOR UPDATE"))
        await ender.execute(text("UPDATE oban_jobs SET state = 'completed' WHERE id = 1"))
    assert await states(engine) == ["completed", "suspended", "available", "suspended"]
    async with engine.begin() as connection:
        assert await connection.scalar(mend_chains(None), {"batch": 10}) == 1
        assert await connection.scalar(mend_chains(None), {"batch": 10}) == 0
    assert await states(engine) == ["completed", "available", "available", "suspended"]


async def test_who_enqueues_where_nobody_has_the_turn_does_not_overtake(engine: AsyncEngine) -> None:
    await enqueue(engine, book.new(1, 1), book.new(1, 2))
    async with engine.begin() as locker, engine.begin() as ender:
        await locker.execute(text("SELECT FROM oban_jobs WHERE id = 2 FOR UPDATE"))
        await ender.execute(text("UPDATE oban_jobs SET state = 'completed' WHERE id = 1"))
    await enqueue(engine, book.new(1, 3))
    assert await states(engine) == ["completed", "available", "suspended"]


async def test_jobs_of_the_crontab_are_chained(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    oban = await start(queues={}, **fast_settings() | {"leadership": True})
    await oban.crons.create("hourly", "0 * * * *", book.new(1, 1))
    await run(engine, "UPDATE oban_crons SET missed = 'all', last_tick = last_tick - interval '2 hours'")
    await oban.crons.resume("hourly")

    async def made() -> bool:
        return len(await jobs(engine)) >= 2

    await eventually(made, "the jobs of the ticks")
    turn, *others = sorted(await states(engine))
    assert (turn, set(others)) == ("available", {"suspended"})  # two, and a third if the hour turned meanwhile
