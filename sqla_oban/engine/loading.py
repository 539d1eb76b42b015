"""From a claimed row to a mapped `Job`, for workers that want one."""

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapper, class_mapper, make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value

from sqla_oban.models import Job, JobMixin, Scope, table_of
from sqla_oban.models.job import COLUMNS
from sqla_oban.queries.claim import Claimed
from sqla_oban.states import JobState
from sqla_oban.workers.definition import Definition
from sqla_oban.workers.providing import Provider

LATEST = datetime.max.replace(tzinfo=UTC)
EARLIEST = datetime.min.replace(tzinfo=UTC)


def load(
    claimed: Claimed,
    *,
    queue: str,
    holder: list[str],
    model: type[JobMixin] = Job,
    own: Mapping[str, Any] = MappingProxyType({}),
) -> JobMixin:
    """The job as it is stored, detached: it can be added to a session or merged into one.

    Args:
        claimed: the row.
        queue, holder: what else is known of it.
        model: the mapped class to make of it.
        own: the values of that class's own columns.
    """
    job: JobMixin = class_mapper(model).class_manager.new_instance()
    values = {
        "id": claimed.id,
        "state": JobState.EXECUTING,
        "queue": queue,
        "worker": claimed.worker,
        "attempt": claimed.attempt,
        "max_attempts": claimed.max_attempts,
        "priority": claimed.priority,
        "args": json.loads(claimed.args),
        "meta": json.loads(claimed.meta),
        "tags": claimed.tags,
        "errors": json.loads(claimed.errors),
        "attempted_by": list(holder),
        "inserted_at": moment(claimed.inserted_at),
        "scheduled_at": moment(claimed.scheduled_at),
        "attempted_at": claimed.attempted_at.replace(tzinfo=UTC),
        "cancelled_at": None,
        "completed_at": None,
        "discarded_at": None,
        **own,
    }
    for name, value in values.items():
        set_committed_value(job, name, value)
    make_transient_to_detached(job)
    return job


def model_of(definition: Definition, provider: Provider) -> type[JobMixin]:
    """What the worker makes its jobs of, if these are jobs of that kind; else what the runner has for all."""
    scope, model = Scope(provider.model, provider.schema), definition.defaults.model
    return model if model is not None and scope.holds(model) else scope.model


@cache
def own_columns(mapper: Mapper[Any]) -> tuple[str, ...]:
    """The attributes for the columns that a class has beyond those of every job."""
    return tuple(one.key for one in mapper.column_attrs if one.key not in COLUMNS)


async def own_values(model: type[JobMixin], id: int, provider: Provider) -> Mapping[str, Any]:
    """The values of those columns for one job; nothing if its row is gone.

    In a session of their own, which is closed before the work begins. They are not part of the claim: a value that
    cannot be read fails this attempt, with the reason, and not the claim of a hundred others.
    """
    names = own_columns(class_mapper(model))
    if not names:
        return {}
    query = select(*(getattr(model, name).label(name) for name in names)).where(model.id == id)
    if provider.schema is not None and table_of(model).schema is None:
        query = query.execution_options(schema_translate_map={None: provider.schema})
    async with AsyncExitStack() as stack:
        session: AsyncSession = await provider.enter(AsyncSession, stack)
        row = (await session.execute(query)).one_or_none()
    return {} if row is None else dict(row._mapping)  # noqa: SLF001 (public, for all its name)


def moment(text: str) -> datetime:
    """A timestamp of PostgreSQL as an aware datetime; beyond Python's calendar it becomes the nearest end of that.

    >>> moment("2026-11-23 19:00:00.5").isoformat()
    '2026-11-23T19:00:00.500000+00:00'
    >>> moment("20000-01-01 00:00:00") == LATEST
    True
    """
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return EARLIEST if text == "-infinity" or text.endswith("BC") else LATEST
