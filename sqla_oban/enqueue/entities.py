"""Entities as arguments of jobs, through the unit of work.

Three steps, so that the job's row holds the key whatever the order in which things were added:

1. Before anything is sent, an entity that cannot get a key is refused: the session stays usable.
2. The unit of work is told to insert an entity's row before the job's, so that one INSERT is enough. It hears that only
   as a hint: SQLAlchemy drops such an order inside cycles.
3. What has no key when the job's INSERT executes gets it by one UPDATE at the end of the flush. That is the guarantee.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, event, update
from sqlalchemy.orm import InstanceState, Mapper, Session, UOWTransaction, class_mapper, unitofwork
from sqlalchemy.orm.attributes import instance_state

from sqla_oban.errors import InvalidEntity
from sqla_oban.models import JobMixin
from sqla_oban.models.entity import Args, Entity, entities

LATE = "sqla_oban.late_entities"
"""Where a session keeps, during a flush, the jobs that were inserted before the keys of their entities were known."""
SAVE_ALL: Any = getattr(unitofwork, "_SaveUpdateAll", None) or getattr(unitofwork, "SaveUpdateAll", None)
"""The step of a unit of work that writes all rows of a mapper; its name differs between SQLAlchemy 2.1 and 2.0. Without
it step 2 is left out, and step 3 has more to do."""

Late = tuple[Connection, JobMixin, list[Entity]]


@event.listens_for(Session, "before_flush")
def _check_and_order(session: Session, unit: UOWTransaction, objects: Sequence[object] | None) -> None:
    for job in (*session.new, *session.dirty):
        if isinstance(job, JobMixin):
            for entity in entities(job.__dict__.get("args")):
                _check(session, job, entity, objects)
                if entity.state.key is None and SAVE_ALL is not None:
                    _insert_before(unit, entity.state, instance_state(job))


def _check(session: Session, job: JobMixin, entity: Entity, objects: Sequence[object] | None) -> None:
    """Refuse what will have no key at the end of this flush, or one that cannot be stored."""
    state, what = entity.state, f"the {type(entity.instance).__qualname__} that is an argument of {job!r}"
    if state.deleted or state.was_deleted or entity.instance in session.deleted:
        raise InvalidEntity(f"{what} is deleted")
    if entity.key() is not None:
        entity.reference()
    if state.key is not None:
        return
    if state.session is not session:
        raise InvalidEntity(
            f"{what} is not in the session: add it before the job, or before a query that flushes; of a merged one "
            "pass what merge() returned"
        )
    if objects and entity.instance not in objects:
        raise InvalidEntity(f"{what} is not among those that flush() was given")


def _insert_before(unit: UOWTransaction, entity: InstanceState[Any], job: InstanceState[Any]) -> None:
    """Not where the entity's class itself refers to jobs: in such a cycle the hint costs more than it saves."""
    mappers = entity.mapper.base_mapper, job.mapper.base_mapper
    if not any(related.mapper.base_mapper is mappers[1] for related in entity.mapper.relationships):
        unit.dependencies.add(tuple(SAVE_ALL(unit, mapper) for mapper in mappers))


@event.listens_for(JobMixin, "before_insert", propagate=True)
@event.listens_for(JobMixin, "before_update", propagate=True)
def _find_late(_: Mapper[Any], connection: Connection, job: JobMixin) -> None:
    late = [entity for entity in entities(job.__dict__.get("args")) if entity.key() is None]
    session = instance_state(job).session
    if late and session is not None:
        for entity in late:
            entity.late = True
        session.info.setdefault(LATE, []).append((connection, job, late))


@event.listens_for(Session, "after_flush")
def _write_late(session: Session, _: UOWTransaction) -> None:
    waiting: list[Late] = session.info.get(LATE, [])
    _forget_late(session)
    for connection, job, _late in waiting:
        connection.execute(_set_args(class_mapper(type(job)).local_table), {"of_job": job.id, "complete": job.args})


def _set_args(table: Any) -> Any:
    jobs: Table = table
    return update(jobs).where(jobs.c.id == bindparam("of_job")).values(args=bindparam("complete", type_=Args()))


@event.listens_for(Session, "after_soft_rollback")
def _forget_late(session: Session, _: object = None) -> None:
    """From here on an entity without a key is an error again."""
    waiting: list[Late] = session.info.pop(LATE, [])
    for _connection, _job, late in waiting:
        for entity in late:
            entity.late = False
