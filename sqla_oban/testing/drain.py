"""Run the jobs of a queue, one after the other, in the transaction of a test."""

from collections.abc import Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import Any, overload

from sqlalchemy import ColumnElement, DateTime, literal, select
from sqlalchemy.orm import Session

from sqla_oban.models.checks import aware, checked_name, checked_number
from sqla_oban.queries.expressions import JOBS, statement_time
from sqla_oban.queries.hasten import EVER, is_due
from sqla_oban.testing.target import AsyncTarget, Ground, SyncTarget, Target, answer, ground
from sqla_oban.testing.turns import Drained, Turns


@overload
def drain(
    target: SyncTarget,
    queue: str = ...,
    *,
    recursive: bool = ...,
    scheduled: bool | datetime = ...,
    safely: bool = ...,
    limit: int | None = ...,
) -> Drained: ...
@overload
def drain(
    target: AsyncTarget,
    queue: str = ...,
    *,
    recursive: bool = ...,
    scheduled: bool | datetime = ...,
    safely: bool = ...,
    limit: int | None = ...,
) -> Coroutine[Any, Any, Drained]: ...
def drain(
    target: Target,
    queue: str = "default",
    *,
    recursive: bool = True,
    scheduled: bool | datetime = False,
    safely: bool = False,
    limit: int | None = None,
) -> Drained | Coroutine[Any, Any, Drained]:
    """Run the jobs of `queue` that are due, here and now, one after the other, in the order in which a runner would.

    They are claimed, executed and acknowledged as a runner does it: what a worker returns or raises, its backoff and
    its timeout have the same effects, and the rows show them. Each job runs once: one that snoozes or fails is left
    for the next drain.

    With a session all that happens in its transaction, so that jobs that were added and not committed run too. A
    worker that opens a connection of its own does not see what is not committed: bind its session to the test's
    connection, or commit and give the runner.

    Args:
        target: an AsyncSession (awaited) or a Session (a plain call); or a SqlaOban or an AsyncEngine (awaited), which
            commit.
        queue: which one.
        recursive: whether jobs that are enqueued meanwhile, as by other jobs, run too.
        scheduled: whether jobs run that are due later or wait for another attempt; or up to which moment.
        safely: keep what a worker raises in the job's errors, and go on. By default it is raised here besides, as it
            is, after it was written.
        limit: how many jobs to run at most; default: all, and 1,000 are taken for a mistake.

    Raises:
        Exception: whatever a worker raises, unless `safely`.
        EndlessJobs: without a limit, there were more than 1,000 jobs.
        InvalidArguments, InvalidJob: `target`, or another argument, is none.

    >>> session.add(send_receipt.new(7))  # doctest: +SKIP
    >>> assert await drain(session, "mailers") == Drained(completed=1)  # doctest: +SKIP
    """
    which = (JOBS.c.queue == checked_name("queue", queue)) & is_due(_latest(scheduled))
    most = None if limit is None else checked_number("limit", limit)
    return answer(target, _drain(ground(target), which, recursive=recursive, safely=safely, limit=most))


async def _drain(
    ground: Ground, which: ColumnElement[bool], *, recursive: bool, safely: bool, limit: int | None
) -> Drained:
    if not recursive:
        which = JOBS.c.id.in_(await ground.run(partial(_ids, which=which)))
    return await Turns(ground, which, safely=safely, limit=limit).run()


def _ids(session: Session, which: ColumnElement[bool]) -> list[int]:
    session.flush()
    return list(session.scalars(select(JOBS.c.id).where(which)))


def _latest(scheduled: bool | datetime) -> ColumnElement[Any]:  # noqa: FBT001 (the option itself)
    """The moment by which a job must be due."""
    if isinstance(scheduled, bool):
        return EVER if scheduled else statement_time()
    return literal(aware("scheduled", scheduled).astimezone(UTC).replace(tzinfo=None), DateTime())
