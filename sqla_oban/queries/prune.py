"""Delete jobs that ended long ago."""

from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Executable,
    Float,
    TableValuedAlias,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    false,
    func,
    not_,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_oban.queries.batches import of_live_batch
from sqla_oban.queries.expressions import JOBS, in_states, parallel, seconds, statement_time
from sqla_oban.queries.workflow import of_live_workflow
from sqla_oban.states import JobState


class Ended(NamedTuple):
    """A job that has ended, and whether it is old enough to be deleted."""

    id: int
    at: str
    is_old: bool


def aged(state: JobState) -> Executable:
    """The next `batch` jobs that are `state`, from behind the key `after_at`, `after_id`, oldest first.

    It ends with those that no age among all would delete, `youngest` seconds ago. Each is judged by the age for its
    worker, else by that for its queue, else by the `general` one, all in seconds. Those that are kept come back as
    well: the caller passes over them by the key, so that no statement reads them twice.
    """
    ended = JOBS.c[f"{state.value}_at"]
    by_worker = _ages("workers", "worker_ages", "by_worker")
    by_queue = _ages("queues", "queue_ages", "by_queue")
    age = func.coalesce(by_worker.c.age, by_queue.c.age, bindparam("general", type_=Float(53)))
    given = JOBS.outerjoin(by_worker, by_worker.c.name == JOBS.c.worker).outerjoin(
        by_queue, by_queue.c.name == JOBS.c.queue
    )
    return (
        select(
            JOBS.c.id,
            cast(ended, Text).label("at"),
            ((ended < statement_time() - seconds(age)) & not_(_of_a_living_whole())).label("is_old"),
        )
        .select_from(given)
        .where(
            in_states(state),
            ended < statement_time() - seconds(bindparam("youngest", type_=Float(53))),
            tuple_(ended, JOBS.c.id) > _key("after"),
        )
        .order_by(ended, JOBS.c.id)
        .limit(bindparam("batch", type_=BigInteger))
    )


def surplus(state: JobState) -> Executable:
    """The oldest `batch` jobs of a scope that are `state`, beyond the newest `most` of them.

    The scope is a `worker`, a `queue`, or all that is in none of the scopes of `workers` and `queues`.
    """
    ended = JOBS.c[f"{state.value}_at"]
    key = tuple_(ended, JOBS.c.id)
    newest = (
        select(ended.label("at"), JOBS.c.id)
        .where(in_states(state), ended.is_not(None), _scope(), not_(_of_a_living_whole()))
        .order_by(ended.desc(), JOBS.c.id.desc())
        .offset(bindparam("most", type_=BigInteger))
        .limit(bindparam("one", 1, type_=BigInteger))
        .cte("newest")
        .prefix_with("MATERIALIZED")
    )
    return (
        select(JOBS.c.id)
        .where(
            in_states(state),
            _scope(),
            not_(_of_a_living_whole()),
            key <= select(newest.c.at, newest.c.id).scalar_subquery(),
        )
        .order_by(ended, JOBS.c.id)
        .limit(bindparam("batch", type_=BigInteger))
    )


def prune(state: JobState) -> Executable:
    """Deletes those of `ids` that are still `state`; returns the deleted.

    Jobs of a workflow that lives are kept: those that run later may want to read what they recorded. So are those of a
    batch that lives: without one that was discarded, it would come to be completed.

    In batches, so that no lock is held and no WAL burst made for long; locked rows are passed over, so that two
    leaders, or an operator's statement, neither wait nor deadlock. A discarded job that holds its chain is kept:
    when it goes, the chain goes on.
    """
    holds = and_(JOBS.c.chain_key.is_not(None), JOBS.c.chain_hold)
    free = [not_(func.coalesce(holds, false()))] if state is JobState.DISCARDED else []
    old = (
        select(JOBS.c.id)
        .where(
            *(*free, in_states(state), not_(_of_a_living_whole())),
            JOBS.c.id == func.any(bindparam("ids", type_=ARRAY(BigInteger))),
        )
        .with_for_update(skip_locked=True)
        .cte("old")
        .prefix_with("MATERIALIZED")
    )
    return delete(JOBS).where(JOBS.c.id == old.c.id).returning(JOBS.c.id)


def _of_a_living_whole() -> ColumnElement[bool]:
    return or_(of_live_workflow(), of_live_batch())


def _ages(names: str, ages: str, alias: str) -> TableValuedAlias:
    return parallel(alias, {"name": (Text, names), "age": (Float(53), ages)})


def _key(name: str) -> ColumnElement[Any]:
    at = cast(bindparam(f"{name}_at", type_=Text), DateTime)
    return tuple_(at, bindparam(f"{name}_id", type_=BigInteger))


def _scope() -> ColumnElement[bool]:
    """NULL for the worker and the queue means the general scope."""
    worker, queue = bindparam("worker", type_=Text), bindparam("queue", type_=Text)
    of_no_worker = not_(JOBS.c.worker == func.any(bindparam("workers", type_=ARRAY(Text))))
    of_no_queue = not_(JOBS.c.queue == func.any(bindparam("queues", type_=ARRAY(Text))))
    return or_(
        JOBS.c.worker == worker,
        and_(worker.is_(None), JOBS.c.queue == queue, of_no_worker),
        and_(worker.is_(None), queue.is_(None), of_no_worker, of_no_queue),
    )
