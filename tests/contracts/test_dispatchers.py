"""The contract of `engine.dispatcher.Dispatcher`, for each kind of it; and what each promises besides."""

import asyncio
import contextvars
import json
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sqla_oban import Record
from sqla_oban.engine.dispatchers import AsyncDispatcher, Dispatcher, ProcessDispatcher, ProcessPool, ThreadDispatcher
from sqla_oban.engine.dispatchers import thread_dispatcher as module
from sqla_oban.engine.dispatchers.daemon_pool import DaemonPool
from sqla_oban.engine.execution import Execution
from sqla_oban.engine.executor import describe, summary
from sqla_oban.engine.loading import load
from sqla_oban.errors import DeclarationError
from sqla_oban.queries.claim import Claimed
from sqla_oban.settings import ExecutorKind, ProcessSettings
from sqla_oban.states import JobState
from sqla_oban.workers.calls import Surroundings
from sqla_oban.workers.context import RUNNING, RunningJob
from sqla_oban.workers.providing import Provider
from sqla_oban.workers.registry import REGISTRY
from tests.contracts import bodies
from tests.support import PATIENCE, eventually

STARTING = 240.0
"""Seconds in which a worker in a process has begun: its process may have to be started, on a busy machine."""
COLOUR: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


@dataclass
class Kind:
    """A dispatcher, and how a body without arguments becomes a call for it."""

    dispatcher: Dispatcher
    call: Callable[[Callable[[], Any]], Callable[[], Any]]

    async def run(self, body: Callable[[], Any]) -> Any:
        return await self.dispatcher.run(self.call(body), an_execution())


def an_execution(worker: str = "w", args: str = "{}", number: int = 1) -> Execution:
    """What a producer makes of a claimed row."""
    claimed = Claimed(
        id=number,
        state=JobState.EXECUTING,
        worker=worker,
        attempt=1,
        max_attempts=20,
        priority=0,
        attempted_at=datetime(2026, 11, 25, tzinfo=None),  # noqa: DTZ001 (as the driver gives it)
        scheduled_at="2026-11-25 00:00:00",
        inserted_at="2026-11-25 00:00:00",
        args=args,
        meta="{}",
        errors="[]",
        tags=[],
    )
    return Execution(claimed)


def as_async(body: Callable[[], Any]) -> Callable[[], Any]:
    async def call() -> Any:
        return body()

    return call


@pytest.fixture
def threads() -> Iterator[ThreadDispatcher]:
    dispatcher = ThreadDispatcher()
    yield dispatcher
    dispatcher.close()


@pytest.fixture(params=["async", "thread"])
def kind(request: pytest.FixtureRequest, threads: ThreadDispatcher) -> Kind:
    return Kind(AsyncDispatcher(), as_async) if request.param == "async" else Kind(threads, lambda body: body)


async def test_the_result_of_a_call_is_returned(kind: Kind) -> None:
    result = object()
    assert await kind.run(lambda: result) is result


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), TimeoutError("slow"), KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError("own")],
    ids=lambda error: type(error).__name__,
)
async def test_the_exception_of_a_call_is_raised_with_its_traceback(error: BaseException, kind: Kind) -> None:
    def body() -> None:
        raise error

    raised: BaseException | None = None
    try:
        await kind.run(body)
    except BaseException as caught:
        raised = caught
    assert raised is error
    assert body.__name__ in [frame.name for frame in traceback.extract_tb(error.__traceback__)]


async def test_a_stop_iteration_ends_the_call_as_it_ends_a_coroutine(kind: Kind) -> None:
    with pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
        await asyncio.wait_for(kind.run(lambda: next(iter(()))), PATIENCE)


async def test_context_variables_of_the_caller_are_seen_by_the_call(kind: Kind) -> None:
    COLOUR.set("red")
    assert await kind.run(COLOUR.get) == "red"


async def test_many_calls_run_at_the_same_time_each_in_its_own_context(kind: Kind) -> None:
    async def one(number: int) -> str:
        COLOUR.set(str(number))
        return str(await kind.run(COLOUR.get))

    results = await asyncio.gather(*(asyncio.create_task(one(number)) for number in range(100)))
    assert results == [str(number) for number in range(100)]


