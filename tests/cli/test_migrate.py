import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, create_engine, text

from sqla_oban.migrations import current_version, required_version
from tests.cli.command import refused, run
from tests.cli.conftest import Contents
from tests.migrations.foreign import made_by_elixir

NEWEST = required_version()

ODD = 'It\'s "Odd", \\ :jobs'
"""A schema's name with what means something to SQL, to psql and to SQLAlchemy's text()."""

PARTS = """
    WITH home AS (SELECT oid FROM pg_namespace WHERE nspname = :schema)
    SELECT 'column', attrelid::regclass::text, attname, format_type(atttypid, atttypmod),
           attnotnull || attidentity::text, pg_get_expr(adbin, adrelid)
      FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
      LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE relnamespace = (TABLE home) AND attnum > 0
    UNION ALL SELECT 'relation', relname, relkind::text, relpersistence::text, reloptions::text, ''
      FROM pg_class WHERE relnamespace = (TABLE home)
    UNION ALL SELECT 'index', pg_get_indexdef(indexrelid), '', '', '', ''
      FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relnamespace = (TABLE home)
    UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint'), '', ''
      FROM pg_constraint WHERE connamespace = (TABLE home)
    UNION ALL SELECT 'function', pg_get_functiondef(oid), '', '', '', '' FROM pg_proc WHERE pronamespace = (TABLE home)
    UNION ALL SELECT 'trigger', pg_get_triggerdef(t.oid), '', '', '', ''
      FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE relnamespace = (TABLE home)
    UNION ALL SELECT 'label', typname, enumlabel, enumsortorder::text, '', ''
      FROM pg_enum JOIN pg_type t ON t.oid = enumtypid WHERE typnamespace = (TABLE home)
"""


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


