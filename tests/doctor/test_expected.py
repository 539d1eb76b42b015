"""What the migrations say that they make is what they make: what they do not say, nobody looks after."""

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban.doctor.expected import expected
from sqla_oban.migrations import migrate
from sqla_oban.models import metadata

HOME = 'odd "schema" (1)'
MADE = {
    "functions": "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = to_regnamespace(:home)",
    "triggers": "SELECT tgname, relname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid "
    "WHERE relnamespace = to_regnamespace(:home) AND NOT tgisinternal",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = :plain AND indexname !~ '_pkey$'",
}
NAMES = {"home": '"odd ""schema"" (1)"', "plain": HOME}


def made(connection: Connection) -> dict[str, dict[str, str]]:
    return {kind: {row[0]: row[1] for row in connection.execute(text(query), NAMES)} for kind, query in MADE.items()}


async def test_all_that_a_migration_makes_is_expected_and_nothing_else(engine: AsyncEngine) -> None:
    wanted = expected(HOME)
    async with engine.connect() as connection:
        await connection.run_sync(migrate, schema=HOME)
        await connection.execute(text(f"SET search_path = {NAMES['home']}"))
        found = await connection.run_sync(made)
        assert found["functions"] == wanted.functions
        assert found["triggers"] == {name: trigger.on for name, trigger in wanted.triggers.items()}
        for name in found["indexes"]:
            await connection.execute(text(f"DROP INDEX {name}"))
        for statement in wanted.statements.values():
            await connection.exec_driver_sql(statement)
        assert (await connection.run_sync(made))["indexes"] == found["indexes"]
        await connection.rollback()
    assert {table.name for table in wanted.tables} == set(metadata.tables)
