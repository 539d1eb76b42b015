"""The sleeper's side of the wake-up; the ringer's side is the function `oban_ring` of the migration.

A producer that has room and finds no work holds, in the session that LISTENs, a shared advisory lock on its queue's
key. A writer that makes jobs available rings only if somebody holds it. No wake-up is lost:

1. the sleeper takes the key;
2. it lists the transactions that may have probed before that: an INSERT holds RowExclusiveLock on the table from
   before its probe until its rows are visible;
3. it claims once more, and again as those transactions end.

A writer that probed before (1) is therefore in the list of (2), or its rows are visible to (3); one that probes after
(1) rings. What remains for the poll is crashes, and writers that stay open for longer than `engine.sleep.GIVE_UP`.
"""

from typing import Any

from sqlalchemy import Executable, Function, Text, bindparam, cast, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_oban.queries.expressions import home_function


def hold(schema: str | None) -> Executable:
    """Takes the key of `queue`: ring me."""
    return select(func.pg_advisory_lock_shared(_key(schema)))


def drop(schema: str | None) -> Executable:
    """Drops the key of `queue`: do not ring me, I will look by myself."""
    return select(func.pg_advisory_unlock_shared(_key(schema)))


def _key(schema: str | None) -> Function[Any]:
    return home_function(schema, "oban_wake_key", cast(bindparam("queue"), Text))


WRITERS = text(
    """
    SELECT DISTINCT l.virtualtransaction FROM pg_locks l
    WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.relation = CAST(:table AS regclass)
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.pid <> pg_backend_pid()
      AND (CAST(:among AS text[]) IS NULL OR l.virtualtransaction = ANY(CAST(:among AS text[])))
    """
).bindparams(bindparam("among", type_=ARRAY(Text)), bindparam("table", type_=Text))
"""The transactions that hold a writer's lock on `table`; of those `among`, if given."""
NOTIFY = select(func.pg_notify(cast(bindparam("channel"), Text), cast(bindparam("payload"), Text)))
"""Sends `payload` to `channel`."""
