"""Tables that other Oban libraries made."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.orm import Session

from sqla_oban import Job, worker
from sqla_oban.errors import SchemaMismatch
from sqla_oban.migrations import current_version, downgrade, downgrade_script, migrate, script
from sqla_oban.migrations.v01 import INDEXES
from sqla_oban.testing import drain
from tests.migrations.database import begun
from tests.migrations.foreign import FOREIGN, TAGS, everything_in, made_by_elixir

every_library = pytest.mark.parametrize("library", FOREIGN)

COMMENT = text("SELECT obj_description('oban_jobs'::regclass, 'pg_class')".replace(":", r"\:"))
INDEX_NAMES = text("SELECT indexname FROM pg_indexes WHERE tablename = 'oban_jobs'")


def run_script(connection: Connection, statements: Iterator[str]) -> None:
    for statement in statements:
        connection.execute(text(statement.replace(":", r"\:")))


def by_call(connection: Connection) -> tuple[Callable[[], None], Callable[[], None]]:
    return lambda: migrate(connection), lambda: downgrade(connection)


def by_script(connection: Connection) -> tuple[Callable[[], None], Callable[[], None]]:
    return lambda: run_script(connection, script()), lambda: run_script(connection, downgrade_script(start=1))


@every_library
@pytest.mark.parametrize("way", [by_call, by_script])
def test_every_row_is_kept_and_the_downgrade_gives_the_table_back(url: URL, library: str, way: Any) -> None:
    with begun(url) as connection:
        FOREIGN[library](connection)
        connection.execute(text("COMMENT ON CONSTRAINT oban_jobs_pkey ON oban_jobs IS 'it''s ours'"))
        before, comment = everything_in(connection), connection.scalar(COMMENT)
        up, down = way(connection)
        up()
        assert current_version(connection) == 1
        assert connection.scalar(COMMENT) == comment
        assert {index.name for index in INDEXES} < set(connection.scalars(INDEX_NAMES))
        assert connection.scalars(text("SELECT tags FROM oban_jobs ORDER BY id")).all() == [
            TAGS.get(library, ["a", "b c"]),
            [],
        ]
        up()
        down()
        if library == "elixir":  # whose odd NULLs are all that is not given back
            connection.execute(text("UPDATE oban_jobs SET meta = NULL, tags = NULL WHERE worker = 'App.Other'"))
        assert everything_in(connection) == before
        down()
        assert everything_in(connection) == before


@every_library
def test_what_is_inserted_meanwhile_stays_and_wakes(url: URL, library: str) -> None:
    with begun(url) as connection:
        FOREIGN[library](connection)
        migrate(connection)
        with Session(connection) as session:
            job = Job(worker="ours", args={"n": 1}, tags=["x"])
            session.add(job)
            session.flush()
            session.refresh(job)
            assert (job.tags, job.errors, job.attempted_by, job.meta) == (["x"], [], [], {})
            first = session.scalars(text("SELECT min(id) FROM oban_jobs")).one()
            theirs = session.get_one(Job, first)
            assert theirs.tags == TAGS.get(library, ["a", "b c"])
            assert [error["error"] for error in theirs.errors] == (["e"] if library == "elixir" else [])
        assert connection.scalar(text("SELECT count(*) FROM pg_trigger WHERE tgname = 'oban_jobs_wake'")) == 1
        downgrade(connection)
        assert connection.scalar(text("SELECT count(*) FROM oban_jobs")) == 3


def test_the_version_of_oban_for_elixir_is_the_only_comment_it_can_find(url: URL) -> None:
    """It looks by the table's oid only, and takes two rows for none."""
    with begun(url) as connection:
        made_by_elixir(connection)
        migrate(connection)
        question = "SELECT description FROM pg_description WHERE objoid = (SELECT oid FROM pg_class WHERE relname = "
        assert connection.scalars(text(f"{question}'oban_jobs')")).all() == ["14"]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("ALTER TABLE oban_jobs DROP COLUMN meta", "oban_jobs has no column meta"),
        ("ALTER TABLE oban_peers DROP COLUMN node", "oban_peers has no column node"),
        ("ALTER TABLE oban_jobs RENAME CONSTRAINT oban_jobs_pkey TO other", "no primary key oban_jobs_pkey"),
        ("ALTER TYPE oban_job_state RENAME VALUE 'suspended' TO 'gone'", "does not know the state suspended"),
        ("CREATE TABLE oban_crons (name text)", "a table oban_crons that no marker of sqla_oban explains"),
    ],
)
def test_what_cannot_be_adopted_is_left_alone_with_a_sentence(url: URL, damage: str, complaint: str) -> None:
    with begun(url) as connection:
        made_by_elixir(connection)
        connection.execute(text(damage))
        before = everything_in(connection)
        with pytest.raises(SchemaMismatch, match=complaint) as refusal:
            migrate(connection)
        assert "run that library's own migrations first" in str(refusal.value)
        assert everything_in(connection) == before
        with pytest.raises(Exception, match=complaint), connection.begin_nested():
            run_script(connection, script())
        assert everything_in(connection) == before


