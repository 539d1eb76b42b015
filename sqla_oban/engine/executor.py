"""Runs one claimed job and says how it ended."""

import asyncio
import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, timedelta
from functools import partial
from typing import Any

from sqla_oban import telemetry
from sqla_oban.backoff import exponential
from sqla_oban.engine.dispatchers.dispatcher import Dispatcher
from sqla_oban.engine.dispatchers.wire import Raised
from sqla_oban.engine.execution import Execution
from sqla_oban.engine.loading import load, model_of, moment, own_values
from sqla_oban.engine.parts import Look, Parts, has_part, parts_of
from sqla_oban.errors import JobTimeout, UnknownWorker
from sqla_oban.models import JobMixin
from sqla_oban.outcomes import RESULT, Cancel, Record, Snooze
from sqla_oban.payload import storable_text
from sqla_oban.queries.ack import Ack
from sqla_oban.queries.claim import Claimed
from sqla_oban.queries.headline import SECOND
from sqla_oban.settings import ExecutorKind
from sqla_oban.states import JobState
from sqla_oban.telemetry.bus import wanted
from sqla_oban.telemetry.events import JobAbandoned, JobFailed, JobFinished, JobStarted
from sqla_oban.workers.calls import Settled, Surroundings
from sqla_oban.workers.context import RUNNING, running_job
from sqla_oban.workers.definition import Definition
from sqla_oban.workers.parking import Parked
from sqla_oban.workers.providing import Provider
from sqla_oban.workers.registry import Registry

MAX_ERROR = 50_000
"""Characters of a traceback that are kept, half from each end: errors accumulate in the row with every attempt."""
READ_JSON = json.JSONDecoder().raw_decode
"""As `json.loads`, for text that PostgreSQL wrote: there is no white space around it to be looked for."""
ON_REQUEST = "on request, while it was running"
MAX_SUMMARY = 1_000
"""Characters of an exception's first line that an event carries."""


