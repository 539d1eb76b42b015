"""Claim within the limits of a queue, and use its rate outside of jobs.

What these call, and why a limit is never exceeded, is in `migrations/limited_claim.py`.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Executable,
    Float,
    Integer,
    SmallInteger,
    Text,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from sqla_oban.queries.ack import complete
from sqla_oban.queries.claim import Claimed
from sqla_oban.queries.expressions import QUEUES, RATES, home_function, now
from sqla_oban.queries.queues import EVERY_NODE

SORTED_AT_ONCE: Final = 1_000
"""How many jobs are given their partition by one statement."""

COLUMNS: Final = (*Claimed._fields, "lane", "wrapped", "more", "wait")
"""Those of a claimed job, and what the last row says of the claim."""


def claim_within(schema: str | None) -> Executable:
    """Claims as `CLAIM` does, with the same parameters and columns, and keeps within the limits of the queue.

    What the operators said of it (`of_runners`) comes before `most` and `rate`. The last row is no job (its id is NULL)
    but says where the next claim is to go on, whether at once, and when a rate that is used up has room again; and
    which outcomes were written.

    It first completes the executions `ids`, `attempted_ats`, as `COMPLETE` does: at a limit there is room only where a
    job has ended, so that two commits would follow each other for what one can do. PostgreSQL runs `ended` to its end
    before it calls the function, because the count is an argument of it; and what a function reads is read anew, the
    changes of the statement that calls it included. Nobody is rung for the slots that this frees, before it is known
    whether they are in use again. Jobs for whose end others wait are passed over: no lock of theirs
    is ever waited for with the queue's.
    """
    queue = _given("of_queue", Text)
    kept = select(home_function(schema, "oban_keep_slot", queue).is_not(None)).scalar_subquery()
    ended = complete(alone=True, after=kept).cte("ended")
    claimed = home_function(
        schema,
        "oban_claim_within",
        *(_given("of_runners", Text), queue, _given("demand", BigInteger)),
        *(_given("holder", ARRAY(Text)), _given("after_priorities", ARRAY(SmallInteger))),
        *(_given("after_moments", ARRAY(Text)), _given("after_ids", ARRAY(BigInteger))),
        *(_given("below", ARRAY(Integer)), _given("spec", ARRAY(Text)), _given("burst", Boolean)),
        *(_given("most", Integer), _json("rate")),
        *(_given("lane_from", Text), _given("lane_origin", Text), _given("has_wrapped", Boolean)),
        select(func.count()).select_from(ended).scalar_subquery(),
    )
    rows = claimed.table_valued(*map(column, COLUMNS)).alias("claimed")
    written = select(func.array_agg(ended.c.id)).scalar_subquery()
    return select(*rows.c, case((rows.c.id.is_(None), written)).label("written"))


def sort(schema: str | None) -> Executable:
    """Gives up to `most` waiting jobs of `of_queue` the partition that `spec` says; returns how many there were."""
    arguments = (_given("of_queue", Text), _given("spec", ARRAY(Text)), _given("most", Integer))
    return select(home_function(schema, "oban_sort", *arguments))


def consume(schema: str | None) -> Executable:
    """Uses `weight` of a rate if it is free; returns the seconds until it will be, 0 if it was."""
    arguments = (_given("of_name", Text), _given("of_partition", Text), _given("weight", Float(53)), _json("rate"))
    return select(home_function(schema, "oban_consume", *arguments))


def available(schema: str | None) -> Executable:
    """How much of a rate is in use."""
    held = select(RATES.c.moments, RATES.c.units).where(
        RATES.c.name == bindparam("of_name", type_=Text), RATES.c.partition == bindparam("of_partition", type_=Text)
    )
    found = held.subquery("held")
    in_use = (
        home_function(schema, "oban_rate", found.c.moments, found.c.units, now(), literal_column("0"), _json("rate"))
        .table_valued(column("used", Float(53)), column("wait", Float(53)))
        .lateral("in_use")
    )
    return select(in_use.c.used).select_from(found.join(in_use, literal_column("true")))


def partition(schema: str | None) -> Executable:
    """The name of the partition of a job with these fields."""
    fields = (_given("worker", Text), _json("args"), _json("meta"))
    return select(func.coalesce(home_function(schema, "oban_partition", _given("spec", ARRAY(Text)), *fields), ""))


def said() -> Executable:
    """The rate that operators gave to the queue `of_queue` at run time."""
    return select(QUEUES.c.rate_limit).where(
        QUEUES.c.name == bindparam("of_runners", type_=Text),
        QUEUES.c.queue == bindparam("of_queue", type_=Text),
        QUEUES.c.node == EVERY_NODE,
    )


def reset() -> Executable:
    """Forgets what was used of a rate, in all of its partitions."""
    return RATES.delete().where(RATES.c.name == bindparam("of_name", type_=Text))


def _given(name: str, kind: Any) -> ColumnElement[Any]:
    return bindparam(name, type_=kind() if isinstance(kind, type) else kind)


def _json(name: str) -> ColumnElement[Any]:
    return cast(bindparam(name, type_=Text), JSONB)


SAID, RESET = said(), reset()
