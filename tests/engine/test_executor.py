import asyncio
import contextvars
import json
import logging
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from sqla_oban import Cancel, Job, JobState, Snooze, current_job
from sqla_oban.backoff import exponential
from sqla_oban.engine.dispatchers import AsyncDispatcher, Dispatcher, ThreadDispatcher
from sqla_oban.engine.execution import Execution
from sqla_oban.engine.executor import MAX_ERROR, MAX_SUMMARY, Executor, clipped, describe
from sqla_oban.outcomes import MAX_DELAY
from sqla_oban.queries.ack import Ack
from sqla_oban.queries.claim import Claimed
from sqla_oban.settings import ExecutorKind
from sqla_oban.telemetry.events import JobAbandoned, JobFailed, JobFinished, JobStarted
from sqla_oban.workers.arguments import Arguments
from sqla_oban.workers.context import RunningJob
from sqla_oban.workers.definition import Definition, Rules
from sqla_oban.workers.options import JobDefaults
from sqla_oban.workers.providing import Provider
from sqla_oban.workers.registry import Registry
from tests.support import Recorder, eventually

AT = datetime(2026, 11, 23, 19, 0, 0, 5)  # noqa: DTZ001 (as the claim returns it)
ROW = Claimed(
    id=7,
    state=JobState.EXECUTING,
    worker="shop.work",
    attempt=2,
    max_attempts=5,
    priority=0,
    attempted_at=AT,
    scheduled_at="2026-11-23 18:00:00",
    inserted_at="2026-11-23 18:00:00",
    args="{}",
    meta="{}",
    errors="[]",
    tags=[],
)
LAST = ROW._replace(attempt=5)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class Unreadable(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


def raising(error: BaseException) -> Callable[[], Any]:
    def work() -> Any:
        raise error

    return work


async def no_workflow(ids: list[int]) -> list[list[Any]]:
    return []


def recursing() -> Any:
    return recursing()


@pytest.fixture
def threads() -> Any:
    dispatcher = ThreadDispatcher()
    yield dispatcher
    dispatcher.close()


@pytest.fixture(params=["async", "thread"])
def kind(request: pytest.FixtureRequest) -> ExecutorKind:
    """Where the worker runs: what is said of outcomes holds for both."""
    return ExecutorKind(request.param)


@pytest.fixture
def executor(threads: ThreadDispatcher, kind: ExecutorKind) -> Any:
    """An executor whose only worker is the given function, and what it makes of it."""

    def make(
        work: Callable[..., Any],
        backoff: Callable[[Job], Any] | None = None,
        timeout: Any = None,
        deadline: float | None = None,
    ) -> Executor:
        async def as_async(*args: Any, **kwargs: Any) -> Any:
            return work(*args, **kwargs)

        arguments = Arguments(work, "shop.work")

        def prepare(stored: object, _: object) -> Callable[[], Any]:
            args, kwargs = arguments.split(arguments.decode(stored))
            return lambda: (as_async if kind is ExecutorKind.ASYNC else work)(*args, **kwargs)

        registry = Registry()
        registry.add(
            Definition(
                "shop.work", JobDefaults(), kind, prepare, Rules(backoff, timeout, deadline), ("shop.py", "work")
            )
        )
        dispatchers: dict[ExecutorKind, Dispatcher] = {
            ExecutorKind.ASYNC: AsyncDispatcher(),
            ExecutorKind.THREAD: threads,
        }
        return Executor(
            registry,
            dispatchers,
            node="here",
            queue="mailers",
            holder=["here", "id"],
            provider=Provider(),
            look=no_workflow,
        )

    return make


async def executed(executor: Executor, row: Claimed = ROW) -> Ack:
    """As the producer does it: each job in a task of its own, which must never raise."""
    execution = Execution(row)
    execution.task = asyncio.create_task(executor.execute(execution))
    ack = await execution.task
    assert ack is not None
    return ack


@pytest.mark.parametrize("result", [None, 5, "text", object(), Ack, False, ValueError("returned"), Snooze, Cancel])
async def test_any_value_completes_the_job(result: object, executor: Any) -> None:
    assert await executed(executor(lambda: result)) == Ack(7, AT, JobState.COMPLETED)


@pytest.mark.parametrize("row", [ROW, LAST], ids=["early", "last-attempt"])
@pytest.mark.parametrize(("delay", "seconds"), [(90, 90.0), (timedelta(minutes=1), 60.0), (0, 0.0)])
async def test_a_snoozed_job_waits_and_gets_its_attempt_back(
    delay: Any, seconds: float, row: Claimed, executor: Any
) -> None:
    expected = Ack(7, AT, JobState.SCHEDULED, delay=seconds, refund=True)
    assert await executed(executor(lambda: Snooze(delay)), row) == expected


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("refunded", "cancelled: refunded"),
        ("a\x00b\ud800", "cancelled: a\ufffdb?"),
        (None, "cancelled: None"),
        ("x" * MAX_ERROR, clipped("cancelled: " + "x" * MAX_ERROR)),
    ],
    ids=["text", "unstorable", "no-text", "long"],
)
async def test_a_cancelled_job_keeps_the_reason(reason: Any, error: str, executor: Any) -> None:
    assert await executed(executor(lambda: Cancel(reason))) == Ack(7, AT, JobState.CANCELLED, error=error)


