"""The models and the migrations say the same."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from sqla_oban import JobState, metadata
from sqla_oban.alembic_env import autogenerate

COLUMNS = """
    SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
           pg_get_expr(adbin, adrelid)
      FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r')
       AND attnum > 0 ORDER BY 1, 2
"""
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
      FROM pg_constraint WHERE connamespace = current_schema()::regnamespace AND contype <> 't' ORDER BY 1, 2
"""
INDEXES = """
    SELECT indexname, replace(indexdef, current_schema() || '.', '')
      FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1
"""
LABELS = """
    SELECT typname, enumlabel FROM pg_enum JOIN pg_type t ON t.oid = enumtypid
     WHERE typnamespace = current_schema()::regnamespace ORDER BY enumsortorder
"""
PERSISTENCE = """
    SELECT relname, relpersistence::text FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' ORDER BY 1
"""


@pytest.fixture(autouse=True)
def alembic_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `alembic_env` is imported it answers for our tables, and here alembic shall look at them itself."""
    monkeypatch.setattr(autogenerate, "OWNED", {})


def compared(connection: Connection) -> list[object]:
    options = {"compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def test_alembic_finds_no_difference(connection: Connection) -> None:
    assert compared(connection) == []


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE oban_jobs ADD COLUMN extra text",
        "ALTER TABLE oban_jobs ALTER COLUMN priority TYPE integer",
        "ALTER TABLE oban_jobs ALTER COLUMN max_attempts SET DEFAULT 3",
        "ALTER TABLE oban_jobs ALTER COLUMN queue DROP NOT NULL",
        "ALTER TABLE oban_producers DROP COLUMN node",
        "DROP INDEX oban_jobs_claim_index",
    ],
)
def test_alembic_would_find_a_difference(connection: Connection, change: str) -> None:
    connection.execute(text(change))
    assert compared(connection) != []


@pytest.mark.parametrize(
    "question",
    [COLUMNS, CONSTRAINTS, INDEXES, LABELS, PERSISTENCE],
    ids=["columns", "constraints", "indexes", "enum", "kind"],
)
def test_create_all_makes_the_same_tables_but_for_the_wake_up_and_the_storage(
    connection: Connection, question: str
) -> None:
    migrated = connection.execute(text(question)).all()
    connection.execute(text("CREATE SCHEMA created"))
    connection.execute(text("SET LOCAL search_path = created"))
    metadata.create_all(connection)

    assert migrated
    assert connection.execute(text(question)).all() == migrated


def test_python_and_postgresql_know_the_same_states(connection: Connection) -> None:
    labels = [label for _, label in connection.execute(text(LABELS))]
    assert labels == [state.value for state in JobState]