async def test_an_async_call_that_is_cancelled_sees_it() -> None:
    begun, seen = asyncio.Event(), []

    async def call() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = asyncio.create_task(AsyncDispatcher().run(call, an_execution()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]


async def test_an_async_call_that_ends_with_a_result_when_it_is_cancelled_counts() -> None:
    begun = asyncio.Event()

    async def call() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "saved"
        return "never"

    task = asyncio.create_task(AsyncDispatcher().run(call, an_execution()))
    await begun.wait()
    task.cancel()
    assert await task == "saved"


@pytest.mark.usefixtures("long_last_words")
async def test_a_thread_that_ends_with_a_result_when_it_is_cancelled_counts(threads: ThreadDispatcher) -> None:
    begun, told = threading.Event(), threading.Event()

    def call() -> str:
        begun.set()
        told.wait()
        return "saved"

    task = asyncio.create_task(threads.run(call, an_execution()))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    told.set()
    assert await task == "saved"


@pytest.mark.usefixtures("long_last_words")
async def test_a_thread_that_raises_when_it_is_cancelled_raises(threads: ThreadDispatcher) -> None:
    begun, told = threading.Event(), threading.Event()

    def call() -> str:
        begun.set()
        told.wait()
        raise ValueError("rolled back")

    task = asyncio.create_task(threads.run(call, an_execution()))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    told.set()
    with pytest.raises(ValueError, match="rolled back"):
        await task


async def test_a_thread_that_goes_on_when_it_is_cancelled_is_left_behind_with_a_warning(
    threads: ThreadDispatcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LAST_WORDS", 0.01)
    begun, told = threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        told.wait()

    task = asyncio.create_task(threads.run(call, an_execution()))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    told.set()
    assert "goes on in its thread after it was told to stop; watch current_job().cancelled" in caplog.text


async def test_a_sync_worker_that_returns_a_coroutine_is_refused(threads: ThreadDispatcher) -> None:
    async def forgotten() -> None: ...

    with pytest.raises(DeclarationError, match="declare it with `async def`"):
        await threads.run(forgotten, an_execution())


async def test_a_thread_does_not_hold_up_the_event_loop(threads: ThreadDispatcher) -> None:
    go_on = threading.Event()
    waiting = asyncio.create_task(threads.run(go_on.wait, an_execution()))
    others = await asyncio.gather(*(threads.run(lambda: 5, an_execution()) for _ in range(3)))
    waited = not waiting.done()
    go_on.set()
    assert others == [5, 5, 5]
    assert waited
    assert await waiting


async def test_as_many_threads_run_as_there_are_calls_at_the_same_time(threads: ThreadDispatcher) -> None:
    together = threading.Barrier(40)
    places = await asyncio.gather(*(threads.run(together.wait, an_execution()) for _ in range(40)))
    assert sorted(places) == list(range(40))


async def test_idle_threads_are_used_again(threads: ThreadDispatcher) -> None:
    pool = threads._pool
    seen = set()
    for _ in range(20):
        seen.add(await threads.run(threading.get_ident, an_execution()))
        await eventually(lambda: pool._idle._value == pool._threads)
    assert len(seen) == 1


async def test_threads_end_when_the_dispatcher_is_closed() -> None:
    dispatcher = ThreadDispatcher()
    together = threading.Barrier(5)

    def call() -> threading.Thread:
        together.wait()
        return threading.current_thread()

    workers = set(await asyncio.gather(*(dispatcher.run(call, an_execution()) for _ in range(5))))
    alive = [thread.is_alive() for thread in workers]
    dispatcher.close()
    await eventually(lambda: not any(thread.is_alive() for thread in workers))
    assert alive == [True] * 5


async def test_a_busy_thread_ends_after_its_call_when_the_dispatcher_is_closed() -> None:
    dispatcher = ThreadDispatcher()
    begun, go_on = threading.Event(), threading.Event()
    thread: list[threading.Thread] = []

    def call() -> str:
        thread.append(threading.current_thread())
        begun.set()
        go_on.wait()
        return "done"

    task = asyncio.create_task(dispatcher.run(call, an_execution()))
    await asyncio.to_thread(begun.wait)
    dispatcher.close()
    go_on.set()
    assert await task == "done"
    await asyncio.to_thread(thread[0].join)
    assert not thread[0].is_alive()


async def test_a_call_is_refused_when_the_dispatcher_is_closed() -> None:
    dispatcher = ThreadDispatcher()
    await dispatcher.run(lambda: 5, an_execution())
    dispatcher.close()
    with pytest.raises(RuntimeError, match="the pool is closed"):
        await asyncio.wait_for(dispatcher.run(lambda: 5, an_execution()), PATIENCE)


async def test_worker_threads_do_not_keep_the_process_from_ending(threads: ThreadDispatcher) -> None:
    assert await threads.run(lambda: threading.current_thread().daemon, an_execution())


def test_a_call_that_was_cancelled_before_it_began_does_not_run() -> None:
    pool = DaemonPool()
    begun, go_on = threading.Event(), threading.Event()
    ran: list[str] = []

    def first() -> None:
        begun.set()
        go_on.wait()

    def second() -> None:
        ran.append("second")

    busy = pool.submit(first)
    begun.wait()
    pool._idle.release()  # as if the thread were idle: the next call waits for it
    cancelled = pool.submit(second)
    assert cancelled.cancel()
    go_on.set()
    busy.result()
    assert pool.submit(lambda: "third").result() == "third"
    pool.shutdown()
    assert ran == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[ProcessPool]:
    pool = ProcessPool(ProcessSettings(), schema=None, warm=lambda: 0, most=lambda: 10)
    yield pool
    await pool.close()


@dataclass
class Place:
    """A dispatcher, and the way from a declared worker to its call that the executor goes."""

    kind: ExecutorKind
    dispatcher: Dispatcher

    async def run(self, worker: str, *, execution: Execution | None = None, **args: Any) -> Any:
        execution = execution or an_execution(f"bodies.{self.named(worker)}", json.dumps(args))
        claimed = execution.claimed
        definition = REGISTRY.get(claimed.worker)
        execution.running = RunningJob(
            id=claimed.id,
            queue="q",
            worker=claimed.worker,
            attempt=claimed.attempt,
            max_attempts=claimed.max_attempts,
            args=args,
            claimed_at=claimed.attempted_at,
        )
        RUNNING.set(execution.running)
        surroundings = Surroundings(
            lambda: load(claimed, queue="q", holder=["n", "u"]), Provider(), lambda _: pytest.fail("nobody asks")
        )
        return await self.dispatcher.run(definition.prepare(args, surroundings), execution)

    def named(self, worker: str) -> str:
        """Where a worker is async, its name says so."""
        return f"{worker}_async" if self.kind is ExecutorKind.ASYNC else worker


@pytest.fixture(params=list(ExecutorKind))
def place(request: pytest.FixtureRequest, threads: ThreadDispatcher, pool: ProcessPool) -> Place:
    processes = ProcessDispatcher(pool, REGISTRY, queue="q", holder=["n", "u"])
    known: dict[ExecutorKind, Dispatcher] = {
        ExecutorKind.ASYNC: AsyncDispatcher(),
        ExecutorKind.THREAD: threads,
        ExecutorKind.PROCESS: processes,
    }
    return Place(request.param, known[request.param])


in_one_loop = pytest.mark.asyncio(loop_scope="module")


@in_one_loop
@pytest.mark.parametrize("name", ["snooze", "cancel", "record", "none"])
async def test_everywhere_an_outcome_is_returned(name: str, place: Place) -> None:
    assert await place.run("outcome", name=name) == bodies.outcome(name)


@in_one_loop
@pytest.mark.parametrize("name", ["value", "timeout", "exit", "interrupt", "unsendable"])
async def test_everywhere_what_a_worker_raises_is_told_with_its_traceback(name: str, place: Place) -> None:
    told, first_line, expected = "", "", ""
    try:
        bodies.fail(name)
    except BaseException as error:
        expected = summary(error)
    try:
        await place.run("fail", name=name)
    except BaseException as error:
        told, first_line = describe(error), summary(error)
    assert first_line == expected
    assert told.startswith("Traceback (most recent call last):")
    assert "in fail\n" in told
    assert told.rstrip().endswith(expected)


@in_one_loop
async def test_everywhere_code_knows_its_job_and_has_its_arguments(place: Place) -> None:
    recorded = await place.run("running", day="2026-11-25")
    name = f"bodies.{place.named('running')}"
    assert recorded.value == [1, 1, name, "q", {"day": "2026-11-25"}, "2026-11-25", False]


@in_one_loop
@pytest.mark.parametrize("worker", ["Plain", "Awaited"])
async def test_everywhere_a_class_is_given_the_job(worker: str, place: Place) -> None:
    if place.kind not in (ExecutorKind.PROCESS, REGISTRY.get(f"bodies.{worker}").natural):
        pytest.skip("a class of that kind does not run there")
    recorded = await place.run(worker, execution=an_execution(f"bodies.{worker}", '{"a": 1}'))
    assert recorded.value == [1, {"a": 1}, "executing"]


@in_one_loop
@pytest.mark.usefixtures("long_last_words")
async def test_everywhere_a_worker_that_ends_with_a_result_when_it_is_told_to_stop_counts(
    place: Place, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    execution = an_execution(f"bodies.{place.named('obey')}", json.dumps({"begun": str(begun)}))
    task = asyncio.create_task(place.run("obey", execution=execution, begun=str(begun)))
    await eventually(begun.exists, patience=STARTING)
    assert execution.running is not None
    execution.running.cancel()
    task.cancel()
    assert await task == Record("saved")


@in_one_loop
async def test_everywhere_many_run_at_the_same_time(place: Place) -> None:
    results = await asyncio.gather(*(asyncio.create_task(place.run("running", day="2026-11-25")) for _ in range(3)))
    assert [one.value[0] for one in results] == [1, 1, 1]