@pytest.mark.parametrize(
    ("work", "text"),
    [
        pytest.param(raising(ValueError("no order")), "ValueError: no order\n", id="exception"),
        pytest.param(raising(SystemExit(3)), "SystemExit: 3\n", id="SystemExit"),
        pytest.param(raising(KeyboardInterrupt()), "KeyboardInterrupt\n", id="KeyboardInterrupt"),
        pytest.param(raising(GeneratorExit()), "GeneratorExit\n", id="GeneratorExit"),
        pytest.param(raising(asyncio.CancelledError("leaked")), "CancelledError: leaked\n", id="CancelledError"),
        pytest.param(raising(TimeoutError()), "TimeoutError\n", id="TimeoutError"),
        pytest.param(raising(LookupError("no key")), "LookupError: no key\n", id="LookupError"),
        pytest.param(raising(StopAsyncIteration()), "StopAsyncIteration\n", id="StopAsyncIteration"),
        pytest.param(raising(ExceptionGroup("both", [ValueError(1), KeyError(2)])), "KeyError: 2", id="group"),
        pytest.param(raising(Unprintable()), "Unprintable: <exception str() failed>", id="unprintable"),
        pytest.param(recursing, "RecursionError: maximum recursion depth exceeded", id="RecursionError"),
        pytest.param(raising(ValueError("a\x00b\ud800c")), "ValueError: a\ufffdb?c\n", id="unstorable-text"),
        pytest.param(lambda: Snooze(-1), "InvalidArguments: Snooze takes a delay", id="wrong-snooze"),
    ],
)
async def test_whatever_a_worker_raises_fails_the_attempt(work: Callable[[], Any], text: str, executor: Any) -> None:
    ack = await executed(executor(work))
    assert ack.state is JobState.RETRYABLE
    assert ack.error is not None
    assert ack.error.startswith(("Traceback (most recent call last):\n", "  + Exception Group Traceback"))
    assert text in ack.error
    assert len(ack.error) < 2 * MAX_ERROR
    assert ack.error.encode().decode() == ack.error
    assert "\x00" not in ack.error
    least = exponential(2, 5, jitter=0)
    assert least <= (ack.delay or 0) <= least * 1.1
    assert not ack.refund


@pytest.mark.parametrize(
    ("make", "name"),
    [
        pytest.param(lambda: SyntaxError("no", ("file", 1, 2.5, "text")), "SyntaxError", id="odd-offset"),  # type: ignore[arg-type]
        pytest.param(Unreadable, "Unreadable", id="unreadable"),
    ],
)
async def test_an_exception_that_python_itself_cannot_tell_fails_the_attempt(
    make: Callable[[], Exception], name: str, executor: Any
) -> None:
    ack = await executed(executor(raising(make())))
    assert ack.state is JobState.RETRYABLE
    assert f"{name}, which cannot be told: " in (ack.error or "")


async def test_the_last_attempt_that_fails_discards_the_job(executor: Any) -> None:
    ack = await executed(executor(raising(ValueError("no order"))), LAST)
    assert ack == ack._replace(state=JobState.DISCARDED, delay=None, refund=False)
    assert "ValueError: no order" in (ack.error or "")


async def test_a_huge_message_is_clipped_in_its_middle(executor: Any) -> None:
    ack = await executed(executor(raising(ValueError("<" + "x" * 10_000_000 + ">"))))
    error = ack.error or ""
    assert len(error) < MAX_ERROR + 100
    assert error.startswith("Traceback")
    assert "characters left out" in error
    assert error.endswith("x>\n")


