"""Which jobs a test has enqueued, or has not."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Unpack, overload

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from sqla_oban.errors import shown
from sqla_oban.models import Job
from sqla_oban.testing.filters import Filters, conditions
from sqla_oban.testing.names import AnyWorker, name_of
from sqla_oban.testing.target import AsyncTarget, Ground, SyncTarget, Target, answer, ground

POLL = 0.02
"""Seconds between two looks for what others may commit."""
TOLD = 10
"""How many of the stored jobs a failure tells of."""


@overload
def all_enqueued(target: SyncTarget, worker: AnyWorker | None = ..., **filters: Unpack[Filters]) -> list[Job]: ...
@overload
def all_enqueued(
    target: AsyncTarget, worker: AnyWorker | None = ..., **filters: Unpack[Filters]
) -> Coroutine[Any, Any, list[Job]]: ...
def all_enqueued(
    target: Target, worker: AnyWorker | None = None, **filters: Unpack[Filters]
) -> list[Job] | Coroutine[Any, Any, list[Job]]:
    """The jobs that have not run yet (available, scheduled or suspended), newest first.

    Args:
        target: an AsyncSession (awaited), a Session (a plain call), a SqlaOban or an AsyncEngine (awaited). What is
            pending in a session is flushed first.
        worker: a worker or its name.
        **filters: `queue`, `priority`, `scheduled_at` and `schedule_in` within a second, `args` and `meta` and `tags`
            that the job's contain, and `state` for jobs in another than those three. With a worker, `args` are what
            `new` takes, some of them or all, also rows and dates, or another job's.

    Raises:
        UnknownOption: there is no such filter.
        InvalidArguments, InvalidJob, UnserialisableValue: no job could have such a value, or `target` is none.

    >>> [job] = await all_enqueued(session, send_receipt, queue="mailers")  # doctest: +SKIP
    """
    wanted = conditions(worker, filters, "all_enqueued()")
    return answer(target, ground(target).run(partial(_find, wanted=wanted)))


@overload
def assert_enqueued(
    target: SyncTarget,
    worker: AnyWorker | None = ...,
    *,
    count: int | None = ...,
    within: float = ...,
    **filters: Unpack[Filters],
) -> list[Job]: ...
@overload
def assert_enqueued(
    target: AsyncTarget,
    worker: AnyWorker | None = ...,
    *,
    count: int | None = ...,
    within: float = ...,
    **filters: Unpack[Filters],
) -> Coroutine[Any, Any, list[Job]]: ...
def assert_enqueued(
    target: Target,
    worker: AnyWorker | None = None,
    *,
    count: int | None = None,
    within: float = 0.0,
    **filters: Unpack[Filters],
) -> list[Job] | Coroutine[Any, Any, list[Job]]:
    """Assert that such jobs wait to be run; returns them, newest first.

    Args:
        target, worker, **filters: as those of `all_enqueued`.
        count: how many there must be; default: one or more.
        within: seconds to wait for jobs that others commit.

    Raises:
        AssertionError: there are none, or not so many; it tells what is stored instead.
        UnknownOption, InvalidArguments, InvalidJob, UnserialisableValue: as `all_enqueued`.

    >>> await assert_enqueued(session, send_receipt, args={"order_id": 7})  # doctest: +SKIP
    """
    wanted = conditions(worker, filters, "assert_enqueued()")

    def is_enough(found: list[Job]) -> bool:
        return bool(found) if count is None else len(found) == count

    async def check(on: Ground) -> list[Job]:
        found = await _wait(on, wanted, within, is_enough)
        if not is_enough(found):
            number = "a job" if count is None else f"{count} jobs, found {len(found)},"
            raise AssertionError(
                await on.run(partial(_told, f"expected {number} enqueued {_said(worker, filters, within)}"))
            )
        return found

    return answer(target, check(ground(target)))


@overload
def refute_enqueued(
    target: SyncTarget, worker: AnyWorker | None = ..., *, within: float = ..., **filters: Unpack[Filters]
) -> None: ...
@overload
def refute_enqueued(
    target: AsyncTarget, worker: AnyWorker | None = ..., *, within: float = ..., **filters: Unpack[Filters]
) -> Coroutine[Any, Any, None]: ...
def refute_enqueued(
    target: Target, worker: AnyWorker | None = None, *, within: float = 0.0, **filters: Unpack[Filters]
) -> Coroutine[Any, Any, None] | None:
    """Assert that no such job waits to be run.

    Args:
        target, worker, **filters: as those of `all_enqueued`.
        within: seconds in which none may appear.

    Raises:
        AssertionError: there are some; it tells which.
        UnknownOption, InvalidArguments, InvalidJob, UnserialisableValue: as `all_enqueued`.

    >>> await refute_enqueued(session, send_receipt)  # doctest: +SKIP
    """
    wanted = conditions(worker, filters, "refute_enqueued()")

    async def check(on: Ground) -> None:
        if found := await _wait(on, wanted, within, bool):
            raise AssertionError(f"expected no job enqueued {_said(worker, filters, within)}, found:{_listed(found)}")

    return answer(target, check(ground(target)))


async def _wait(
    on: Ground, wanted: list[ColumnElement[bool]], within: float, is_enough: Callable[[list[Job]], bool]
) -> list[Job]:
    """The jobs found, once they are enough or the time is over."""
    ends = time.monotonic() + within
    while True:
        found = await on.run(partial(_find, wanted=wanted))
        if is_enough(found) or time.monotonic() >= ends:
            return found
        await asyncio.sleep(POLL)


def _find(session: Session, wanted: list[ColumnElement[bool]]) -> list[Job]:
    """As they are stored: what the session has loaded before is read anew."""
    session.flush()
    query = select(Job).where(*wanted).order_by(Job.id.desc())
    return list(session.scalars(query, execution_options={"populate_existing": True}))


def _told(expectation: str, session: Session) -> str:
    stored = list(session.scalars(select(Job).order_by(Job.id.desc()).limit(TOLD + 1)))
    return f"{expectation}; stored are:{_listed(stored)}" if stored else f"{expectation}; no jobs are stored"


def _said(worker: AnyWorker | None, filters: Mapping[str, Any], within: float) -> str:
    named = {} if worker is None else {"worker": name_of(worker)}
    asked = ", ".join(f"{name}={shown(value)}" for name, value in {**named, **filters}.items())
    return (f"with {asked}" if asked else "at all") + (f" within {within:g} s" if within else "")


def _listed(jobs: list[Job]) -> str:
    lines = [
        f"\n  {job!r} args={shown(job.args)} scheduled_at={job.scheduled_at:%Y-%m-%d %H:%M:%S}" for job in jobs[:TOLD]
    ]
    return "".join(lines) + ("\n  ..." if len(jobs) > TOLD else "")