def test_options_that_somebody_set_on_the_table_stay(url: URL) -> None:
    with begun(url) as connection:
        made_by_elixir(connection)
        connection.execute(text("ALTER TABLE oban_jobs SET (fillfactor = 70, parallel_workers = 1)"))
        migrate(connection)
        options = connection.scalar(text("SELECT reloptions FROM pg_class WHERE relname = 'oban_jobs'"))
        assert {"fillfactor=70", "parallel_workers=1", "autovacuum_vacuum_threshold=50"} <= set(options)
        downgrade(connection)
        options = connection.scalar(text("SELECT reloptions FROM pg_class WHERE relname = 'oban_jobs'"))
        assert options == ["fillfactor=70", "parallel_workers=1"]


@worker(name="App.Mailer")
class Mailer:
    def process(self, job: Job) -> None:
        assert [error["error"] for error in job.errors] == ["e"]
        raise ValueError(job.meta["n"])


def test_a_job_of_oban_for_elixir_runs_and_its_errors_stay_what_elixir_reads(url: URL) -> None:
    with begun(url) as connection:
        made_by_elixir(connection)
        migrate(connection)
        with Session(connection) as session:
            drained = drain(session, safely=True)
            session.flush()
        assert drained.retryable == 2  # the other names a worker of Elixir's
        errors = connection.scalars(
            text("SELECT error ->> 'error' FROM oban_jobs, unnest(errors) error WHERE worker = 'App.Mailer'")
        ).all()
        assert errors[0] == "e"
        assert "ValueError: 1" in errors[1]
        assert len(errors) == 2


def test_rows_are_kept_from_writers_for_no_longer_than_the_transaction(url: URL) -> None:
    """Where the caller can leave its transaction, indexes are built outside of it, and the marker comes after them."""
    engine = create_engine(url.set(drivername="postgresql+psycopg"))
    left: list[bool] = []

    with engine.connect() as connection:

        @contextmanager
        def outside() -> Iterator[None]:
            connection.commit()
            with begun(url) as other:
                other.execute(text("INSERT INTO oban_jobs (worker) VALUES ('meanwhile')"))
                left.append(current_version(other) == 0)
            connection.execution_options(isolation_level="AUTOCOMMIT")
            yield
            connection.commit()
            connection.execution_options(isolation_level="READ COMMITTED")

        made_by_elixir(connection)
        migrate(connection, outside=outside)
        connection.commit()
        migrate(connection, schema="fresh", outside=outside)
        assert left == [True], "a table without rows is made in one transaction"
        assert current_version(connection) == 1
    with begun(url) as connection:
        migrate(connection)  # nobody builds any longer
    engine.dispose()
