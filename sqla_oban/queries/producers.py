"""The rows that prove that producers are alive."""

import secrets
from typing import Final
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Executable,
    Float,
    Integer,
    Numeric,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    column,
    delete,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from sqla_oban.queries.expressions import JOBS, PRODUCERS, constant, holder, in_states, now, seconds
from sqla_oban.states import JobState

FOREIGN_TTL: Final = 60.0
"""Seconds that a beat of a producer without a `ttl` in its meta holds: oban.py drops its rows after this time."""

LONGEST_TTL: ColumnElement[int] = literal_column("1000000000")
"""Seconds; anybody may write a row, and what no interval can hold would break the rescue of everybody's jobs."""

OURS: Final = "______________8%"
"""LIKE pattern of our producers' ids."""


def producer_id() -> UUID:
    """A new id for a producer: random, of version 8, which RFC 9562 leaves to its makers.

    Other libraries use version 4. So a job whose producer has no row can be told apart: ours always have one, and
    lost it in a crash of PostgreSQL; those of a library that keeps no heartbeat never had one.
    """
    bits = secrets.randbits(128)
    return UUID(int=bits & ~(0xF << 76) & ~(0b11 << 62) | (8 << 76) | (0b10 << 62))


def beat() -> Executable:
    """Registers the producers of a node, or proves that they still live; one statement for all of them.

    Returns the id of each, and when it was registered.
    """
    rows = (
        func.unnest(
            bindparam("uuids", type_=ARRAY(Uuid)),
            bindparam("queues", type_=ARRAY(Text)),
            bindparam("limits", type_=ARRAY(Integer)),
            bindparam("paused", type_=ARRAY(Boolean)),
            bindparam("running", type_=ARRAY(Integer)),
            bindparam("over_all", type_=ARRAY(Text)),
        )
        .table_valued(
            column("uuid", Uuid),
            column("queue", Text),
            column("limit", Integer),
            column("paused", Boolean),
            column("running", Integer),
            column("over_all", Text),
        )
        .render_derived(name="producer")
    )
    meta = func.jsonb_build_object(
        *(constant("local_limit"), rows.c.limit),
        *(constant("paused"), rows.c.paused),
        *(constant("running"), rows.c.running),
        *(constant("limits"), cast(rows.c.over_all, JSONB)),
        *(constant("ttl"), cast(bindparam("ttl"), Float(53))),
        *(constant("version"), cast(bindparam("version"), Text)),  # these three are for who looks after the nodes
        *(constant("hearing"), cast(bindparam("hearing"), Boolean)),
        *(constant("clock"), cast(bindparam("clock"), Float(53))),
    )
    fresh = insert(PRODUCERS).from_select(
        ["uuid", "queue", "meta", "name", "node", "started_at", "updated_at"],
        select(
            rows.c.uuid, rows.c.queue, meta, cast(bindparam("name"), Text), cast(bindparam("node"), Text), now(), now()
        ),
    )
    return fresh.on_conflict_do_update(
        index_elements=[PRODUCERS.c.uuid], set_={"updated_at": fresh.excluded.updated_at, "meta": fresh.excluded.meta}
    ).returning(PRODUCERS.c.uuid, PRODUCERS.c.started_at)


def deregister() -> Executable:
    """Removes the producers of a node that has stopped."""
    return delete(PRODUCERS).where(PRODUCERS.c.uuid == func.any(bindparam("uuids", type_=ARRAY(Uuid))))


def expired() -> ColumnElement[bool]:
    """Whether a producer's last beat holds no longer."""
    given = PRODUCERS.c.meta.op("->")(constant("ttl"))
    bounded = func.least(func.greatest(cast(PRODUCERS.c.meta.op("->>")(constant("ttl")), Numeric), 0), LONGEST_TTL)
    ttl = case((func.jsonb_typeof(given) == constant("number"), bounded), else_=literal_column(str(FOREIGN_TTL)))
    return PRODUCERS.c.updated_at < now() - seconds(ttl)


def sweep() -> Executable:
    """Removes expired producers of which nothing is left to rescue.

    Not before: while a dead producer has its row, its jobs can be told from those of a producer that lost its row
    in a crash of PostgreSQL and is about to register again.
    """
    orphan = (
        select(literal_column("true"))
        .select_from(JOBS)
        .where(in_states(JobState.EXECUTING), holder() == cast(PRODUCERS.c.uuid, Text))
        .limit(literal_column("1"))
        .scalar_subquery()  # asked only for the few that expired; an EXISTS would be joined to all executing jobs
    )
    return delete(PRODUCERS).where(expired(), orphan.is_(None))


BEAT, DEREGISTER, SWEEP = beat(), deregister(), sweep()