class Executor:
    """Runs jobs of one queue: resolves the worker, dispatches the call, judges the result.

    `execute` never raises: whatever a worker, its arguments or its name do ends as a failed attempt with its reason.

    Args:
        holder: `[node, producer]`, as the jobs are claimed by.
        provider: makes what workers ask for besides their arguments.
        look: looks up the places of jobs in workflows.
        otherwise: where workers run that do not say so themselves; None for by their kind.
    """

    def __init__(
        self,
        registry: Registry,
        dispatchers: Mapping[ExecutorKind, Dispatcher],
        *,
        node: str,
        queue: str,
        holder: list[str],
        provider: Provider,
        look: Look,
        otherwise: ExecutorKind | None = None,
    ) -> None:
        self._registry = registry
        self._dispatchers = dispatchers
        self._node = node
        self._queue = queue
        self._holder = holder
        self._provider = provider
        self._look = look
        self._otherwise = otherwise

    async def execute(self, job: Execution) -> Ack | None:
        """Run the job; returns what to write, or None: it was abandoned, or its worker has written its outcome."""
        claimed, started = job.claimed, time.monotonic()
        if wanted(JobStarted):
            telemetry.emit(self._begun(claimed))
        reason: str | None = None
        settled = False
        try:
            result = await self._call(job)
            settled = isinstance(result, Settled)
            ack = result.ack if isinstance(result, Settled) else self._judge(job, result)
        except BaseException as raised:  # SystemExit in a worker must end the attempt, not the process
            if job.abandoned:
                telemetry.emit(JobAbandoned(**self._facts(claimed)))
                return None
            if job.cancelled:
                ack = _stopped(claimed, raised)
            else:
                reason = summary(raised)  # not the exception: its traceback holds this frame
                ack = self._failed(job, raised)
                if wanted(JobFailed):
                    telemetry.emit(self._raised(claimed, ack, raised, reason, time.monotonic() - started))
        if wanted(JobFinished):
            seconds = time.monotonic() - started
            telemetry.emit(JobFinished(**self._facts(claimed), state=ack.state, seconds=seconds, error=reason))
        return None if settled else ack

    async def look_up(self, ids: Sequence[int]) -> Parts:
        """The places of jobs in workflows.

        Raises:
            whatever looking raises.
        """
        return await parts_of(ids, self._look)

    async def _call(self, job: Execution) -> object:
        claimed = job.claimed
        if job.cancelled:
            return Cancel(ON_REQUEST)
        definition = self._registry.get(claimed.worker)
        args, _ = READ_JSON(claimed.args)
        if is_overdue(claimed, definition.rules.deadline):
            return Cancel(f"it did not begin within {definition.rules.deadline:g} s after it was due")
        load = partial(self._load, job, definition)
        call = definition.prepare(args, Surroundings(load, self._provider, partial(self._judge, job)))
        job.running = running_job(claimed, args, queue=self._queue, schema=self._provider.schema)
        RUNNING.set(job.running)
        if has_part(claimed):
            parts = job.parts if claimed.id in job.parts else await parts_of([claimed.id], self._look)
            job.running.part = parts[claimed.id]
        if definition.takes_job and job.own is None:  # a cancellation can come here: it raises, as in the work itself
            job.own = await own_values(model_of(definition, self._provider), claimed.id, self._provider)
        dispatcher = self._dispatchers[self._place(definition)]
        limit = definition.rules.time_limit(load)
        try:
            return await (dispatcher.run(call, job) if limit is None else _limited(job, limit, dispatcher, call))
        except Parked as parked:
            return parked.outcome

    def _place(self, definition: Definition) -> ExecutorKind:
        return definition.place(self._otherwise)

    def _judge(self, job: Execution, result: object) -> Ack:
        return judged(job.claimed, result, cancelled=job.cancelled)

    def _failed(self, job: Execution, error: BaseException) -> Ack:
        claimed, text = job.claimed, describe(error)
        if claimed.attempt >= claimed.max_attempts:
            return Ack(claimed.id, claimed.attempted_at, JobState.DISCARDED, error=text)
        delay, complaint = self._backoff(job)
        return Ack(claimed.id, claimed.attempted_at, JobState.RETRYABLE, delay=delay, error=clipped(text + complaint))

    def _backoff(self, job: Execution) -> tuple[float, str]:
        """The delay by the worker's own rule; if that fails, by the default's, with the complaint to record."""
        claimed = job.claimed
        try:
            definition: Definition = self._registry.get(claimed.worker)
            load = partial(self._load, job, definition)
            return definition.rules.delay(load, claimed.attempt, claimed.max_attempts), ""
        except UnknownWorker:
            return exponential(claimed.attempt, claimed.max_attempts), ""
        except BaseException as error:  # SystemExit as well: see `execute`
            fallback = exponential(claimed.attempt, claimed.max_attempts)
            return fallback, f"{SECOND}{describe(error)}"

    def _load(self, job: Execution, definition: Definition) -> JobMixin:
        model = model_of(definition, self._provider)
        return load(job.claimed, queue=self._queue, holder=self._holder, model=model, own=job.own or {})

    def _begun(self, claimed: Claimed) -> JobStarted:
        return JobStarted(
            **self._facts(claimed),
            max_attempts=claimed.max_attempts,
            args=claimed.args,
            tags=tuple(claimed.tags),
            meta=claimed.meta,
            waited=(claimed.attempted_at.replace(tzinfo=UTC) - moment(claimed.scheduled_at)).total_seconds(),
        )

    def _raised(self, claimed: Claimed, ack: Ack, error: BaseException, reason: str, seconds: float) -> JobFailed:
        return JobFailed(
            **self._facts(claimed),
            max_attempts=claimed.max_attempts,
            state=ack.state,
            seconds=seconds,
            kind=error.kind if type(error) is Raised else type(error).__qualname__,
            message=reason,
            traceback=ack.error or "",
        )

    def _facts(self, claimed: Claimed) -> dict[str, Any]:
        return {
            "node": self._node,
            "id": claimed.id,
            "queue": self._queue,
            "worker": claimed.worker,
            "attempt": claimed.attempt,
        }


