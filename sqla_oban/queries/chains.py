"""What of chains the triggers cannot do by themselves; see `migrations/chains.py`."""

from typing import Any

from sqlalchemy import BigInteger, Executable, Integer, Select, Text, bindparam, exists, func, literal_column, select
from sqlalchemy import cast as sql_cast
from sqlalchemy import text as sql_text
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_oban.models.chain_key import OCCUPIES, WAITS
from sqla_oban.queries.expressions import JOBS, home_function, rings

CLASS = literal_column("1868718447", Integer())


def lock_chains() -> Executable:
    """Takes the advisory locks of `keys`, each once and in one order: no two statements wait for each other.

    Who inserts into several chains at once takes them before; the triggers then find them taken.
    """
    key = func.unnest(bindparam("keys", type_=ARRAY(Text))).column_valued("key")
    bucket = sql_cast(func.hashtextextended(key, literal_column("0")).op("&")(literal_column("4095")), Integer)
    buckets = select(bucket.label("bucket")).distinct().order_by("bucket").cte("buckets").prefix_with("MATERIALIZED")
    return select(func.count(func.pg_advisory_xact_lock(CLASS, buckets.c.bucket))).select_from(buckets)


def mend_chains(schema: str | None) -> Executable:
    """Gives the turn in up to `batch` chains that have nobody in turn and somebody who waits; returns how many.

    That is nobody's usual way: it makes up for a release that found the next row locked.
    """
    waiting, turn = JOBS.alias("waiting"), JOBS.alias("turn")
    stuck = (
        select(waiting.c.chain_key.label("key"))
        .distinct()
        .where(
            sql_text(WAITS.format(job="waiting.")),
            ~exists().where(turn.c.chain_key == waiting.c.chain_key, sql_text(OCCUPIES.format(job="turn."))),
        )
        .limit(bindparam("batch", type_=BigInteger))
        .cte("stuck")
        .prefix_with("MATERIALIZED")
    )
    released = (
        select(home_function(schema, "oban_chain_release", stuck.c.key).label("done"))
        .cte("released")
        .prefix_with("MATERIALIZED")
    )
    return select(func.count()).select_from(released).where(released.c.done)


def hold_turn(ids: Select[Any], schema: str | None) -> Executable:
    """Locks what has the turn before those of `ids` that wait for theirs, as an entrant does; returns its ids.

    For who is to lock a row that waits and leave it waiting: a release that finds it locked waits for a moment only,
    and once in a transaction. So whoever ends what has the turn waits, or passes over it, until the row is free again.
    Who has it locked already may be an entrant in a transaction that goes on, and is not waited for. It rings for what
    is available: a claim may have passed over it as well.
    """
    waiting, turn = JOBS.alias("waiting"), JOBS.alias("turn")
    held = (
        select(turn.c.id, turn.c.queue, turn.c.state)
        .join(waiting, waiting.c.chain_key == turn.c.chain_key)
        .where(
            waiting.c.id.in_(ids),
            sql_text(WAITS.format(job="waiting.")),
            sql_text(OCCUPIES.format(job="turn.")),
        )
        .order_by(turn.c.id)
        .with_for_update(of=turn, key_share=True, skip_locked=True)
        .cte("held")
        .prefix_with("MATERIALIZED")
    )
    return select(held.c.id, rings(held, schema))


LOCK_CHAINS = lock_chains()
