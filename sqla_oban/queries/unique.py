"""Find the jobs that hold unique keys, and have the others' keys to oneself.

Why of two transactions that enqueue the same job only one does, and neither fails:

1. Whoever is about to make a row hold a key first takes the advisory lock of that key, which lasts as long as the
   transaction (or savepoint) does: `reserve`, or a trigger for those who know nothing of it.
2. The look after the lock is a statement of its own. Under READ COMMITTED it sees what was committed while we waited;
   so a key that is free then stays so until our own INSERT.
3. Keys are locked in one order within one statement, so that two of these cannot wait for each other.

A key that a committed job holds needs no lock: its duplicates wait for nobody. Advisory locks and not those of rows, so
that no claim and no acknowledgement is ever held up by an open transaction that enqueues.

Under REPEATABLE READ and SERIALIZABLE the second look sees no more than the first, and the INSERT may fail on the
unique index as it may on any other: to be tried again like a serialisation failure.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Float,
    Integer,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_oban.models.unique_key import HELD
from sqla_oban.queries.expressions import literal, now, seconds
from sqla_oban.states import JobState

PLACE: Final[ColumnElement[int]] = literal_column("1868718446", Integer())
"""The first part of the advisory locks of unique keys, as in the migration; the second is a slot."""
SLOTS: Final[ColumnElement[int]] = literal_column("4095", Integer())
"""Keys share so many locks and one: see the migration."""


@lru_cache(maxsize=64)
def reserve(jobs: Table) -> Executable:
    """Each of `keys` with the id of the job that holds it, or with NULL and its lock, for which it waits."""
    holder = jobs.alias("holder")
    asked = func.unnest(_keys()).table_valued(column("key", Text)).render_derived(name="asked")
    key = asked.c.key
    slot = cast(func.hashtextextended(key, literal_column("0")).op("&")(SLOTS), Integer)
    wanted = (
        select(key, slot.label("slot"), holder.c.id)
        .select_from(asked)
        .outerjoin(holder, and_(holder.c.unique_key == key, _held(), ~_expired()))
        .order_by(literal_column("2"))
        .subquery("wanted")
    )
    locked = case((wanted.c.id.is_(None), cast(func.pg_advisory_xact_lock(PLACE, wanted.c.slot), Text)))
    return select(wanted.c.key, wanted.c.id, locked.label("locked"))


@lru_cache(maxsize=64)
def holders(jobs: Table) -> Executable:
    """The jobs that hold one of `keys`, and whether their time for it is over."""
    holder = jobs.alias("holder")
    return select(holder.c.unique_key, holder.c.id, _expired().label("expired")).where(
        holder.c.unique_key == func.any(_keys()), _held()
    )


@lru_cache(maxsize=64)
def give_up(jobs: Table) -> Executable:
    """The jobs `ids` hold their keys no longer; what they were stays to be read."""
    return (
        update(jobs)
        .where(jobs.c.id == func.any(bindparam("ids", type_=ARRAY(BigInteger))))
        .values(unique_states=literal_column("0"))
    )


@lru_cache(maxsize=64)
def identify(jobs: Table) -> Executable:
    """Gives the job `of_job` its key."""
    return update(jobs).where(jobs.c.id == bindparam("of_job")).values(unique_key=bindparam("key", type_=Text))


def replace(jobs: Table, fields: Collection[str], states: Collection[JobState]) -> Executable:
    """Writes `fields` of a duplicate into the job `of_job`, if that is in one of `states`.

    The moment is `new_scheduled_at`, or `new_delay` seconds from now. A job that waits for its time, or could be
    claimed, does so by its new time; the stager tells its queue, within a second.
    """
    values: dict[str, Any] = {
        name: bindparam(f"new_{name}", type_=jobs.c[name].type) for name in fields if name != "scheduled_at"
    }
    if "max_attempts" in fields:  # the table takes no less than were had
        values["max_attempts"] = func.greatest(values["max_attempts"], jobs.c.attempt)
    if "scheduled_at" in fields:
        later = now() + seconds(bindparam("new_delay", type_=Float(53)))
        due = func.coalesce(bindparam("new_scheduled_at", type_=jobs.c.scheduled_at.type), later)
        target = case((due <= now(), literal(JobState.AVAILABLE)), else_=literal(JobState.SCHEDULED))
        movable = jobs.c.state.in_([literal(JobState.AVAILABLE), literal(JobState.SCHEDULED)])
        values |= {"scheduled_at": due, "state": case((movable, target), else_=jobs.c.state)}
    in_states = jobs.c.state.in_([literal(state) for state in states])
    return update(jobs).where(jobs.c.id == bindparam("of_job"), in_states).values(**values)


def _keys() -> Any:
    return bindparam("keys", type_=ARRAY(Text))


def _held() -> ColumnElement[bool]:
    """In the words of the index, or the planner does not use it."""
    return literal_column(f"({HELD.format(job='holder.')})")


def _expired() -> ColumnElement[bool]:
    over: ColumnElement[bool] = literal_column(
        "holder.inserted_at + holder.unique_period <= timezone('UTC', clock_timestamp())"
    )
    return func.coalesce(over, literal_column("false"))


LOCK_TIMEOUT = text("SELECT current_setting('lock_timeout')")
SET_LOCK_TIMEOUT = text("SELECT set_config('lock_timeout', :value, true)")