async def test_a_cause_is_told_as_well(executor: Any) -> None:
    def work() -> None:
        try:
            dict[str, int]()["inner"]
        except KeyError as error:
            raise ValueError("outer") from error

    error = (await executed(executor(work))).error or ""
    assert error.index("KeyError: 'inner'") < error.index("The above exception") < error.index("ValueError: outer")


@pytest.mark.parametrize(
    ("row", "state"), [(ROW, JobState.RETRYABLE), (LAST, JobState.DISCARDED)], ids=["early", "last"]
)
async def test_a_job_of_an_unknown_worker_fails_with_its_name(row: Claimed, state: JobState, executor: Any) -> None:
    ack = await executed(executor(lambda: 5), row._replace(worker="gone.Worker"))
    assert ack.state is state
    assert "UnknownWorker: no worker is named 'gone.Worker' in this process" in (ack.error or "")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        pytest.param("[1]", "shop.work: the job's args are list, not an object", id="array"),
        pytest.param("null", "shop.work: the job's args are NoneType, not an object", id="null"),
        pytest.param('{"a": 1, "b": 2}', "unknown: b", id="unknown"),
        pytest.param("{}", "missing: a", id="missing"),
        pytest.param('{"a": ' + "1" * 5_000 + "}", "ValueError: Exceeds the limit", id="5000-digits"),
        pytest.param('{"a": ' + "[" * 99_999 + "]" * 99_999 + "}", "RecursionError", id="deep"),
    ],
)
async def test_args_that_cannot_be_given_to_the_worker_fail_the_attempt(args: str, message: str, executor: Any) -> None:
    def work(a: object) -> None: ...

    ack = await executed(executor(work), ROW._replace(args=args))
    assert ack.state is JobState.RETRYABLE
    assert message in (ack.error or "")


@pytest.mark.parametrize(
    ("seconds", "delay"), [(0, 0.0), (5, 5.0), (0.25, 0.25), (1e300, MAX_DELAY), (10**400, MAX_DELAY)]
)
async def test_a_workers_own_backoff_counts(seconds: float, delay: float, executor: Any) -> None:
    ack = await executed(executor(raising(ValueError()), lambda _: seconds))
    assert ack.delay == delay
    assert "backoff failed" not in (ack.error or "")


async def test_the_backoff_is_given_the_job(executor: Any) -> None:
    row = ROW._replace(args='{"a": 1}', meta='{"m": 2}', errors='[{"attempt": 1}]', tags=["t"])

    def work(a: int) -> None:
        raise ValueError

    def backoff(job: Job) -> float:
        assert (job.id, job.queue, job.args, job.meta, job.tags) == (7, "mailers", {"a": 1}, {"m": 2}, ["t"])
        return 10.0 * job.attempt + len(job.errors)

    assert (await executed(executor(work, backoff), row)).delay == 21.0


@pytest.mark.parametrize(
    ("backoff", "complaint"),
    [
        pytest.param(lambda _: math.nan, "got nan", id="nan"),
        pytest.param(lambda _: -1, "got -1", id="negative"),
        pytest.param(lambda _: "x", "got 'x'", id="text"),
        pytest.param(lambda _: math.inf, "got inf", id="infinity"),
        pytest.param(lambda _: float("1e400"), "got inf", id="overflow"),
        pytest.param(lambda _: True, "got True", id="bool"),
        pytest.param(lambda _: None, "got None", id="none"),
        pytest.param(lambda _: -(10**5_000), "got a int that cannot be shown", id="unprintable-integer"),
        pytest.param(lambda _: timedelta(1), "got datetime.timedelta", id="timedelta"),
        pytest.param(lambda _: 1 / 0, "ZeroDivisionError", id="raises"),
        pytest.param(lambda job: {1: 5.0}[job.attempt], "KeyError: 2", id="raises-LookupError"),
        pytest.param(lambda job: job.nonsense, "AttributeError", id="raises-AttributeError"),
        pytest.param(lambda _: raising(SystemExit(3))(), "SystemExit: 3", id="raises-SystemExit"),
        pytest.param(lambda _: raising(KeyboardInterrupt())(), "KeyboardInterrupt", id="raises-KeyboardInterrupt"),
        pytest.param(lambda _: raising(asyncio.CancelledError("own"))(), "CancelledError: own", id="raises-Cancelled"),
    ],
)
async def test_a_backoff_that_fails_is_replaced_by_the_default_and_both_errors_are_kept(
    backoff: Callable[[Job], Any], complaint: str, executor: Any
) -> None:
    ack = await executed(executor(raising(ValueError("no order")), backoff))
    error, least = ack.error or "", exponential(2, 5, jitter=0)
    assert least <= (ack.delay or 0) <= least * 1.1
    assert error.index("ValueError: no order") < error.index("The worker's backoff failed too, the default is used")
    assert complaint in error


