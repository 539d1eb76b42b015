"""The commands within this process, on empty tables."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import URL, Connection, create_engine, text

from sqla_oban.cli.commands import commands
from sqla_oban.queries.producers import producer_id
from tests.emptying import emptied


@dataclass(frozen=True)
class Done:
    """A finished command: its exit code, what it answered, and what it said beside that."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Done]


@pytest.fixture
def connection(database_url: URL) -> Iterator[Connection]:
    """Somebody who writes SQL."""
    engine = create_engine(database_url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(emptied())
        yield connection
    engine.dispose()


@pytest.fixture
def cli(connection: Connection, database_url: URL, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `sqla-oban` on the database."""
    monkeypatch.setenv("SQLA_OBAN_URL", database_url.set(drivername="postgresql").render_as_string(hide_password=False))

    def run(*arguments: str, input: str | None = None) -> Done:
        result = CliRunner().invoke(commands, arguments, input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def add(connection: Connection) -> Callable[..., int]:
    """Inserts a job, every column given as SQL; returns its id."""

    def insert(**columns: str) -> int:
        given = {"worker": "'w'", **columns}
        sql = f"INSERT INTO oban_jobs ({', '.join(given)}) VALUES ({', '.join(given.values())}) RETURNING id"
        return int(connection.scalar(text(sql.replace(":", r"\:"))) or 0)

    return insert


@pytest.fixture
def states(connection: Connection) -> Callable[[], list[str]]:
    """The states of all jobs in the order of their ids."""
    query = text("SELECT CAST(state AS text) FROM oban_jobs ORDER BY id")
    return lambda: list(connection.scalars(query))


@pytest.fixture
def node(connection: Connection) -> Callable[..., str]:
    """Registers a node that runs a queue; returns its producer."""

    def register(queue: str, node: str = "node-1") -> str:
        uuid = str(producer_id())
        connection.execute(
            text(
                "INSERT INTO oban_producers (uuid, name, node, queue, meta) VALUES (:uuid, 'Oban', :node, :queue, "
                "jsonb_build_object('local_limit', 7, 'paused', false, 'ttl', 600))"
            ),
            {"uuid": uuid, "node": node, "queue": queue},
        )
        return uuid

    return register
