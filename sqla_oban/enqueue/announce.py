"""Tells of jobs that were enqueued, when their session has committed them.

The listeners are on `Session` itself, which every session is, also the one inside an AsyncSession. While nobody wants
the event they cost a call a flush.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Connection, event, inspect
from sqlalchemy.orm import Session, SessionTransaction, UOWTransaction
from sqlalchemy.orm.attributes import instance_state

from sqla_oban import telemetry
from sqla_oban.models import JobMixin
from sqla_oban.process import process_name
from sqla_oban.telemetry.bus import wanted
from sqla_oban.telemetry.events import Enqueued, JobsEnqueued

KEY = "sqla_oban.announce"


class Flushed(NamedTuple):
    """A job that was inserted in a transaction that may still be rolled back."""

    facts: Enqueued
    connection: Connection
    savepoints: tuple[SessionTransaction, ...]


@event.listens_for(Session, "after_flush")
def _collect(session: Session, unit: UOWTransaction) -> None:
    """Of what is new, that which this flush has inserted: it may have been given a few objects only."""
    if wanted(JobsEnqueued):
        _keep(session, [job for job in session.new if isinstance(job, JobMixin) and instance_state(job) in unit.states])


def remember(target: object, jobs: Sequence[JobMixin]) -> None:
    """Tell of jobs that were inserted beside the unit of work; of a Connection's transaction nobody hears the end."""
    if isinstance(target, Session) and wanted(JobsEnqueued):
        _keep(target, jobs)


def _keep(session: Session, jobs: Sequence[JobMixin]) -> None:
    """Facts are taken now, because a commit may expire them."""
    savepoints = tuple(open_savepoints(session))
    for mapper, some in groupby(jobs, lambda job: inspect(job).mapper):
        connection = session.connection({"mapper": mapper})
        session.info.setdefault(KEY, []).extend(Flushed(_facts(job), connection, savepoints) for job in some)


def open_savepoints(session: Session) -> Iterator[SessionTransaction]:
    """Those that are open: if one of them is rolled back, the job has never been there."""
    transaction = session.get_nested_transaction()
    while transaction is not None:
        if transaction.nested:
            yield transaction
        transaction = transaction.parent


@event.listens_for(Session, "after_commit")
def _announce(session: Session) -> None:
    """Not at the release of a savepoint, nor where the session is a guest in a transaction that goes on."""
    if session.in_nested_transaction():
        return
    flushed: list[Flushed] = session.info.pop(KEY, [])
    jobs = tuple(one.facts for one in flushed if not one.connection.in_transaction())
    if jobs:
        telemetry.emit(JobsEnqueued(node=process_name(), jobs=jobs))


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    """A savepoint takes with it what was inserted under it, the transaction itself everything."""
    if flushed := session.info.pop(KEY, None):
        session.info[KEY] = [one for one in flushed if transaction.nested and transaction not in one.savepoints]


@event.listens_for(Session, "after_transaction_end")
def _end(session: Session, transaction: SessionTransaction) -> None:
    """A session that is closed without a word takes everything with it too, and may be used again."""
    if transaction.parent is None:
        session.info.pop(KEY, None)


def _facts(job: JobMixin) -> Enqueued:
    held = job.__dict__
    return Enqueued(held["id"], held.get("queue", "default"), held["worker"])