async def test_a_backoff_is_not_asked_after_the_last_attempt(executor: Any) -> None:
    asked: list[Job] = []

    def backoff(job: Job) -> float:
        asked.append(job)
        return 5

    await executed(executor(raising(ValueError()), backoff), LAST)
    assert asked == []


async def test_a_job_whose_args_cannot_be_read_is_retried_in_spite_of_its_own_backoff(executor: Any) -> None:
    ack = await executed(executor(lambda: 5, lambda _: 5.0), ROW._replace(args="1" * 5_000))
    assert ack.state is JobState.RETRYABLE
    assert "The worker's backoff failed too" in (ack.error or "")


async def test_code_of_the_job_knows_which_job_it_is(executor: Any) -> None:
    seen: list[RunningJob] = []

    def work(a: int) -> None:
        seen.append(current_job())

    await executed(executor(work), ROW._replace(args='{"a": 1}'))
    (job,) = seen
    assert (job.id, job.queue, job.worker, job.attempt, job.max_attempts) == (7, "mailers", "shop.work", 2, 5)
    assert (job.args, job.cancelled) == ({"a": 1}, False)


async def test_jobs_that_run_at_the_same_time_do_not_see_each_other(executor: Any) -> None:
    def work(a: int) -> None:
        assert current_job().args == {"a": a}

    runs = [executed(executor(work), ROW._replace(id=n, args=json.dumps({"a": n}))) for n in range(50)]
    assert {ack.state for ack in await asyncio.gather(*runs)} == {JobState.COMPLETED}


async def test_context_variables_that_a_job_sets_do_not_leak(executor: Any) -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    await executed(executor(lambda: request.set("job")))
    assert request.get() == "none"


async def test_a_start_and_an_end_are_told(executor: Any, events: Recorder) -> None:
    await executed(executor(lambda: 5))
    (started,), (finished,) = events.of(JobStarted), events.of(JobFinished)
    assert started == JobStarted(
        node="here",
        id=7,
        queue="mailers",
        worker="shop.work",
        attempt=2,
        max_attempts=5,
        args="{}",
        tags=(),
        waited=3600.000005,
    )
    assert finished == JobFinished(
        node="here",
        id=7,
        queue="mailers",
        worker="shop.work",
        attempt=2,
        state=JobState.COMPLETED,
        seconds=finished.seconds,
        error=None,
    )
    assert finished.seconds >= 0


@pytest.mark.parametrize(
    ("work", "row", "state", "error"),
    [
        (raising(ValueError("no order")), ROW, JobState.RETRYABLE, "ValueError: no order"),
        (raising(ValueError("no\x00")), LAST, JobState.DISCARDED, "ValueError: no\ufffd"),
        (raising(ValueError("first\nsecond")), ROW, JobState.RETRYABLE, "ValueError: first"),
        (
            raising(ValueError("x" * 10_000_000)),
            ROW,
            JobState.RETRYABLE,
            f"ValueError: {'x' * MAX_SUMMARY}"[:MAX_SUMMARY],
        ),
        (lambda: Cancel("no"), ROW, JobState.CANCELLED, None),
        (lambda: Snooze(5), ROW, JobState.SCHEDULED, None),
    ],
    ids=["retryable", "discarded", "first-line", "clipped", "cancelled", "scheduled"],
)
async def test_an_end_is_told_with_its_state_and_error(
    work: Callable[[], Any], row: Claimed, state: JobState, error: str | None, executor: Any, events: Recorder
) -> None:
    await executed(executor(work), row)
    (finished,) = events.of(JobFinished)
    assert (finished.state, finished.error) == (state, error)


@pytest.mark.parametrize(("row", "state"), [(ROW, JobState.RETRYABLE), (LAST, JobState.DISCARDED)])
async def test_an_exception_is_told_with_its_traceback_and_what_follows(
    row: Claimed, state: JobState, executor: Any, events: Recorder
) -> None:
    ack = await executed(executor(raising(ValueError("no order"))), row)
    (failed,) = events.of(JobFailed)
    assert (failed.kind, failed.message, failed.state) == ("ValueError", "ValueError: no order", state)
    assert (failed.id, failed.attempt, failed.max_attempts) == (7, row.attempt, 5)
    assert "Traceback" in failed.traceback
    assert failed.traceback == ack.error


