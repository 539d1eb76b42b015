"""An application with an alembic environment, driven by the real command line."""

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent

from sqlalchemy import URL, create_engine

from sqla_oban.migrations import current_version
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
    {before}
    context.configure(connection=connection, target_metadata=host.target, {options})
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()

if context.is_offline_mode():
    context.configure(url=url, target_metadata=host.target, {options})
    with context.begin_transaction():
        context.run_migrations()
else:
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
OWNED_BY_TENANTS = """
class Tenant(Base):
    __tablename__ = "tenants"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)

class TenantJob(Job):
    tenant_id: Mapped[int | None] = mapped_column(ForeignKey(Tenant.id))
    ticket: Mapped[str | None] = mapped_column(Text, unique=True)
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
        self._url_of_psycopg = url.set(drivername="postgresql+psycopg")
        self._connect = indent(dedent(ASYNC if driver == "asyncpg" else SYNC), "    ")
        (folder / "alembic.ini").write_text("[alembic]\nscript_location = migrations\nprepend_sys_path = .\n")
        (folder / "migrations" / "versions").mkdir(parents=True)
        (folder / "migrations" / "script.py.mako").write_text((ROOT / "alembic" / "script.py.mako").read_text())
        self.configure(STRICT)
        self.declare(MODELS)

    def configure(self, options: str, *, before: str = "pass") -> None:
        """Write env.py, with options for alembic and what is done before alembic has the connection."""
        env = ENV.format(options=options, connect=self._connect, before=before)
        (self._folder / "migrations" / "env.py").write_text(env)

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

    def refused(self, *arguments: str) -> str:
        """What it said when it failed, which is a sentence and no traceback."""
        done = self.alembic(*arguments)
        assert done.returncode != 0
        said = done.stdout + done.stderr
        assert "FAILED: " in said, said
        assert "Traceback" not in said, said
        return said

    def write(self, revision: str, *, up: str, down: str = "pass") -> None:
        """A revision written by hand, on a branch of its own."""
        (self._folder / "migrations" / "versions" / f"{revision}.py").write_text(
            f"from alembic import op\nimport sqla_oban.alembic_env\nrevision = {revision!r}\ndown_revision = None\n"
            f"def upgrade():\n    {up}\ndef downgrade():\n    {down}\n"
        )

    def execute(self, script: str) -> None:
        """Run what `--sql` printed, one statement after the other as psql does."""
        engine = create_engine(self._url_of_psycopg, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            cursor = connection.connection.cursor()
            for statement in re.split(r";\n\n(?=\S)", script.strip()):
                cursor.execute(statement)
        engine.dispose()

    def revise(self, message: str) -> str:
        """The text of the revision that autogenerate writes."""
        self.run("revision", "--autogenerate", "-m", message)
        [path] = (self._folder / "migrations" / "versions").glob(f"*_{message}.py")
        return path.read_text()


def version(url: URL) -> int:
    with begun(url) as connection:
        return current_version(connection)
