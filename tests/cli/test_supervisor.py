"""`sqla-oban run --processes`, with real processes and real signals."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, insert, select, text

from sqla_oban import Job
from tests.cli.command import run, running
from tests.support import is_gone

APP = """
import asyncio
import os
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from sqla_oban import SqlaOban, inject, job


@job(name="supervised.wait")
async def wait() -> None:
    Path("begun").touch()
    while not Path("go").exists():
        await asyncio.sleep(0.01)


@job(name="supervised.stay")
async def stay() -> None:
    Path("begun").touch()
    await asyncio.Event().wait()


@job(name="supervised.count", executor="process")
async def count(session: AsyncSession = inject()) -> None:
    number = await session.scalar(text("SELECT count(*) FROM oban_jobs"))
    Path("counting").write_text(f"{number} {os.getpid()} {os.getppid()}")
    Path("counting").rename("counted")  # so that it is there with all that is in it


engine = create_async_engine(os.environ["DATABASE"])
oban = SqlaOban(engine, queues={"default": 5}, shutdown_grace_period=600)
"""
ARGUMENTS = ("run", "--app", "supervised_app:oban", "--node", "web", "--processes", "2")
UP = re.compile(r"runs as node web\.(\d), ")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "supervised_app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def database(url: str, empty_database: URL) -> Iterator[Any]:
    """A database with the tables: its engine, and its address."""
    assert run("migrate", "--url", url).returncode == 0
    engine = create_engine(empty_database.set(drivername="postgresql+psycopg"))
    yield engine, empty_database.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    engine.dispose()


def enqueue(engine: Any, worker: str) -> None:
    with engine.begin() as connection:
        connection.execute(insert(Job).values(worker=worker))


def states(engine: Any) -> list[str]:
    with engine.connect() as connection:
        return [state.value for state in connection.scalars(select(Job.state))]


def nodes(engine: Any) -> dict[str, int]:
    """The nodes that run here, and how many queues each: a node that is gone has removed its row."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT node, count(*) FROM oban_producers GROUP BY node")).all()
    return {node: number for node, number in rows}  # noqa: C416 (a row is no pair to mypy)


def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def both_are_up(command: Any) -> None:
    command.read_until("runs as node web.1, ")
    command.read_until("runs as node web.2, ")


def children(pid: int) -> list[int]:
    """The runners of a supervisor."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system has no /proc to find them by")


@needs_proc
def test_a_runner_that_is_killed_is_replaced_and_a_signal_lets_jobs_end(here: Path, database: Any) -> None:
    engine, address = database
    with running(*ARGUMENTS, cwd=here, DATABASE=address) as command:
        both_are_up(command)
        assert nodes(engine) == {"web.1": 1, "web.2": 1}
        first, second = children(command.process.pid)
        os.kill(second, signal.SIGKILL)
        command.read_until("runs as node web.2, ")
        assert first in children(command.process.pid)
        assert second not in children(command.process.pid)

        enqueue(engine, "supervised.wait")
        until((here / "begun").exists, "the job to begin")
        command.process.terminate()
        for pid in children(command.process.pid):
            with contextlib.suppress(ProcessLookupError):  # the idle one may be quick
                os.kill(pid, signal.SIGTERM)  # as a service manager may: it is not the second signal that hurries
        (here / "go").touch()
        code, complaint = command.end()
    assert code == 0, complaint
    assert states(engine) == ["completed"]
    assert nodes(engine).keys() <= {"web.2"}  # of the one that was killed
    assert re.search(r"runner 2, process \d+, died of signal 9; another starts in ", complaint)


@needs_proc
def test_a_second_signal_ends_the_grace_period(here: Path, database: Any) -> None:
    engine, address = database
    with running(*ARGUMENTS, cwd=here, DATABASE=address) as command:
        both_are_up(command)
        enqueue(engine, "supervised.stay")
        until((here / "begun").exists, "the job to begin")
        command.process.send_signal(signal.SIGINT)
        until(lambda: len(children(command.process.pid)) == 1, "the idle runner to end")
        command.process.send_signal(signal.SIGINT)
        code, complaint = command.end()
    assert code == 0, complaint
    assert states(engine) == ["available"]
    assert nodes(engine) == {}


@needs_proc
def test_a_signal_to_all_while_a_runner_starts_is_no_failure(here: Path) -> None:
    (here / "supervised_app.py").write_text('import pathlib, signal; pathlib.Path("begun").touch(); signal.pause()')
    with running(*ARGUMENTS, cwd=here) as command:
        until((here / "begun").exists, "the first runner to import the application")
        (runner,) = children(command.process.pid)
        command.process.terminate()
        os.kill(runner, signal.SIGTERM)
        code, complaint = command.end()
    assert code == 0, complaint


@needs_proc
def test_runners_do_not_outlive_a_supervisor_that_is_killed(here: Path, database: Any) -> None:
    engine, address = database
    with running(*ARGUMENTS, cwd=here, DATABASE=address) as command:
        both_are_up(command)
        pids = children(command.process.pid)
        enqueue(engine, "supervised.count")
        until((here / "counted").exists, "the job in a process of a runner")
        number, worker, runner = (int(one) for one in (here / "counted").read_text().split())
        assert number == 1
        assert runner in pids
        command.process.kill()
        until(lambda: all(is_gone(pid) for pid in [*pids, worker]), "the runners to end")
    assert nodes(engine) == {}
    assert states(engine) == ["completed"]


def test_an_application_that_cannot_start_is_told_once_and_ends_the_command(tmp_path: Path) -> None:
    done = run("run", "--app", "nowhere:oban", "--processes", "3", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("there is no module 'nowhere'") == 1


@pytest.mark.parametrize("number", ["0", "x"])
def test_a_number_of_processes_that_is_none_is_refused(number: str, tmp_path: Path) -> None:
    assert run("run", "--app", "a:b", "--processes", number, cwd=tmp_path).returncode == 2
    done = run("run", "--app", "a:b", cwd=tmp_path, SQLA_OBAN_PROCESSES=number)
    assert done.returncode == 1
    assert "processes" in done.stderr.lower()
