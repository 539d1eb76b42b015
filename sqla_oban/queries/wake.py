"""The sleeper's side of the wake-up; the ringer's side is the function `oban_ring` of the migration.

A producer that has room and finds no work holds, in the session that LISTENs, a shared advisory lock on its queue's
key. A writer that makes jobs available rings only if somebody holds it, and nobody hushes. No wake-up is lost:

1. the sleeper takes the key;
2. it lists the transactions that may have probed before that: an INSERT holds RowExclusiveLock on the table from
   before its probe until its rows are visible;
3. it claims once more, and again as those transactions end.

A writer that probed before (1) is therefore in the list of (2), or its rows are visible to (3); one that probes after
(1) rings.

A producer that is woken again and again holds another key instead, exclusively: hush, I look every few milliseconds.
It does so only while it has room; so whatever a writer wrote that it hushed, and that is visible, it finds itself.
What is not visible yet when the hush ends is found because

1. the producer drops that key;
2. it goes to sleep anew, as above, and with a notice has everybody do so who sleeps already.

A writer that was hushed probed before (1), and is therefore in a list made after (1), or its rows are visible to the
claim that follows the list. The notice is needed because the one that hushed may have no room left by then, and those
who had gone to sleep before were not rung.

What remains for the poll is crashes, and writers that stay open for longer than `engine.sleep.GIVE_UP`.
"""

from typing import Any

from sqlalchemy import Executable, Function, Text, bindparam, cast, func, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_oban.queries.expressions import home_function


def hold(schema: str | None) -> Executable:
    """Takes the key of `queue`: ring me."""
    return select(func.pg_advisory_lock_shared(_key(schema)))


def drop(schema: str | None) -> Executable:
    """Drops the key of `queue`: do not ring me, I will look by myself."""
    return select(func.pg_advisory_unlock_shared(_key(schema)))


def hush(schema: str | None) -> Executable:
    """Takes the other key of `queue`, if it is free: ring nobody. The second try is against a writer that probes it."""
    key = _key(schema, "oban_hush_key")
    return select(or_(func.pg_try_advisory_lock(key), func.pg_try_advisory_lock(key)))


def end_hush(schema: str | None) -> Executable:
    """Drops the other key of `queue`."""
    return select(func.pg_advisory_unlock(_key(schema, "oban_hush_key")))


def _key(schema: str | None, name: str = "oban_wake_key") -> Function[Any]:
    return home_function(schema, name, cast(bindparam("queue"), Text))


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
