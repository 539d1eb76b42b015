"""What is rolled back has never been there: no job, and no wake-up."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL, Engine, create_engine, select, text
from sqlalchemy.orm import Session

from sqla_oban import Job, insert_all
from tests.shop import noop

TIMES = 1_000


@pytest.fixture
def sync_engine(engine: Any, database_url: URL) -> Iterator[Engine]:
    """With a producer of another library, which the trigger always rings."""
    sync_engine = create_engine(database_url.set(drivername="postgresql+psycopg"))
    with sync_engine.begin() as connection:
        connection.execute(
            text("INSERT INTO oban_producers (uuid, node, queue) VALUES (gen_random_uuid(), 'foreign', 'default')")
        )
    yield sync_engine
    sync_engine.dispose()


@pytest.fixture
def heard(database_url: URL) -> Iterator[Callable[[], int]]:
    """How many wake-ups came since; asked after one that surely was sent."""
    address = database_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True) as listener:
        listener.execute('LISTEN "public.oban_insert"')

        def count() -> int:
            listener.execute("NOTIFY \"public.oban_insert\", 'last'")
            payloads: list[str] = []
            for notice in listener.notifies():
                if notice.payload == "last":
                    break
                payloads.append(notice.payload)
            return len(payloads)

        yield count


def rolled_back(session: Session) -> None:
    session.add(noop.new())
    session.flush()
    session.rollback()


def rolled_back_to_a_savepoint(session: Session) -> None:
    with session.begin_nested() as savepoint:
        session.add(noop.new())
        insert_all(session, [noop.new()])
        session.flush()
        savepoint.rollback()
    session.commit()


def never_flushed(session: Session) -> None:
    session.add(noop.new())
    session.rollback()


def rolled_back_by_an_error(session: Session) -> None:
    insert_all(session, [noop.new()])
    with pytest.raises(Exception, match="division by zero"):
        session.execute(text("SELECT 1 / 0"))
    session.rollback()


@pytest.mark.parametrize(
    "way",
    [rolled_back, rolled_back_to_a_savepoint, never_flushed, rolled_back_by_an_error],
    ids=lambda way: way.__name__,
)
def test_a_thousand_rollbacks_leave_neither_a_job_nor_a_wake_up(
    sync_engine: Engine, heard: Callable[[], int], way: Callable[[Session], None]
) -> None:
    with Session(sync_engine) as session:
        for _ in range(TIMES):
            way(session)
        assert (session.scalars(select(Job.id)).all(), heard()) == ([], 0)
        session.add(noop.new())
        session.commit()
        assert (len(session.scalars(select(Job.id)).all()), heard()) == (1, 1)  # what commits is seen and heard


@pytest.mark.parametrize("prepared", [False, True])
def test_a_thousand_two_phase_transactions_that_are_rolled_back_leave_nothing(
    sync_engine: Engine, heard: Callable[[], int], prepared: bool
) -> None:
    with Session(sync_engine, twophase=True) as session:
        for _ in range(TIMES):
            session.execute(text("SET LOCAL sqla_oban.notify = 'off'"))
            session.add(noop.new())
            session.flush()
            if prepared:
                session.prepare()
            session.rollback()
        assert (session.scalars(select(Job.id)).all(), heard()) == ([], 0)
        session.rollback()
        session.execute(text("SET LOCAL sqla_oban.notify = 'off'"))
        session.add(noop.new())
        session.commit()
        assert (len(session.scalars(select(Job.id)).all()), heard()) == (1, 0)
        session.rollback()
