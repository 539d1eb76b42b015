"""Autogenerate in hosts of their own, by the real command line of alembic."""

from pathlib import Path

import pytest
from sqlalchemy import URL, inspect, text

from sqla_oban.migrations import current_version, migrate
from tests.migrations.database import begun
from tests.migrations.host import (
    IN_A_SCHEMA,
    MODELS,
    ON_THE_HOSTS_BASE,
    OWNED_BY_TENANTS,
    TENANTS,
    WITHOUT_US,
    Host,
    version,
)


@pytest.fixture(params=["psycopg", "asyncpg"])
def host(tmp_path: Path, url: URL, request: pytest.FixtureRequest) -> Host:
    return Host(tmp_path, url, request.param)


def test_autogenerate_writes_one_operation_and_afterwards_proposes_nothing(host: Host, url: URL) -> None:
    written = host.revise("first")
    up, down = written.split("def downgrade")
    assert up.index("op.oban_upgrade(1, from_version=0)") < up.index("op.create_table('orders'")
    assert down.index("op.drop_table('orders')") < down.index("op.oban_downgrade(0, from_version=1)")
    assert "import sqla_oban.alembic_env" in up
    assert "oban_jobs'" not in up.replace("['oban_jobs.id']", "")

    host.run("upgrade", "head")
    assert version(url) == 1
    assert "No new upgrade operations detected" in host.run("check")
    host.run("downgrade", "base")
    assert version(url) == 0
    host.run("upgrade", "head")
    assert version(url) == 1


def test_check_fails_where_the_database_is_behind(host: Host) -> None:
    done = host.alembic("check")
    assert done.returncode != 0
    assert "'oban_upgrade', 'version 0 -> 1'" in done.stdout + done.stderr


def test_the_hosts_own_columns_of_our_tables_stay_its_own(host: Host, url: URL) -> None:
    host.declare(MODELS + TENANTS)
    written = host.revise("first")
    assert "op.add_column('oban_jobs', sa.Column('tenant'" in written
    assert "op.create_index(op.f('ix_oban_jobs_tenant'), 'oban_jobs', ['tenant']" in written
    host.run("upgrade", "head")
    host.declare(MODELS)
    written = host.revise("second")
    assert "op.drop_column('oban_jobs', 'tenant')" in written
    assert "oban_upgrade" not in written


def test_our_tables_are_not_proposed_for_dropping_where_the_host_does_not_list_them(host: Host, url: URL) -> None:
    with begun(url) as connection:
        migrate(connection)
        migrate(connection, schema="jobs")
        connection.execute(text("CREATE TABLE unknown (id int)"))
    host.declare(WITHOUT_US)
    written = host.revise("first")
    assert "op.drop_table('unknown')" in written
    assert "oban" not in written.replace("import sqla_oban", "")


def test_two_branches_that_both_carry_the_operation_can_be_merged(host: Host, url: URL) -> None:
    host.revise("one")
    first = host.run("heads").split()[0]
    host.write("two", up="op.oban_upgrade(1, from_version=0)", down="op.oban_downgrade(0, from_version=1)")
    host.run("merge", "-m", "merged", first, "two")
    host.run("upgrade", "head")
    assert version(url) == 1
    assert "No new upgrade operations detected" in host.run("check")
    host.run("downgrade", "base")
    assert version(url) == 0


def test_tables_in_a_schema_of_their_own_are_brought_there(host: Host, url: URL) -> None:
    host.declare(IN_A_SCHEMA)
    written = host.revise("first")
    assert "op.oban_upgrade(1, from_version=0, schema='jobs')" in written
    assert "op.oban_downgrade(0, from_version=1, schema='jobs')" in written
    host.run("upgrade", "head")
    assert "No new upgrade operations detected" in host.run("check")
    with begun(url) as connection:
        assert (current_version(connection, schema="jobs"), current_version(connection)) == (1, 0)


@pytest.mark.parametrize("schema", [None, "jobs"])
def test_tables_on_the_hosts_own_base_are_ours_all_the_same(host: Host, url: URL, schema: str | None) -> None:
    host.declare(ON_THE_HOSTS_BASE.format(schema=schema))
    written = host.revise("first")
    up, down = written.split("def downgrade")
    where = "" if schema is None else f", schema={schema!r}"
    assert f"op.oban_upgrade(1, from_version=0{where})" in up
    assert f"op.oban_downgrade(0, from_version=1{where})" in down
    assert "op.add_column('oban_jobs', sa.Column('tenant'" in up
    assert "'orders'" in up
    for ours in ("create_table('oban", "drop_table('oban", "oban_jobs_", "oban_peers", "oban_producers"):
        assert ours not in written
    host.run("upgrade", "head")
    assert "No new upgrade operations detected" in host.run("check")
    host.run("downgrade", "base")
    with begun(url) as connection:
        assert current_version(connection, schema=schema) == 0


def test_a_database_ahead_of_this_release_is_said_to_be_so(host: Host, url: URL) -> None:
    with begun(url) as connection:
        migrate(connection)
        connection.execute(text("COMMENT ON CONSTRAINT oban_jobs_pkey ON oban_jobs IS 'sqla_oban:99'"))
        assert inspect(connection).has_table("oban_jobs")
    sentence = "the database has version 99 of the sqla_oban tables and this release knows only 1"
    assert sentence in host.refused("check")
    host.write("own", up="pass", down="op.oban_downgrade(0, from_version=1)")
    host.run("stamp", "own")
    assert "sqla_oban has no version 99 of its tables" in host.refused("downgrade", "base")


def test_constraints_of_the_hosts_own_columns_come_with_the_tables(host: Host, url: URL) -> None:
    host.declare(MODELS + OWNED_BY_TENANTS)
    written = host.revise("first")
    up, down = written.split("def downgrade")
    assert up.index("op.create_table('tenants'") < up.index("op.create_foreign_key('oban_jobs_tenant_id_fkey'")
    assert "op.create_unique_constraint('oban_jobs_ticket_key', 'oban_jobs', ['ticket'])" in up
    assert down.index("op.drop_constraint('oban_jobs_tenant_id_fkey'") < down.index("op.drop_table('tenants')")
    host.run("upgrade", "head")
    assert "No new upgrade operations detected" in host.run("check")
    host.run("downgrade", "base")
    assert version(url) == 0


@pytest.mark.parametrize("applied", [False, True])
def test_a_script_of_two_branches_that_both_carry_the_operation(tmp_path: Path, url: URL, applied: bool) -> None:
    host = Host(tmp_path, url, "psycopg")
    host.declare(WITHOUT_US)
    for name in ("one", "two"):
        host.write(name, up="op.oban_upgrade(1, from_version=0)", down="op.oban_downgrade(0, from_version=1)")
    host.run("merge", "-m", "merged", "one", "two")
    head = host.run("heads").split()[0]
    if applied:
        host.run("upgrade", "one")
        host.execute(host.run("upgrade", "one:head", "--sql"))
    else:
        host.execute(host.run("upgrade", "head", "--sql"))
    assert version(url) == 1
    host.execute(host.run("downgrade", f"{head}:base", "--sql"))
    assert version(url) == 0


@pytest.mark.parametrize("behind", [True, False])
def test_a_host_that_does_not_list_our_metadata_is_told_that_it_is_behind(
    tmp_path: Path, url: URL, behind: bool
) -> None:
    host = Host(tmp_path, url, "psycopg")
    host.declare(WITHOUT_US)
    if not behind:
        with begun(url) as connection:
            migrate(connection)
    done = host.alembic("check")
    assert done.returncode == 0
    assert ("does not list sqla_oban.metadata" in done.stderr) is behind