@pytest.mark.parametrize("driver", ["postgresql+asyncpg", "postgresql+psycopg"])
def test_adopts_a_table_with_rows_and_finds_all_well(driver: str, empty_database: URL) -> None:
    engine = create_engine(empty_database.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        made_by_elixir(connection)
    engine.dispose()
    done = run("migrate", "--url", address(empty_database, driver))
    assert (done.returncode, done.stderr) == (0, "")
    assert version_in(empty_database) == NEWEST
    checked = run("check", "--url", address(empty_database, driver))
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout


def test_a_script_leaves_its_transaction_for_indexes_only_where_it_is_told_to() -> None:
    assert "CREATE INDEX CONCURRENTLY" not in run("migrate", "--sql").stdout
    done = run("migrate", "--sql", "--concurrently").stdout
    assert done.index("COMMIT;") < done.index("CREATE INDEX CONCURRENTLY") < done.rindex("BEGIN;")
    done_wrong = run("migrate", "--concurrently", "--url", "postgresql://h/d")
    assert (done_wrong.returncode, "--concurrently goes with --sql" in done_wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("nonsense", "the url is no database URL"),
        ("postgresql://localhost:many/shop", "the url is no database URL"),
        ("mysql://localhost/shop", "sqla_oban needs PostgreSQL, the url names mysql"),
        ("postgresql+psycopg2://localhost/shop", "the url names the driver psycopg2; take asyncpg or psycopg"),
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


def test_a_password_in_the_query_is_not_shown_either() -> None:
    complaint = refused("migrate", "--url", "postgresql+psycopg://me@127.0.0.1:1/shop?password=secret&sslpassword=too")
    assert "password=***" in complaint
    assert "secret" not in complaint
    assert "too" not in complaint


def test_a_refusal_of_the_database_is_one_sentence_and_leaves_nothing_half_done(
    url: str, empty_database: URL, contents: Callable[[], Contents]
) -> None:
    execute(empty_database, "CREATE TABLE oban_peers (mine text)")
    before = contents()
    complaint = refused("migrate", "--url", url)
    assert "cannot be adopted: oban_peers has no column" in complaint
    assert contents() == before


@pytest.mark.parametrize("home", ["public", "jobs"])
def test_a_history_of_alembics_is_to_have_the_tables(
    home: str, url: str, empty_database: URL, contents: Callable[[], Contents]
) -> None:
    """Else autogenerate has nothing to write, and the next database is made without them."""
    execute(empty_database, "CREATE SCHEMA jobs")
    execute(empty_database, f"CREATE TABLE {home}.alembic_version (version_num text)")
    before = contents()
    complaint = refused("migrate", "--url", url, "--schema", "jobs")
    assert "run `alembic revision --autogenerate`, if none has them yet, then `alembic upgrade head`" in complaint
    assert contents() == before

    assert run("migrate", "--url", url, "--schema", "jobs", "--beside-alembic").returncode == 0
    assert version_in(empty_database, "jobs") == NEWEST
    assert run("migrate", "--url", url, "--schema", "jobs").returncode == 0, "there was nothing to do"


def test_tables_from_the_future_are_refused(url: str, empty_database: URL) -> None:
    run("migrate", "--url", url)
    execute(empty_database, "COMMENT ON CONSTRAINT oban_jobs_pkey ON oban_jobs IS 'sqla_oban\\:99'")
    complaint = refused("migrate", "--url", url)
    assert "pip install --upgrade sqla-oban" in complaint


def test_a_url_is_required() -> None:
    done = run("migrate")
    assert done.returncode == 2
    assert "Missing option '--url'" in done.stderr


def test_the_url_of_the_settings_is_used(url: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.sqla_oban]\nurl = "{url}"\nschema = "jobs"\n')
    done = run("migrate", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "in schema jobs were at version 0" in done.stdout


def test_the_url_of_the_environment_comes_before_that_of_the_file(url: str, tmp_path: Path) -> None:
    (tmp_path / "sqla_oban.toml").write_text('url = "postgresql://127.0.0.1:1/shop"\n')
    done = run("migrate", cwd=tmp_path, SQLA_OBAN_URL=url)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_application_has_the_database_and_the_schema_unless_a_url_is_said(url: str, tmp_path: Path) -> None:
    engine = f"create_async_engine({url.replace('postgresql', 'postgresql+asyncpg')!r})"
    app = f"print('hello')\nfrom sqla_oban import SqlaOban\noban = SqlaOban({engine}, schema='jobs')\n"
    (tmp_path / "cli_migrate_app.py").write_text(f"from sqlalchemy.ext.asyncio import create_async_engine\n{app}")
    named = ("migrate", "--app", "cli_migrate_app:oban")
    assert run(*named, "--sql", "--from", "0", cwd=tmp_path).stdout.startswith(
        "-- The sqla_oban tables in schema 'jobs'"
    )
    done = run(*named, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "hello\n")
    assert "in schema jobs were at version 0" in done.stdout
    assert run(*named, "--url", url, cwd=tmp_path).returncode == 2

    (tmp_path / "sqla_oban.toml").write_text('app = "cli_migrate_app:oban"\n')
    assert "in schema public were at version 0" in run("migrate", "--url", url, cwd=tmp_path).stdout


def test_stops_at_the_version_that_was_asked_for(url: str, empty_database: URL) -> None:
    assert run("migrate", "--to", "1", "--url", url).returncode == 0
    assert version_in(empty_database) == 1
    assert "has no version 99 of its tables" in refused("migrate", "--to", "99", "--url", url)


@pytest.mark.parametrize("schema", [None, ODD])
@pytest.mark.parametrize("by", ["psql", "psycopg"])
def test_the_sql_makes_what_migrate_makes(by: str, schema: str | None, url: str, empty_database: URL) -> None:
    named = () if schema is None else ("--schema", schema)
    script = run("migrate", "--sql", *named)
    assert (script.returncode, script.stderr) == (0, "")
    run_script(script.stdout, empty_database, by)
    made = parts_of(empty_database, schema or "public")
    home = "public" if schema is None else quoted(schema)
    execute(empty_database, f"DROP SCHEMA {home} CASCADE")
    if schema is None:
        execute(empty_database, "CREATE SCHEMA public")

    assert run("migrate", "--url", url, *named).returncode == 0

    assert len(made) > 60
    assert parts_of(empty_database, schema or "public") == made


def test_the_sql_is_one_transaction_that_refuses_the_tables_of_others_and_changes_nothing_twice(
    url: str, empty_database: URL, contents: Callable[[], Contents]
) -> None:
    script = run("migrate", "--sql").stdout
    execute(empty_database, "CREATE TABLE oban_peers (mine text)")
    before = contents()
    with pytest.raises(psycopg.errors.RaiseException, match="cannot be adopted"):
        run_script(script, empty_database, "psycopg")
    assert contents() == before

    execute(empty_database, "DROP TABLE oban_peers")
    run("migrate", "--url", url)
    made = contents()
    run_script(script, empty_database, "psycopg")  # as where two branches of a history carry it
    assert contents() == made


def test_the_sql_for_a_database_begins_where_that_is(url: str, contents: Callable[[], Contents]) -> None:
    before = contents()
    assert "from version 0 to version 1" in run("migrate", "--sql", "--url", url).stdout
    assert contents() == before

    run("migrate", "--url", url)
    done = run("migrate", "--sql", "--url", url)
    assert (done.returncode, done.stdout) == (0, "-- The sqla_oban tables are at version 1; version 1 needs nothing.\n")


def test_with_a_start_no_database_is_asked() -> None:
    done = run("migrate", "--sql", "--from", "0", "--url", "postgresql://127.0.0.1:1/shop")
    assert done.returncode == 0
    assert "BEGIN;" in done.stdout
    assert "has no version 7 of its tables" in refused("migrate", "--sql", "--from", "7")


def test_a_start_without_sql_is_a_wrong_usage(url: str) -> None:
    done = run("migrate", "--from", "0", "--url", url)
    assert done.returncode == 2
    assert "--from goes with --sql" in done.stderr


def run_script(script: str, url: URL, by: str) -> None:
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    if by == "psycopg":
        with psycopg.connect(address) as connection:
            connection.execute(script)
        return
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("there is no psql here")
    settings = ("-v", "ON_ERROR_STOP=1", "-v", "jobs=no", "-X", "-d", address)
    done = subprocess.run([psql, *settings], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def parts_of(url: URL, schema: str) -> set[tuple[str, ...]]:
    """Everything there is in a schema, as PostgreSQL describes it, but for the objects' numbers."""
    engine = create_engine(url.set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        rows = connection.execute(text(PARTS), {"schema": schema}).all()
    engine.dispose()
    return {tuple(map(str, row)) for row in rows}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""').replace(":", r"\:") + '"'


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
