"""Run jobs as soon as they are enqueued, in the process that enqueues them."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sqlalchemy import event
from sqlalchemy.orm import Session, UOWTransaction

from sqla_oban.errors import EndlessJobs
from sqla_oban.models import JobMixin
from sqla_oban.queries.expressions import JOBS
from sqla_oban.queries.hasten import EVER, is_due
from sqla_oban.testing.target import InSession, result_of
from sqla_oban.testing.turns import Turns

DEEPEST = 10
"""How many jobs may each have enqueued the next; their sessions are all open, and a pool holds 15."""
NEW = "sqla_oban.inline"
"""Where a session keeps the ids of the jobs that it has inserted."""

_open: set[object] = set()
_depth: ContextVar[int] = ContextVar("sqla_oban_inline_depth", default=0)


@contextmanager
def inline() -> Iterator[None]:
    """While this is open, a session that commits runs the jobs that were added to it, right before, in its transaction.

    Each runs once, whenever it is due, in whatever queue; through the statements and the executor of a runner, so that
    its row is committed with its outcome. What a worker raises is raised by the `commit()`, which does not happen then.
    Releasing a savepoint does not count as a commit; `insert_all` and other bulk INSERTs are not seen. It works for
    AsyncSession and Session, and holds for the whole process, since tests, fixtures and applications run in many tasks
    and threads.

    A worker that opens a connection of its own does not see what its job was enqueued with, because that is not
    committed yet: bind its session to the test's connection.

    Raises:
        EndlessJobs: by a `commit()`, when a job enqueued a job that enqueued a job and so on, ten deep.

    >>> with inline():  # doctest: +SKIP
    ...     session.add(send_receipt.new(7))
    ...     await session.commit()
    """
    _listen()
    this = object()
    _open.add(this)
    try:
        yield
    finally:
        _open.discard(this)


@functools.cache
def _listen() -> None:
    """Once and for all: to take a listener away while another thread's session calls it is no safe thing to do."""
    event.listen(Session, "after_flush", _remember)
    event.listen(Session, "before_commit", _run)


def _remember(session: Session, _: UOWTransaction) -> None:
    if _open and (new := [one.id for one in session.new if isinstance(one, JobMixin)]):
        session.info.setdefault(NEW, []).extend(new)


def _run(session: Session) -> None:
    if not _open or session.in_nested_transaction():
        return
    session.flush()
    while ids := session.info.pop(NEW, None):  # a worker may add to this very session
        with _one_deeper():
            which = JOBS.c.id.in_(ids) & is_due(EVER)
            result_of(Turns(InSession(session), which, safely=False, limit=len(ids)).run())


@contextmanager
def _one_deeper() -> Iterator[None]:
    depth = _depth.get() + 1
    if depth > DEEPEST:
        raise EndlessJobs("each of ten jobs has enqueued the next: inline that never ends; use drain() with a limit")
    before = _depth.set(depth)
    try:
        yield
    finally:
        _depth.reset(before)
