"""What operators say of queues, and what the nodes of a runner are to know of it.

A row is about one queue or, as `*`, about all of them; for one node or, as "", for all of them. Where rows contradict
each other, the closest to the queue wins, and of those the closest to the node. So that the last word counts all the
same, a word for many takes back what was said for few (`unsay`) or is said for each of the few as well (`say`).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import (
    DateTime,
    Executable,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    exists,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    union,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by, insert

from sqla_oban.queries.expressions import (
    JOBS,
    PRODUCERS,
    QUEUES,
    constant,
    holder,
    home_function,
    in_states,
    now,
)
from sqla_oban.queries.producers import expired
from sqla_oban.states import JobState

EVERY_QUEUE: Final = "*"
EVERY_NODE: Final = ""
FIELDS: Final = ("running", "paused", "local_limit", "global_limit", "rate_limit")

NAME = bindparam("of_runners", type_=Text)
QUEUE = bindparam("of_queue", type_=Text)
NODE = bindparam("on_node", type_=Text)


def serialise() -> Executable:
    """Has the commands to one runner's queues take turns, until the transaction ends: only so is there a last word."""
    return select(func.pg_advisory_xact_lock(func.hashtextextended(func.concat("sqla_oban.queues ", NAME), 0)))


def say(fields: Mapping[str, Any]) -> Executable:
    """Sets `fields` of the row for `of_queue` and `on_node`.

    A word about all queues of one node is also said for each queue that something was said of, which would win.
    """
    few = and_(QUEUE == EVERY_QUEUE, NODE != EVERY_NODE, QUEUES.c.name == NAME, QUEUES.c.node.in_((EVERY_NODE, NODE)))
    targets = union(select(cast(QUEUE, Text).label("queue")), select(QUEUES.c.queue).where(few)).subquery("targets")
    values = [cast(literal(value, QUEUES.c[field].type), QUEUES.c[field].type) for field, value in fields.items()]
    said = insert(QUEUES).from_select(
        ["name", "queue", "node", "updated_at", *fields],
        select(cast(NAME, Text), targets.c.queue, cast(NODE, Text), now(), *values),
    )
    return said.on_conflict_do_update(
        index_elements=[QUEUES.c.name, QUEUES.c.queue, QUEUES.c.node],
        set_={column: said.excluded[column] for column in ("updated_at", *fields)},
    )


def unsay(fields: Iterable[str]) -> Executable:
    """Takes back what was said in `fields` for fewer than a word for every node says it now."""
    fewer = or_(QUEUES.c.queue != QUEUE, QUEUES.c.node != EVERY_NODE)
    return (
        update(QUEUES)
        .where(QUEUES.c.name == NAME, or_(QUEUES.c.queue == QUEUE, QUEUE == EVERY_QUEUE), fewer)
        .values(dict.fromkeys(fields, null()))
    )


def forget() -> Executable:
    """Removes rows that say nothing any more."""
    return delete(QUEUES).where(QUEUES.c.name == NAME, *(QUEUES.c[field].is_(None) for field in FIELDS))


def words() -> Executable:
    """All that was said for `node`: queue, node, the fields, and when, as text."""
    said = (
        QUEUES.c.queue,
        QUEUES.c.node,
        *(QUEUES.c[field] for field in FIELDS),
        cast(QUEUES.c.updated_at, Text).label("said_at"),
    )
    return select(*said).where(QUEUES.c.name == NAME, QUEUES.c.node.in_((EVERY_NODE, NODE)))


def foreign() -> Executable:
    """Whether producers of another library run under `name`: they read no table, and are to be signalled."""
    return select(exists().where(PRODUCERS.c.name == NAME, ~PRODUCERS.c.meta.has_key("ttl")))


def signal(schema: str | None) -> Executable:
    """Sends `notice`, JSON as text, to the nodes of every Oban library, with the commit."""
    notice = cast(bindparam("notice", type_=Text), JSONB)
    return select(cast(home_function(schema, "oban_signal", notice), Text))


def check() -> Executable:
    """The living producers of all nodes of `name`, with the jobs that execute in their name.

    Anybody may write a row, so that what it says is read as text, and its beginning as a moment that Python knows.
    """
    running = (
        select(holder().label("holder"), func.array_agg(aggregate_order_by(JOBS.c.id, JOBS.c.id)).label("ids"))
        .where(in_states(JobState.EXECUTING))
        .group_by(holder())
        .subquery("running")
    )
    began = func.least(func.greatest(PRODUCERS.c.started_at, cast(constant("0001-01-01"), DateTime)), now())
    return (
        select(
            PRODUCERS.c.queue,
            PRODUCERS.c.node,
            PRODUCERS.c.name,
            PRODUCERS.c.meta.op("->>")(constant("local_limit")).label("limit"),
            PRODUCERS.c.meta.op("->>")(constant("limits")).label("limits"),
            (PRODUCERS.c.meta.op("->>")(constant("paused")) == constant("true")).label("paused"),
            func.coalesce(running.c.ids, literal_column("ARRAY[]::bigint[]")).label("running"),
            cast(began, PRODUCERS.c.started_at.type).label("started_at"),
            PRODUCERS.c.uuid,
        )
        .join_from(PRODUCERS, running, running.c.holder == cast(PRODUCERS.c.uuid, Text), isouter=True)
        .where(PRODUCERS.c.name == NAME, ~expired())
        .order_by(PRODUCERS.c.queue, PRODUCERS.c.node, PRODUCERS.c.uuid)
    )


SERIALISE, FORGET, WORDS, FOREIGN, CHECK = serialise(), forget(), words(), foreign(), check()
