"""Which of some new jobs are there already."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Executable, Row, Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import class_mapper

from sqla_oban.errors import UniqueTimeout
from sqla_oban.models import JobMixin
from sqla_oban.models.unique_key import is_held, mark, provisional_key
from sqla_oban.queries.unique import LOCK_TIMEOUT, SET_LOCK_TIMEOUT, give_up, holders, reserve

LOCK_NOT_AVAILABLE = "55P03"


class Duplicate(NamedTuple):
    """A job that is not to be inserted, and what is in its place: one of the same turn, or the id of a stored one."""

    job: JobMixin
    original: JobMixin | int


def by_table(jobs: Iterable[JobMixin]) -> dict[Table, list[JobMixin]]:
    """Jobs by the table that their rows are in."""
    found: dict[Table, list[JobMixin]] = {}
    for job in jobs:
        found.setdefault(table_of(job), []).append(job)
    return found


def table_of(job: JobMixin) -> Table:
    """The table that a job's row is in."""
    table: Any = class_mapper(type(job)).base_mapper.local_table
    jobs: Table = table
    return jobs


def prepare(jobs: Iterable[JobMixin]) -> None:
    """Whatever became of these jobs before, it is decided anew, by what they are now.

    Raises:
        InvalidJob: a key that one is to be unique by is not there.
    """
    for job in jobs:
        if job.unique is not None:
            mark(job)
        if job.conflict:
            job.conflict, job.id = False, None  # type: ignore[assignment]  # until the INSERT, or the next conflict


def find(
    connection: Connection,
    jobs: Sequence[JobMixin],
    *,
    entering: Mapping[str, int],
    is_leaving: Callable[[int], bool],
) -> list[Duplicate]:
    """The duplicates among `jobs`, which are prepared and of one table; the keys of all others are locked.

    Of jobs with the same key, the first that holds it is the original of those behind it.

    Args:
        connection: where.
        jobs: new ones.
        entering: ids of stored jobs that are about to hold these keys.
        is_leaving: whether the stored job of an id is about to hold its key no longer.

    Raises:
        UniqueTimeout: another transaction is enqueueing one of them, and has not ended in time.
    """
    groups: dict[str, list[JobMixin]] = {}
    for job in jobs:
        groups.setdefault(job.unique_key or provisional_key(job), []).append(job)
    keys = sorted({job.unique_key for job in jobs if job.unique_key})
    stored = _held(connection, table_of(jobs[0]), keys, _patience(jobs)) if keys else {}
    found: list[Duplicate] = []
    for key, some in groups.items():
        original: JobMixin | int | None = stored.get(key)
        if isinstance(original, int) and is_leaving(original):
            original = None
        original = original or entering.get(key)
        for job in some:
            if original is not None:
                found.append(Duplicate(job, original))
            elif is_held(job):
                original = job
    return found


def displace(connection: Connection, table: Table, keys: list[str]) -> None:
    """Take keys from whatever holds them: they were made of entities that are younger than every stored job.

    There is something to take only where an entity's key is given twice, as after TRUNCATE ... RESTART IDENTITY.
    """
    if taken := sorted(row.id for row in connection.execute(holders(table), {"keys": keys})):
        connection.execute(give_up(table), {"ids": taken})


def _held(connection: Connection, table: Table, keys: list[str], patience: timedelta | None) -> dict[str, int]:
    """Which jobs hold which keys, of those that are held; the others are locked."""
    rows = _reserve(connection, reserve(table), keys, patience)
    found: dict[str, int] = {row.key: row.id for row in rows if row.id is not None}
    if missing := [key for key in keys if key not in found]:
        late = connection.execute(holders(table), {"keys": missing}).all()
        found |= {row.unique_key: row.id for row in late if not row.expired}
        if expired := sorted(row.id for row in late if row.expired):
            connection.execute(give_up(table), {"ids": expired})
    return found


def _reserve(
    connection: Connection, statement: Executable, keys: list[str], patience: timedelta | None
) -> Sequence[Row[Any]]:
    """Under a savepoint, where a wait that is too long must not cost the transaction."""
    if patience is None:
        return connection.execute(statement, {"keys": keys}).all()
    before = connection.scalar(LOCK_TIMEOUT)
    try:
        with connection.begin_nested():
            milliseconds = max(1, round(patience.total_seconds() * 1_000))
            connection.execute(SET_LOCK_TIMEOUT, {"value": str(milliseconds)})
            rows = connection.execute(statement, {"keys": keys}).all()
            connection.execute(SET_LOCK_TIMEOUT, {"value": before})
            return rows
    except DBAPIError as error:
        if _sqlstate(error) != LOCK_NOT_AVAILABLE:
            raise
        raise UniqueTimeout(
            f"another transaction is enqueueing the same unique job and has not ended within {patience}; "
            "try again later, or give Unique a longer lock_timeout"
        ) from None


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)


def _patience(jobs: Iterable[JobMixin]) -> timedelta | None:
    """The least of all."""
    limits = (job.unique.lock_timeout for job in jobs if job.unique is not None)
    return min((limit for limit in limits if limit is not None), default=None)
