"""Jobs of a mapped class of the application's own: with columns beyond ours, or in another table."""

from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Mapper, class_mapper, make_transient_to_detached
from sqlalchemy.orm.attributes import instance_state

from sqla_oban.enqueue.announce import remember
from sqla_oban.models import JobMixin
from sqla_oban.models.base import UTCDateTime
from sqla_oban.queries.expressions import now

Shape = tuple[type[Any], tuple[str, ...]]


def insert_foreign(target: Any, jobs: list[Any]) -> None:
    """Insert jobs of any mapped class, by SQLAlchemy's own bulk INSERT; one for each run of jobs of the same shape."""
    moment: datetime | None = None
    if any(job.schedule_in is not None for job in jobs):
        moment = target.execute(select(now().cast(UTCDateTime()))).scalar_one()
    for (kind, keys), some in groupby(jobs, _shape):
        _insert(target, class_mapper(kind), keys, list(some), moment)


def _insert(target: Any, mapper: Mapper[Any], keys: tuple[str, ...], jobs: list[Any], moment: datetime | None) -> None:
    columns = {attribute.key: attribute.columns[0] for attribute in mapper.column_attrs}
    table: Any = mapper.local_table
    statement = insert(table).returning(*columns.values(), sort_by_parameter_order=True)
    rows = [{columns[key].key: _value(job, key, moment) for key in keys} for job in jobs]
    for job, row in zip(jobs, target.execute(statement, rows).all(), strict=True):
        job.__dict__.update(zip(columns, row, strict=True))
        make_transient_to_detached(job)
    remember(target, jobs)


def _shape(job: JobMixin) -> Shape:
    """The class, and what it says of itself: SQLAlchemy's bulk INSERT takes rows of the same columns."""
    mapper = class_mapper(type(job))
    given = instance_state(job).dict
    return type(job), tuple(one.key for one in mapper.column_attrs if one.key in given and one.key != "id")


def _value(job: JobMixin, key: str, moment: datetime | None) -> Any:
    if key == "scheduled_at" and job.schedule_in is not None and moment is not None:
        return moment + job.schedule_in
    return job.__dict__[key]
