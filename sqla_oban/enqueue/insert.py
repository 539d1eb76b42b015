"""`insert_all`: enqueue many jobs at once."""

from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from itertools import groupby, islice
from typing import Any, TypeVar, overload

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.orm.attributes import instance_state

from sqla_oban.enqueue.carrying import send, tell
from sqla_oban.enqueue.chains import enter
from sqla_oban.enqueue.foreign import insert_foreign
from sqla_oban.enqueue.rows import insert_rows, is_row
from sqla_oban.enqueue.unique import part, settle
from sqla_oban.errors import InvalidJob, shown
from sqla_oban.models import JobMixin
from sqla_oban.models.unique_key import is_unique
from sqla_oban.models.workflow import is_alone

J = TypeVar("J", bound=JobMixin)

BATCH = 20_000
"""Jobs in one statement; an iterable of any length goes in so many at a time."""


@overload
def insert_all(target: Session | scoped_session[Session] | Connection, jobs: Iterable[J]) -> list[J]: ...
@overload
def insert_all(
    target: AsyncSession | async_scoped_session[AsyncSession] | AsyncConnection, jobs: Iterable[J]
) -> Coroutine[Any, Any, list[J]]: ...
def insert_all(target: Any, jobs: Iterable[J]) -> list[J] | Coroutine[Any, Any, list[J]]:
    """Enqueue jobs in the transaction of `target`, by one statement for each 20,000 of them.

    Args:
        target: a Session or a Connection (a plain call), or an AsyncSession or an AsyncConnection (awaited).
        jobs: as made by workers' `new`, and not added to a session; of any mapped class of jobs.

    Returns:
        The very same jobs, in their order, with their ids and all else that is stored. They belong to no session;
        `session.add(job)` takes one in as stored. A unique job that is there already is not inserted: its `conflict`
        is True, and its id that of the job that is there.

    Raises:
        InvalidJob: one of them is no job, is stored already, is in a session, is given twice, or is of a class with a
            table of its own joined to that of jobs; nothing is inserted of its batch. Or `target` is nothing to
            enqueue in.
        UniqueTimeout: another transaction is enqueueing one of them, and has not ended in time.

    >>> await insert_all(session, [send_receipt.new(order.id) for order in orders])  # doctest: +SKIP
    """
    if not isinstance(jobs, Iterable):
        raise InvalidJob(f"insert_all() takes a list of jobs, or another iterable, got {shown(jobs)}")
    match target:
        case AsyncSession() | AsyncConnection():
            return _awaited(target, jobs)
        case Session() | Connection():
            return _insert_all(target, jobs)
        case scoped_session() | async_scoped_session():
            return insert_all(target(), jobs)
        case _:
            kinds = "a Session, an AsyncSession, a Connection or an AsyncConnection"
            raise InvalidJob(f"insert_all() takes {kinds}, got {shown(target)}")


async def _awaited(target: Any, jobs: Iterable[J]) -> list[J]:
    inserted: list[J] = await target.run_sync(partial(_insert_all, jobs=jobs))
    return inserted


def _insert_all(target: Any, jobs: Iterable[J]) -> list[J]:
    inserted: list[J] = []
    for batch in _batches(jobs):
        _check(batch)
        fresh, twins = part(target, batch)
        enter(target, fresh)
        send(fresh)
        for insert, some in groupby(fresh, _way):
            insert(target, list(some))
        tell(fresh)
        settle(twins)
        inserted += batch
    return inserted


def _batches(jobs: Iterable[J]) -> Iterator[list[J]]:
    left = iter(jobs)
    while batch := list(islice(left, BATCH)):
        yield batch


def _check(jobs: list[Any]) -> None:
    for job in jobs:
        if not isinstance(job, JobMixin):
            raise InvalidJob(f"insert_all() takes jobs, as made by a worker's new(), got {shown(job)}")
        state = instance_state(job)
        if state.key is not None or state.session_id is not None:
            raise InvalidJob(f"{job!r} is stored already or in a session; insert_all() takes new jobs")
        if is_alone(job):
            raise InvalidJob(f"insert_all() takes no job of a workflow, as {job!r} is; add the workflow to a session")
        if len(state.mapper.tables) > 1:
            raise InvalidJob(
                f"{job!r} is stored in several tables, which insert_all() cannot do; add it to the session"
            )
    if len({id(job) for job in jobs}) < len(jobs):
        raise InvalidJob("insert_all() was given the same job twice; make two of them")


def _way(job: Any) -> Callable[[Any, list[Any]], None]:
    return insert_rows if is_row(job) and not is_unique(job) and job.chain is None else insert_foreign
