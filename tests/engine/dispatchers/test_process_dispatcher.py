"""What a process promises beyond the contract: it can crash, it can be ended, and it is used again."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sqla_oban import Record
from sqla_oban.engine.dispatchers import ProcessDispatcher, ProcessPool
from sqla_oban.engine.dispatchers.wire import Raised
from sqla_oban.engine.execution import Execution
from sqla_oban.errors import ProcessNotStarted, WorkerDied
from sqla_oban.settings import ProcessSettings
from sqla_oban.workers.registry import REGISTRY
from tests.contracts.test_dispatchers import STARTING, an_execution
from tests.support import PATIENCE, eventually, is_gone

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Work:
    """A pool, and a short way to have it run the workers of `tests.contracts.bodies`."""

    def __init__(self, pool: ProcessPool) -> None:
        self.pool = pool
        self._dispatcher = ProcessDispatcher(pool, REGISTRY, queue="q", holder=["n", "u"])

    async def run(self, worker: str, execution: Execution | None = None, **args: Any) -> Any:
        execution = execution or an_execution(f"bodies.{worker}", json.dumps(args))
        return await self._dispatcher.run(lambda: pytest.fail("it is called elsewhere"), execution)

    async def pid(self) -> int:
        return int((await self.run("pid")).value)


async def is_starting(pool: ProcessPool, count: int = 1) -> None:
    """Returns at once when a process is being started: long before it is ready."""
    async with asyncio.timeout(PATIENCE):
        while len(pool._all) < count:  # noqa: ASYNC110 (in a longer pause it could become ready)
            await asyncio.sleep(0)


def a_pool(settings: ProcessSettings | None = None, *, most: int = 10) -> ProcessPool:
    return ProcessPool(settings or ProcessSettings(), schema=None, warm=lambda: 0, most=lambda: most)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def work() -> AsyncIterator[Work]:
    pool = a_pool()
    yield Work(pool)
    await pool.close()


@pytest_asyncio.fixture(loop_scope="module")
async def make() -> AsyncIterator[Callable[..., Work]]:
    """Makes pools that are closed after the test."""
    pools: list[ProcessPool] = []

    def make_one(most: int = 10, **settings: Any) -> Work:
        pools.append(a_pool(ProcessSettings(**settings), most=most))
        return Work(pools[-1])

    yield make_one
    for pool in pools:
        await pool.close()


async def test_an_idle_process_is_used_again(work: Work) -> None:
    first = await work.pid()
    assert first != os.getpid()
    assert {await work.pid() for _ in range(3)} == {first}


async def test_async_workers_have_one_loop_in_a_process(work: Work) -> None:
    assert (await work.run("loop")).value == (await work.run("loop")).value


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("exit", "the process that ran the job ended with exit code 3"),
        ("kill", "the process that ran the job was killed by SIGKILL; if nobody sent it, the memory ran out"),
        ("orphan", "the process that ran the job was killed by SIGKILL; if nobody sent it, the memory ran out"),
    ],
)
async def test_a_crash_is_told_and_harms_no_other_job(
    how: str, words: str, work: Work, tmp_path: Path, long_last_words: None
) -> None:
    begun = tmp_path / "begun"
    other = an_execution("bodies.obey", json.dumps({"begun": str(begun)}), 2)
    task = asyncio.create_task(work.run("obey", other))
    await eventually(begun.exists, patience=STARTING)
    with pytest.raises(WorkerDied) as raised:
        await asyncio.wait_for(work.run("die", how=how), STARTING)
    assert str(raised.value) == words
    task.cancel()
    assert await task == Record("saved")
    assert await work.pid()


async def test_a_crash_in_foreign_code_shows_where_it_was(work: Work) -> None:
    with pytest.raises(WorkerDied, match=r"was killed by SIGABRT\nFatal Python error: Aborted[^$]*bodies.py.* in die"):
        await work.run("die", how="abort")


async def test_a_worker_that_goes_on_when_it_is_told_to_stop_is_killed_with_what_it_started(
    work: Work, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    task = asyncio.create_task(work.run("stay", begun=str(begun)))
    await eventually(begun.exists, patience=STARTING)
    pids = [int(pid) for pid in begun.read_text().split()]
    assert not any(is_gone(pid) for pid in pids)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: all(is_gone(pid) for pid in pids))


async def test_a_worker_is_killed_also_when_its_task_is_cancelled_twice(work: Work, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    task = asyncio.create_task(work.run("stay", begun=str(begun)))
    await eventually(begun.exists, patience=STARTING)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: is_gone(int(begun.read_text().split()[0])))


async def test_an_async_worker_is_cancelled_and_its_process_goes_on(
    work: Work, tmp_path: Path, long_last_words: None
) -> None:
    before, begun = await work.pid(), tmp_path / "begun"
    task = asyncio.create_task(work.run("give_up_async", begun=str(begun)))
    await eventually(begun.exists, patience=STARTING)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await work.pid() == before


async def test_signals_of_a_terminal_or_a_service_manager_do_not_end_a_process(work: Work) -> None:
    assert await work.run("ignore_signals") == Record("alive")


async def test_an_outcome_that_cannot_be_sent_fails_the_attempt_and_says_why(work: Work) -> None:
    with pytest.raises(Raised, match="Odd"):
        await work.run("unsendable_outcome")
    assert await work.pid()


async def test_a_sync_worker_that_returns_a_coroutine_is_refused(work: Work) -> None:
    with pytest.raises(Raised, match="declare it with `async def`"):
        await work.run("forgetful")


async def test_a_worker_that_its_module_does_not_declare_is_told_so(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = replace(REGISTRY.get("bodies.pid"), name="bodies.local")
    monkeypatch.setitem(REGISTRY._definitions, "bodies.local", lost)
    with pytest.raises(Raised, match="there does not declare it; declare it at the top"):
        await work.run("local")


async def test_a_process_is_replaced_after_so_many_jobs(make: Callable[..., Work]) -> None:
    work = make(max_jobs=2)
    pids = [await work.pid() for _ in range(3)]
    assert pids[0] == pids[1] != pids[2]


async def test_a_process_that_has_grown_too_large_is_replaced(make: Callable[..., Work]) -> None:
    work = make(max_memory=200_000_000)
    first = await work.pid()
    assert await work.pid() == first
    assert (await work.run("grow")).value == first
    assert await work.pid() != first


async def test_a_process_that_dies_while_it_is_idle_costs_no_job(make: Callable[..., Work]) -> None:
    work = make()
    first = await work.pid()
    os.kill(first, 9)
    await eventually(lambda: is_gone(first))
    assert await work.pid() != first


async def test_processes_that_are_not_needed_any_more_end(make: Callable[..., Work]) -> None:
    work = make(most=0)
    pid = await work.pid()
    await eventually(lambda: is_gone(pid))


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        ("tests.contracts.bodies:fail_to_set_up", "ValueError: no configuration\nTraceback"),
        ("tests.contracts.bodies:nowhere", "tests/contracts/bodies.py'> has no 'nowhere'"),
        ("nowhere.at_all:x", "ModuleNotFoundError: No module named 'nowhere'"),
        ("tests.contracts.bodies:set_up_nonsense", "came to 5; it is to be a SqlaOban, or a function that returns one"),
    ],
)
async def test_a_setup_that_fails_is_told(setup: str, words: str, make: Callable[..., Work]) -> None:
    work = make(setup=setup)
    with pytest.raises(ProcessNotStarted) as raised:
        await work.pool.start()
    assert "a process for jobs could not be started: " in str(raised.value)
    assert words in str(raised.value)


async def test_a_process_that_takes_too_long_to_start_is_killed(make: Callable[..., Work]) -> None:
    work = make(start_timeout=0.001)
    with pytest.raises(ProcessNotStarted, match=r"it took more than 0\.001 s"):
        await work.run("pid")


async def test_a_process_that_nobody_waits_for_any_more_is_there_for_the_next(make: Callable[..., Work]) -> None:
    work = make()
    task = asyncio.create_task(work.run("pid"))
    await is_starting(work.pool)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: len(work.pool._idle) == 1, patience=STARTING)
    assert await work.pid()
    assert len(work.pool._all) == 1


async def test_a_jobs_limit_does_not_count_while_a_process_is_started_for_it(make: Callable[..., Work]) -> None:
    work, execution = make(), an_execution("bodies.pid")
    execution.limit = 600
    task = asyncio.create_task(work.run("pid", execution))
    await is_starting(work.pool)
    before = execution._alarm
    await task
    assert (before, execution._alarm is None) == (None, False)
    execution.end()


async def test_closing_ends_all_processes_those_that_start_as_well(make: Callable[..., Work], tmp_path: Path) -> None:
    work, begun = make(), tmp_path / "begun"
    idle = await work.pid()
    busy = asyncio.create_task(work.run("stay", begun=str(begun)))
    await eventually(begun.exists, patience=STARTING)
    starting = asyncio.create_task(work.run("pid"))
    await is_starting(work.pool, 2)
    await work.pool.close()
    with pytest.raises(WorkerDied):
        await busy
    with pytest.raises((ProcessNotStarted, WorkerDied)):
        await starting
    assert is_gone(idle)
    with pytest.raises(RuntimeError, match="the pool is closed"):
        await work.run("pid")


async def test_a_script_declares_its_workers_again_in_a_process_but_does_not_start_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(script)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    said, complaint = await process.communicate()
    assert said.decode().split() == ["__main__.shout", "__mp_main__"], complaint.decode()


SCRIPT = """
import asyncio
from sqla_oban import Record, job
from sqla_oban.engine.dispatchers import ProcessDispatcher, ProcessPool
from sqla_oban.settings import ProcessSettings
from sqla_oban.workers.registry import REGISTRY
from tests.contracts.test_dispatchers import STARTING, an_execution

@job(executor="process")
def shout() -> object:
    return Record(__name__)

async def main() -> None:
    pool = ProcessPool(ProcessSettings(), schema=None, warm=lambda: 0, most=lambda: 1)
    dispatcher = ProcessDispatcher(pool, REGISTRY, queue="q", holder=["n", "u"])
    print(shout.name, (await dispatcher.run(shout, an_execution(shout.name))).value)
    await pool.close()

if __name__ == "__main__":
    asyncio.run(main())
"""