async def test_neither_a_value_nor_a_cancellation_is_an_exception(executor: Any, events: Recorder) -> None:
    await executed(executor(lambda: Cancel("refunded")))
    execution = Execution(ROW)
    execution.cancel()
    await executor(lambda: None).execute(execution)
    assert events.of(JobFailed) == []


@pytest.mark.parametrize("kind", [ExecutorKind.ASYNC], ids=["async"])
async def test_an_abandoned_job_has_no_outcome(executor: Any, events: Recorder, kind: ExecutorKind) -> None:
    begun: list[RunningJob] = []
    gone = executor(lambda: 5)

    async def forever() -> None:
        begun.append(current_job())
        await asyncio.Event().wait()

    definition = replace(gone._registry.get("shop.work"), prepare=lambda _, __: forever)
    gone._registry.add(definition)
    execution = Execution(ROW)
    execution.task = asyncio.create_task(gone.execute(execution))
    await eventually(lambda: bool(begun))
    execution.abandon()
    assert await execution.task is None
    assert begun[0].cancelled
    assert events.of(JobAbandoned) == [JobAbandoned(node="here", id=7, queue="mailers", worker="shop.work", attempt=2)]
    assert events.of(JobFinished) == []


@pytest.mark.usefixtures("long_last_words")
@pytest.mark.parametrize("kind", [ExecutorKind.THREAD], ids=["thread"])
async def test_an_abandoned_job_that_ends_at_once_with_a_result_counts(executor: Any, kind: ExecutorKind) -> None:
    begun, told = threading.Event(), threading.Event()

    def until_cancelled() -> object:
        begun.set()
        told.wait()
        assert current_job().cancelled
        return Cancel("told to stop")

    execution = Execution(ROW)
    execution.task = asyncio.create_task(executor(until_cancelled).execute(execution))
    await asyncio.to_thread(begun.wait)
    execution.abandon()
    told.set()
    assert await execution.task == Ack(7, AT, JobState.CANCELLED, error="cancelled: told to stop")


@pytest.mark.parametrize("kind", [ExecutorKind.THREAD], ids=["thread"])
async def test_an_abandoned_job_that_raises_has_no_outcome(executor: Any, kind: ExecutorKind) -> None:
    begun, told = threading.Event(), threading.Event()

    def until_cancelled() -> object:
        begun.set()
        told.wait()
        assert current_job().cancelled
        raise ValueError("stopped")

    execution = Execution(ROW)
    execution.task = asyncio.create_task(executor(until_cancelled).execute(execution))
    await asyncio.to_thread(begun.wait)
    execution.abandon()
    told.set()
    assert await execution.task is None


async def test_a_job_that_is_cancelled_before_it_began_does_not_begin(executor: Any) -> None:
    began: list[int] = []
    execution = Execution(ROW)
    execution.cancel()
    ack = await executor(lambda: began.append(1)).execute(execution)
    assert (ack.state, ack.error, began) == (JobState.CANCELLED, "cancelled: on request, while it was running", [])


async def test_a_job_that_is_abandoned_and_cancelled_is_left_to_its_mark_in_the_table(
    executor: Any, kind: ExecutorKind
) -> None:
    execution = Execution(ROW)

    def stopped() -> None:
        execution.abandon()
        execution.cancel()
        raise asyncio.CancelledError

    assert await executor(stopped).execute(execution) is None


def test_an_execution_may_be_abandoned_before_it_began() -> None:
    execution = Execution(ROW)
    execution.abandon()
    assert execution.abandoned


async def test_a_telemetry_handler_that_fails_does_not_fail_the_job(
    executor: Any, caplog: pytest.LogCaptureFixture, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Recorder, __: object) -> None:
        raise ValueError("gauge")

    monkeypatch.setattr(Recorder, "_record", broken)
    with Recorder(), caplog.at_level(logging.ERROR):
        assert (await executed(executor(lambda: 5))).state is JobState.COMPLETED
    assert "gauge" in caplog.text


@pytest.mark.parametrize("length", [MAX_ERROR - 1, MAX_ERROR])
def test_short_errors_are_kept_whole(length: int) -> None:
    assert clipped("x" * length) == "x" * length


def test_a_clipped_error_says_how_much_is_missing() -> None:
    assert "\n... 1 characters left out ...\n" in clipped("x" * (MAX_ERROR + 1))


def test_a_description_is_text_that_can_be_stored() -> None:
    assert describe(ValueError("a\x00b\ud800")) == "ValueError: a\ufffdb?\n"
