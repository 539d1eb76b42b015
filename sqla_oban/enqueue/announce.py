"""Tells of jobs that were enqueued, when their session has committed them.

The listeners are on `Session` itself, which every session is, also the one inside an AsyncSession. While nobody wants
the event they cost a call a flush.
"""

from typing import NamedTuple

from sqlalchemy import Connection, event, inspect
from sqlalchemy.orm import Session, SessionTransaction

from sqla_oban import telemetry
from sqla_oban.models import JobMixin
from sqla_oban.process import process_name
from sqla_oban.telemetry.bus import wanted
from sqla_oban.telemetry.events import Enqueued, JobsEnqueued

KEY = "sqla_oban.announce"


class Flushed(NamedTuple):
    """A job that was inserted in a transaction that may still be rolled back."""

    job: JobMixin
    facts: Enqueued
    connection: Connection


@event.listens_for(Session, "after_flush")
def _collect(session: Session, _: object) -> None:
    """Facts are taken now, because a commit may expire them."""
    if not wanted(JobsEnqueued):
        return
    new = [job for job in session.new if isinstance(job, JobMixin)]
    if new:
        session.info.setdefault(KEY, []).extend(
            Flushed(job, _facts(job), session.connection({"mapper": inspect(job).mapper})) for job in new
        )


@event.listens_for(Session, "after_commit")
def _announce(session: Session) -> None:
    """Not at the release of a savepoint, nor where the session is a guest in a transaction that goes on."""
    if session.in_nested_transaction():
        return
    flushed: list[Flushed] = session.info.pop(KEY, [])
    jobs = tuple(one.facts for one in flushed if _is_stored(one.job) and not one.connection.in_transaction())
    if jobs:
        telemetry.emit(JobsEnqueued(node=process_name(), jobs=jobs))


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    """What a savepoint took with it is found out at the commit; when all is rolled back, nothing is left to tell."""
    if transaction.parent is None:
        session.info.pop(KEY, None)


def _facts(job: JobMixin) -> Enqueued:
    held = job.__dict__
    return Enqueued(held["id"], held.get("queue", "default"), held["worker"])


def _is_stored(job: JobMixin) -> bool:
    """A savepoint that was rolled back has made it a new object again."""
    return inspect(job).key is not None
