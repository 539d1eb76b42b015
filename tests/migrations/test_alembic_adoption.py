"""Hosts whose database holds the tables of another Oban library, by the real command line of alembic."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import IntegrityError

from sqla_oban.migrations.statements import BEGIN_BUILDING
from sqla_oban.migrations.v01 import INDEXES
from tests.migrations.database import begun
from tests.migrations.foreign import FOREIGN, everything_in, made_by_elixir
from tests.migrations.host import MODELS, STRICT, Host, version

IN_THE_WAY = "CREATE TABLE oban_jobs_cancel_index (id int)"
"""An index of ours cannot be built, for a table has its name."""

READY = text(
    "SELECT relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid "
    "WHERE indisvalid AND indrelid = to_regclass('oban_jobs') AND relname = ANY(:names)"
)


@pytest.fixture(params=["psycopg", "asyncpg"])
def host(tmp_path: Path, url: URL, request: pytest.FixtureRequest) -> Host:
    return Host(tmp_path, url, request.param)


def make(url: URL, library: str = "elixir") -> list[Any]:
    with begun(url) as connection:
        FOREIGN[library](connection)
        return everything_in(connection)


def ready(url: URL) -> set[str]:
    """The indexes of ours that can be used."""
    with begun(url) as connection:
        return set(connection.scalars(READY, {"names": [index.name for index in INDEXES]}))


def leave_half_an_index(url: URL) -> None:
    """As a build leaves it that did not get to its end: unique, which the rows are not."""
    engine = create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(text("CREATE UNIQUE INDEX CONCURRENTLY oban_jobs_claim_index ON oban_jobs (queue)"))
    engine.dispose()
    assert "oban_jobs_claim_index" not in ready(url)


def forget_alembic(url: URL) -> None:
    with begun(url) as connection:
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))


@pytest.mark.parametrize("library", ["elixir", "oban.py 0.5", "oban.py 0.7"])
def test_autogenerate_adopts_and_proposes_to_drop_nothing_of_the_other_library(
    tmp_path: Path, url: URL, library: str
) -> None:
    host = Host(tmp_path, url, "psycopg")
    before = make(url, library)
    written = host.revise("first")
    assert "op.oban_upgrade(1, from_version=0)" in written
    up = written.split("def downgrade")[0]
    assert [line.split("(")[0].strip() for line in up.splitlines() if "op." in line] == [
        *("op.oban_upgrade", "op.create_table"),
    ]
    assert "oban_leaders" not in written
    host.run("upgrade", "head")
    assert "No new upgrade operations detected" in host.run("check")
    assert len(ready(url)) == len(INDEXES)
    host.run("downgrade", "base")
    forget_alembic(url)
    with begun(url) as connection:
        if library == "elixir":
            connection.execute(text("UPDATE oban_jobs SET meta = NULL, tags = NULL WHERE worker = 'App.Other'"))
        assert everything_in(connection) == before


def test_indexes_on_rows_are_built_outside_of_the_transaction_and_resumed_after_a_failure(host: Host, url: URL) -> None:
    make(url)
    host.write("own", up="op.oban_upgrade(1, from_version=0)", down="op.oban_downgrade(0, from_version=1)")
    with begun(url) as connection:
        connection.execute(text(IN_THE_WAY))
    failed = host.alembic("upgrade", "head")
    assert "could not be made, see what else has their name: oban_jobs_cancel_index" in failed.stderr
    assert (version(url), "oban_jobs_claim_index" in ready(url)) == (0, True), "what was built before stays"

    with begun(url) as connection:
        connection.execute(text("DROP INDEX oban_jobs_claim_index"))
        connection.execute(text("DROP TABLE oban_jobs_cancel_index"))
    leave_half_an_index(url)
    host.run("upgrade", "head")
    assert (version(url), len(ready(url))) == (1, len(INDEXES))
    host.run("downgrade", "base")
    assert ready(url) == set(), "those that the first attempt made are taken back as well"


def test_a_transaction_that_env_py_began_is_a_clear_error(host: Host, url: URL) -> None:
    make(url)
    host.configure(STRICT, before="connection.begin()")
    host.write("own", up="op.oban_upgrade(1, from_version=0)")
    assert "a transaction that env.py began: let `with context.begin_transaction()`" in host.refused("upgrade", "head")
    assert version(url) == 0
    host.write("own", up="op.oban_upgrade(1, from_version=0, concurrently=False)")
    host.run("upgrade", "head")
    assert version(url) == 1


def test_a_second_deployment_is_told_that_the_first_builds(host: Host, url: URL) -> None:
    make(url)
    host.write("own", up="op.oban_upgrade(1, from_version=0)")
    engine = create_engine(url.set(drivername="postgresql+psycopg"))
    with engine.connect() as first:
        first.execute(text(BEGIN_BUILDING))
        first.commit()
        assert "another deployment builds indexes" in host.refused("upgrade", "head")
    engine.dispose()
    host.run("upgrade", "head")


@pytest.mark.parametrize("concurrently", [False, True])
def test_a_script_adopts_as_well(tmp_path: Path, url: URL, concurrently: bool) -> None:
    host = Host(tmp_path, url, "psycopg")
    before = make(url)
    option = ", concurrently=True" if concurrently else ""
    host.write("own", up=f"op.oban_upgrade(1, from_version=0{option})", down="op.oban_downgrade(0, from_version=1)")
    up, down = host.run("upgrade", "head", "--sql"), host.run("downgrade", "own:base", "--sql")
    assert ("CREATE INDEX CONCURRENTLY" in up) is concurrently
    host.execute(up)
    assert version(url) == 1
    assert len(ready(url)) == len(INDEXES)
    host.execute(down)
    forget_alembic(url)
    with begun(url) as connection:
        connection.execute(text("UPDATE oban_jobs SET meta = NULL, tags = NULL WHERE worker = 'App.Other'"))
        assert everything_in(connection) == before


def test_tables_that_cannot_be_adopted_are_an_error_of_alembic(host: Host, url: URL) -> None:
    with begun(url) as connection:
        made_by_elixir(connection)
        connection.execute(text("ALTER TABLE oban_jobs DROP COLUMN cancelled_at"))
    host.declare(MODELS)
    host.revise("first")
    said = host.refused("upgrade", "head")
    assert "FAILED: the tables in schema public cannot be adopted: oban_jobs has no column cancelled_at" in said
