"""Lock the rows of jobs that are about to be changed."""

from typing import Any

from sqlalchemy import CTE, Executable, Select, Text, cast

from sqla_oban.queries.expressions import JOBS


def locked(ids: Select[Any]) -> CTE:
    """The jobs among `ids` that still fulfil its conditions once their rows are locked.

    It waits for rows that are being claimed or acknowledged, and looks at them again then.
    """
    return ids.with_for_update(of=JOBS).cte("chosen").prefix_with("MATERIALIZED")


def lock(ids: Select[Any]) -> Executable:
    """Locks the jobs `ids` for the rest of the transaction; returns each with its state and attempt.

    They are read by the SELECT that locks: any other would still see a row as it was before we waited for it.
    """
    return ids.add_columns(cast(JOBS.c.state, Text).label("state"), JOBS.c.attempt).with_for_update(of=JOBS)
