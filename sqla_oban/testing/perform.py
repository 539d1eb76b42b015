"""Run one job here and now, without a database."""

import itertools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Unpack

from sqlalchemy.orm import class_mapper

from sqla_oban.engine.loading import own_columns
from sqla_oban.errors import InvalidArguments, InvalidJob, shown
from sqla_oban.models import JobMixin
from sqla_oban.models.checks import checked_number
from sqla_oban.models.entity import stored
from sqla_oban.queries.claim import Claimed
from sqla_oban.states import JobState
from sqla_oban.testing.names import AnyWorker, name_of
from sqla_oban.testing.witness import witness
from sqla_oban.workers.options import JobOptions
from sqla_oban.workers.providing import Provider
from sqla_oban.workers.registry import REGISTRY

NOT_GIVEN = "perform_job() was not given; give it dependencies={{{kind}: ...}}"
"""What is said of a type that the worker needs."""
_ids = itertools.count(1)


async def perform_job(
    job_or_worker: JobMixin | AnyWorker,
    args: Mapping[str, Any] | None = None,
    *,
    attempt: int | None = None,
    dependencies: Mapping[Any, Callable[[], Any]] | None = None,
    **options: Unpack[JobOptions],
) -> Any:
    """Run one job as a runner would, without a database, and return what its worker returns.

    The arguments go through JSON, the worker's code runs as a task or in a thread, `current_job()` and `timeout` work,
    and `Snooze`, `Cancel` and `Record` come back as they are. In a sync test: `asyncio.run(perform_job(...))`.

    Args:
        job_or_worker: a job that was made but not added to a session, or a worker or its name.
        args: for a worker: its arguments by name, none by default.
        attempt: which attempt this is; default: the job's own if it has one, else 1.
        dependencies: what the worker asks for besides its arguments, as `SqlaOban` takes them; also its session, or
            the one that loads rows among its arguments: `{AsyncSession: lambda: session}`. It is closed in the end.
        **options: for a worker: those of `with_options`.

    Raises:
        Exception: whatever the worker raises, as it is.
        InvalidArguments: that is no job and no worker, or arguments were given beside a job.
        UnknownWorker: no worker of the job's name was declared.
        UnknownOption, InvalidJob, UnserialisableValue: an option or an argument is wrong.

    >>> await perform_job(send_receipt.new(7))  # doctest: +SKIP
    >>> assert await perform_job(Transcode, {"path": "a.mp4"}, attempt=3) == Snooze(60)  # doctest: +SKIP
    """
    job = _job(job_or_worker, args, options)
    provider = Provider(None, dependencies, model=type(job), lacking=NOT_GIVEN)
    own = {name: job.__dict__.get(name) for name in own_columns(class_mapper(type(job)))}
    seen = await witness(_claimed(job, attempt), job.queue or "default", provider, own)
    if seen.error is not None:
        raise seen.error
    return seen.value


def _job(job_or_worker: JobMixin | AnyWorker, args: Mapping[str, Any] | None, options: Mapping[str, Any]) -> JobMixin:
    if isinstance(job_or_worker, JobMixin):
        if args is not None or options:
            raise InvalidArguments("perform_job() takes arguments and options for a worker; a job has its own")
        return job_or_worker
    if args is not None and not isinstance(args, Mapping):
        raise InvalidArguments(f"perform_job() takes a dict of args, got {shown(args)}")
    name = name_of(job_or_worker)
    definition = REGISTRY.get(name)
    return definition.defaults.with_options(options, "perform_job()").make(name, definition.encode(args or {}))


def _claimed(job: JobMixin, attempt: int | None) -> Claimed:
    """As a claim would return it; what the table would fill in is filled in here."""
    now = datetime.now(UTC)
    return Claimed(
        id=job.id or next(_ids),
        state=JobState.EXECUTING,
        worker=job.worker,
        attempt=_attempt(job, attempt),
        max_attempts=job.max_attempts or 20,
        priority=job.priority or 0,
        attempted_at=now.replace(tzinfo=None),
        scheduled_at=_text(job.scheduled_at, now),
        inserted_at=_text(job.inserted_at, now),
        args=json.dumps(job.args, default=stored),
        meta=json.dumps(job.meta or {}),
        errors=json.dumps(job.errors or []),
        tags=list(job.tags or []),
    )


def _attempt(job: JobMixin, attempt: int | None) -> int:
    if attempt is not None and checked_number("attempt", attempt) == 0:
        raise InvalidJob("attempt must be at least 1, got 0")
    return attempt or job.attempt or 1


def _text(moment: datetime | None, otherwise: datetime) -> str:
    return (moment or otherwise).astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