def describe(error: BaseException) -> str:
    """An exception with its traceback, as text that can be stored.

    >>> describe(ValueError("no such order"))
    'ValueError: no such order\\n'
    """
    told = error.told if type(error) is Raised else _told(traceback.format_exception, error)
    return clipped(storable_text(told))


def clipped(text: str) -> str:
    """`text` shortened in its middle to what is kept of an error."""
    if len(text) <= MAX_ERROR:
        return text
    half = MAX_ERROR // 2
    return f"{text[:half]}\n... {len(text) - MAX_ERROR} characters left out ...\n{text[-half:]}"


def _told(tell: Callable[[BaseException], list[str]], error: BaseException) -> str:
    """An exception is the user's object, and Python's own account of it can fail (a SyntaxError with an odd offset)."""
    try:
        return "".join(tell(error))
    except Exception as problem:
        return f"{type(error).__qualname__}, which cannot be told: {type(problem).__qualname__}\n"


async def _limited(job: Execution, limit: float, dispatcher: Dispatcher, call: Callable[[], Any]) -> object:
    """What `call` returns within `limit` seconds.

    Raises:
        JobTimeout: it was stopped, because it took longer.
    """
    job.limit = limit
    try:
        return await dispatcher.run(call, job)
    except BaseException as error:
        if job.timed_out and not job.abandoned:
            raise JobTimeout(f"{job.claimed.worker} was stopped after its timeout of {limit:g} s") from error
        raise
    finally:
        job.end()


def is_overdue(claimed: Claimed, deadline: float | None) -> bool:
    """Whether a job begins for the first time, and later than `deadline` seconds after it was due.

    Both moments are PostgreSQL's own.
    """
    if deadline is None or claimed.attempt > 1 or '"snoozed"' in claimed.meta:
        return False
    return claimed.attempted_at.replace(tzinfo=UTC) - moment(claimed.scheduled_at) > timedelta(seconds=deadline)


def judged(claimed: Claimed, result: object, *, cancelled: bool) -> Ack:
    """What a result means; of a cancelled job, whatever it is, that the job is cancelled."""
    ack = _meant(claimed, result)
    return ack._replace(state=JobState.CANCELLED, delay=None, refund=False) if cancelled else ack


def _stopped(claimed: Claimed, raised: BaseException) -> Ack:
    """How a cancelled job ended; an exception of its own is told, the cancellation's traceback is not."""
    told = "" if isinstance(raised, asyncio.CancelledError) else f"\n{describe(raised)}"
    error = clipped(storable_text(f"cancelled: {ON_REQUEST}{told}"))
    return Ack(claimed.id, claimed.attempted_at, JobState.CANCELLED, error=error)


def _meant(claimed: Claimed, result: object) -> Ack:
    match result:
        case None:
            return Ack(claimed.id, claimed.attempted_at, JobState.COMPLETED)
        case Snooze():
            meta = None if result.meta is None else json.dumps(dict(result.meta))
            return Ack(claimed.id, claimed.attempted_at, JobState.SCHEDULED, delay=result.delay, refund=True, meta=meta)
        case Record():
            meta = json.dumps({RESULT: result.value})
            return Ack(claimed.id, claimed.attempted_at, JobState.COMPLETED, meta=meta)
        case Cancel():
            reason = clipped(storable_text(f"cancelled: {result.reason}"))
            return Ack(claimed.id, claimed.attempted_at, JobState.CANCELLED, error=reason)
        case _:
            return Ack(claimed.id, claimed.attempted_at, JobState.COMPLETED)


def summary(error: BaseException) -> str:
    """The first line of what can be said of an exception.

    >>> summary(ValueError("no such order"))
    'ValueError: no such order'
    """
    if type(error) is Raised:
        return error.summary
    first_line = _told(traceback.format_exception_only, error).strip().partition("\n")[0]
    return storable_text(first_line[:MAX_SUMMARY])
