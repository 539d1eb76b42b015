"""Autogenerate in hosts of their own, by the real command line of alembic."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from sqlalchemy import URL, inspect, text

from sqla_oban.migrations import current_version, migrate
from tests.migrations.database import begun

ROOT = Path(__file__).parents[2]

SYNC = """
    engine = create_engine(url)
    with engine.connect() as connection:
        run(connection)
    engine.dispose()
"""
ASYNC = """
    async def main():
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            await connection.run_sync(run)
        await engine.dispose()
    asyncio.run(main())
"""
STRICT = "compare_type=True, compare_server_default=True, include_schemas=True"
ENV = """
import asyncio, os
from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
import host
import sqla_oban.alembic_env

url = os.environ["HOST_URL"]

def run(connection):
    context.configure(connection=connection, target_metadata=host.target, {options})
    with context.begin_transaction():
        context.run_migrations()

{connect}
"""
MODELS = """
from sqlalchemy import BigInteger, ForeignKey, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
import sqla_oban
from sqla_oban import Job

class Base(DeclarativeBase): ...

class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey(Job.id, ondelete="SET NULL"))

target = [sqla_oban.metadata, Base.metadata]
"""
TENANTS = """
class TenantJob(Job):
    tenant: Mapped[str | None] = mapped_column(Text, index=True)
"""
IN_A_SCHEMA = """
import sqla_oban
from sqlalchemy import MetaData
target = MetaData()
for table in sqla_oban.metadata.tables.values():
    table.to_metadata(target, schema="jobs")
"""
ON_THE_HOSTS_BASE = """
from sqlalchemy import BigInteger, ForeignKey, MetaData, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqla_oban import make_models

class Base(DeclarativeBase):
    metadata = MetaData(naming_convention={{"pk": "pk_%(table_name)s", "ck": "ck_%(constraint_name)s"}})

class TenantJob(make_models(Base, schema={schema!r}).Job):
    tenant: Mapped[str | None] = mapped_column(Text)

class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey(TenantJob.id, ondelete="SET NULL"))

target = Base.metadata
"""
WITHOUT_US = """
from sqlalchemy import MetaData
target = MetaData()
"""


class Host:
    """An application with an alembic environment."""

    def __init__(self, folder: Path, url: URL, driver: str) -> None:
        self._folder = folder
        self._url = url.set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)
        self._connect = dedent(ASYNC if driver == "asyncpg" else SYNC)
        (folder / "alembic.ini").write_text("[alembic]\nscript_location = migrations\nprepend_sys_path = .\n")
        (folder / "migrations" / "versions").mkdir(parents=True)
        (folder / "migrations" / "script.py.mako").write_text((ROOT / "alembic" / "script.py.mako").read_text())
        self.configure(STRICT)
        self.declare(MODELS)

    def configure(self, options: str) -> None:
        (self._folder / "migrations" / "env.py").write_text(ENV.format(options=options, connect=self._connect))

    def declare(self, models: str) -> None:
        (self._folder / "host.py").write_text(models)

    def alembic(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=self._folder,
            env={**os.environ, "HOST_URL": self._url, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *arguments: str) -> str:
        done = self.alembic(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def write(self, revision: str, *, up: str, down: str) -> None:
        """A revision written by hand, on a branch of its own."""
        (self._folder / "migrations" / "versions" / f"{revision}.py").write_text(
            f"from alembic import op\nimport sqla_oban.alembic_env\nrevision = {revision!r}\ndown_revision = None\n"
            f"def upgrade():\n    {up}\ndef downgrade():\n    {down}\n"
        )

    def revise(self, message: str) -> str:
        """The text of the revision that autogenerate writes."""
        self.run("revision", "--autogenerate", "-m", message)
        [path] = (self._folder / "migrations" / "versions").glob(f"*_{message}.py")
        return path.read_text()


@pytest.fixture(params=["psycopg", "asyncpg"])
def host(tmp_path: Path, url: URL, request: pytest.FixtureRequest) -> Host:
    return Host(tmp_path, url, request.param)


def version(url: URL) -> int:
    with begun(url) as connection:
        return current_version(connection)


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
    done = host.alembic("check")
    assert done.returncode != 0
    assert "the database has version 99 of the sqla_oban tables and this release knows only 1" in done.stderr
