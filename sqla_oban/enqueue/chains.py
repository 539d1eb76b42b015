"""Chains through the unit of work and in bulk; who has the turn is decided by triggers (`migrations/chains.py`).

1. Before anything is sent, the keys are computed anew, and the locks of several chains are taken in one order.
2. A key that is made of an entity's is written when that is known: right before the INSERT, else after the flush. In
   that case the UPDATE enters the chain, within the transaction.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, event, select, update
from sqlalchemy.orm import Mapper, Session, UOWTransaction, class_mapper
from sqlalchemy.orm.attributes import instance_state, set_committed_value

from sqla_oban.enqueue.duplicates import table_of
from sqla_oban.models import JobMixin
from sqla_oban.models.chain_key import key_of, mark
from sqla_oban.queries.chains import LOCK_CHAINS

INSERTED = "sqla_oban.chains"
"""Where a session keeps, during a flush, the jobs of chains that it has inserted, and through which connection."""


@event.listens_for(Session, "before_flush")
def _prepare(session: Session, _: UOWTransaction, __: Sequence[object] | None) -> None:
    session.info.pop(INSERTED, None)
    enter(session, [job for job in session.new if isinstance(job, JobMixin)])


def enter(target: Session | Connection, new: Iterable[JobMixin]) -> None:
    """Prepare jobs that are about to be inserted by `target`.

    Raises:
        InvalidJob: an argument that a key is made of is not there.
    """
    jobs = [job for job in new if job.chain is not None]
    for job in jobs:
        mark(job)
    keys = sorted({job.chain_key for job in jobs if job.chain_key is not None})
    if len(keys) > 1:  # one lock needs no order
        mapper = class_mapper(type(jobs[0]))
        connection = target.connection({"mapper": mapper}) if isinstance(target, Session) else target
        connection.execute(LOCK_CHAINS, {"keys": keys})


@event.listens_for(JobMixin, "before_insert", propagate=True)
def _identify(_: Mapper[Any], connection: Connection, job: JobMixin) -> None:
    session = instance_state(job).session
    if job.chain is not None and session is not None:
        mark(job)
        session.info.setdefault(INSERTED, []).append((connection, job))


@event.listens_for(Session, "after_flush")
def _complete(session: Session, _: UOWTransaction) -> None:
    inserted: list[tuple[Connection, JobMixin]] = session.info.pop(INSERTED, [])
    for connection, job in inserted:
        jobs = table_of(job)
        if job.chain_key is None:
            key = key_of(job)
            enter = update(jobs).where(jobs.c.id == bindparam("of_job")).values(chain_key=bindparam("key"))
            connection.execute(enter, {"of_job": job.id, "key": key})
            set_committed_value(job, "chain_key", key)
        elif "state" not in job.__dict__ or job.__dict__["state"] == "suspended":
            continue  # as the INSERT returned it
        state = connection.scalar(select(jobs.c.state).where(jobs.c.id == job.id))
        set_committed_value(job, "state", state)


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, _: object) -> None:
    session.info.pop(INSERTED, None)
