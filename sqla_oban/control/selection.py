"""Which jobs are meant: an id, a job, several of either, or a query."""

from collections.abc import Iterable
from typing import Any, TypeAlias

from sqlalchemy import BigInteger, ColumnElement, Select, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.sql.elements import AsBoolean, True_

from sqla_oban.errors import InvalidSelection, shown
from sqla_oban.models import JobMixin, Scope, table_of
from sqla_oban.queries.expressions import JOBS

Selection: TypeAlias = int | JobMixin | Iterable[int | JobMixin] | Select[Any]
"""An id, a stored job, any number of them, or a `select(Job)` with a condition."""

LARGEST = 2**63 - 1
EVERYWHERE = Scope()
"""The library's own class, where the search path finds its table."""


def selected(which: Selection, scope: Scope = EVERYWHERE) -> Select[Any]:
    """A query for the ids of the jobs that are meant, in the order in which they are to be locked.

    Raises:
        InvalidSelection: `which` is no selection of jobs, or of others than those of `scope`, or selects all of them:
            who wants that says so, as with `select(Job).where(Job.id > 0)`.
    """
    if isinstance(which, Select):
        return _of_query(which, scope)
    ids = [_id(one, scope) for one in ([which] if isinstance(which, int | JobMixin) else _items(which))]
    known = sorted({one for one in ids if 0 < one <= LARGEST})
    return select(JOBS.c.id).where(JOBS.c.id == literal(known, ARRAY(BigInteger)).any_()).order_by(JOBS.c.id)


def entity(query: Select[Any]) -> type[JobMixin] | None:
    """The class of jobs that a query is for; None if it is for something else."""
    one, *others = {description.get("entity") for description in query.column_descriptions} or {None}
    return one if not others and isinstance(one, type) and issubclass(one, JobMixin) else None


def _of_query(query: Select[Any], scope: Scope) -> Select[Any]:
    model = entity(query)
    if model is None:
        raise InvalidSelection("jobs are selected by select(Job) or select(Job.id), got a query for something else")
    _check_scope(model, scope)
    if _is_always_true(query.whereclause):
        raise InvalidSelection(
            "a query without a condition selects every job; add .where(...), for all of them .where(Job.id > 0)"
        )
    if query._group_by_clauses or query._having_criteria or query._distinct:  # noqa: SLF001 (no public way to ask)
        raise InvalidSelection(
            "a query with DISTINCT, GROUP BY or HAVING cannot lock its jobs; select them by where() alone"
        )
    ids = query.with_only_columns(model.id, maintain_column_froms=True)
    bounded = query._limit_clause is not None or query._offset_clause is not None  # noqa: SLF001
    return ids if bounded else ids.order_by(None).order_by(model.id)


def _check_scope(model: type[JobMixin], scope: Scope) -> None:
    """The same number is another job in another schema."""
    table = table_of(model)
    if not scope.holds(model) and not (table.schema is None and table.name == table_of(scope.model).name):
        raise InvalidSelection(
            f"{model.__qualname__} is a job of {table.fullname}, this runner is for those of "
            f"{scope.schema or 'the search path'}; give SqlaOban(models=...) those of that schema"
        )


def _is_always_true(condition: ColumnElement[bool] | None) -> bool:
    """Also for `and_(true(), *conditions)` without conditions, the usual way to collect filters."""
    while isinstance(condition, AsBoolean):
        condition = condition.element
    return condition is None or isinstance(condition, True_)


def _items(which: object) -> Iterable[Any]:
    if isinstance(which, str | bytes) or not isinstance(which, Iterable):
        raise InvalidSelection(f"jobs are selected by ids, jobs or a select(Job), got {shown(which)}")
    return which


def _id(one: object, scope: Scope) -> int:
    if isinstance(one, JobMixin):
        _check_scope(type(one), scope)
        if (identity := job_id(one)) is None:
            raise InvalidSelection(f"{one!r} was not stored yet, so it has no id")
        return identity
    if isinstance(one, bool) or not isinstance(one, int):
        raise InvalidSelection(f"jobs are selected by ids, jobs or a select(Job), got {shown(one)}")
    return one


def job_id(job: JobMixin) -> int | None:
    """The id of a stored job, without a query: its attributes may be expired, its session closed, and its row gone."""
    identity = instance_state(job).identity
    return identity[0] if identity else None
