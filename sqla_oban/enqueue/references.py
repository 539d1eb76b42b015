"""Whatever refers to a job that turned out to be a duplicate refers to the one in its place."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import MANYTOMANY, RelationshipProperty, Session, class_mapper
from sqlalchemy.orm.collections import collection_adapter

from sqla_oban.enqueue.duplicates import Duplicate
from sqla_oban.models import JobMixin


def repoint(session: Session, found: list[Duplicate]) -> None:
    """Change the relationships of all that this flush writes; of those stored before, nothing refers to a new job.

    A job that belongs to somebody by that one's collection keeps its owner: the duplicate is taken out.
    """
    instead = {duplicate.job: duplicate.original for duplicate in found}
    for instance in (*session.new, *session.dirty):
        state = inspect(instance)
        for relationship in state.mapper.relationships:
            value = state.dict.get(relationship.key)
            if value is None or relationship.viewonly or not issubclass(relationship.mapper.class_, JobMixin):
                continue
            if relationship.uselist:
                _repoint_collection(session, value, instead, relationship)
            elif value in instead:
                setattr(instance, relationship.key, _original(session, value, instead))


def _repoint_collection(
    session: Session, value: Any, instead: Mapping[JobMixin, JobMixin | int], relationship: RelationshipProperty[Any]
) -> None:
    items = collection_adapter(value)
    assert items is not None  # of a relationship with uselist
    for job in [one for one in items if one in instead]:
        items.remove_with_event(job)
        original = _original(session, job, instead) if relationship.direction is MANYTOMANY else None
        if original is not None and original not in list(items):
            items.append_with_event(original)


def _original(session: Session, job: JobMixin, instead: Mapping[JobMixin, JobMixin | int]) -> JobMixin | None:
    """None if somebody has deleted it this very moment."""
    original = instead[job]
    if isinstance(original, JobMixin):
        return original
    found: JobMixin | None = session.get(class_mapper(type(job)).base_mapper.class_, original)
    return found
