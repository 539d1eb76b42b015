from collections.abc import Callable

import pytest
from sqlalchemy import URL, create_engine, text

from sqla_oban.migrations import current_version, required_version
from tests.cli.command import run
from tests.cli.conftest import Contents

NEWEST = required_version()


@pytest.mark.parametrize("driver", ["postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg"])
def test_makes_the_tables_and_says_from_where_to_where(driver: str, empty_database: URL) -> None:
    done = run("migrate", "--url", address(empty_database, driver))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"The sqla_oban tables in schema public were at version 0 and are at version {NEWEST}.\n"
    assert version_in(empty_database) == NEWEST


def test_leaves_tables_that_are_up_to_date_alone(url: str, contents: Callable[[], Contents]) -> None:
    run("migrate", "--url", url)
    before = contents()
    done = run("migrate", "--url", url)
    assert done.returncode == 0
    assert f"were at version {NEWEST} and are at version {NEWEST}" in done.stdout
    assert contents() == before


def test_makes_the_schema_that_is_named(url: str, empty_database: URL) -> None:
    done = run("migrate", "--url", url, "--schema", "Shop jobs")
    assert done.returncode == 0
    assert "in schema Shop jobs were at version 0" in done.stdout
    assert version_in(empty_database, "Shop jobs") == NEWEST
    assert version_in(empty_database) == 0


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("nonsense", "--url is no database URL"),
        ("postgresql://localhost:many/shop", "--url is no database URL"),
        ("mysql://localhost/shop", "sqla_oban needs PostgreSQL, --url names mysql"),
        ("postgresql+psycopg2://localhost/shop", "--url names the driver psycopg2; take asyncpg or psycopg"),
        ("postgresql://127.0.0.1:1/shop", "cannot connect to postgresql+asyncpg://127.0.0.1:1/shop: "),
        ("postgresql+psycopg://127.0.0.1:1/shop", "cannot connect to postgresql+psycopg://127.0.0.1:1/shop: "),
        ("postgresql://127.0.0.1:1/shop?nonsense=1", "nonsense"),
        ("postgresql://127.0.0.1:1/shop?sslmode=prefer", "?ssl=prefer: "),
    ],
)
def test_a_wrong_url_is_one_sentence(wrong: str, why: str) -> None:
    complaint = refused("migrate", "--url", wrong)
    assert why in complaint


def test_a_database_that_does_not_exist_is_one_sentence(empty_database: URL) -> None:
    for driver in ("postgresql+asyncpg", "postgresql+psycopg"):
        complaint = refused("migrate", "--url", address(empty_database.set(database="nowhere"), driver))
        assert 'database "nowhere" does not exist' in complaint


def test_a_password_is_not_shown() -> None:
    complaint = refused("migrate", "--url", "postgresql://me:secret@127.0.0.1:1/shop")
    assert "me:***@" in complaint
    assert "secret" not in complaint


def test_a_refusal_of_the_database_is_one_sentence_and_leaves_nothing_half_done(
    url: str, empty_database: URL, contents: Callable[[], Contents]
) -> None:
    execute(empty_database, "CREATE TABLE oban_peers (mine text)")
    before = contents()
    complaint = refused("migrate", "--url", url)
    assert 'relation "oban_peers" already exists' in complaint
    assert contents() == before


def test_tables_from_the_future_are_refused(url: str, empty_database: URL) -> None:
    run("migrate", "--url", url)
    execute(empty_database, "COMMENT ON CONSTRAINT oban_jobs_pkey ON oban_jobs IS 'sqla_oban\\:99'")
    complaint = refused("migrate", "--url", url)
    assert "pip install --upgrade sqla-oban" in complaint


def test_a_url_is_required() -> None:
    done = run("migrate")
    assert done.returncode == 2
    assert "Missing option '--url'" in done.stderr


def refused(*arguments: str) -> str:
    """What a command says that fails as it should: one line, and nothing of Python's."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def address(url: URL, driver: str) -> str:
    return url.set(drivername=driver).render_as_string(hide_password=False)


def version_in(url: URL, schema: str | None = None) -> int:
    engine = create_engine(url.set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        version = current_version(connection, schema=schema)
    engine.dispose()
    return version


def execute(url: URL, statement: str) -> None:
    engine = create_engine(url.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()
