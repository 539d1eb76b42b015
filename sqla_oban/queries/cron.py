"""The crontab: read it, and make the jobs of a tick exactly once.

Why no tick makes two jobs, whoever believes to lead:

1. An entry is one row, by its primary key, and `last_tick` says how far it has come.
2. A turn moves `last_tick` from the value it has seen to the newest tick it deals with, and inserts the jobs, in one
   statement: both happen or neither.
3. Of two turns that have seen the same value, the second waits for the first one's row lock, looks at the row again,
   and finds another value: it changes nothing.
4. A turn deals with ticks later than the value it has seen only, and `last_tick` never goes back. So every tick lies
   in the interval of one successful turn.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Executable,
    Text,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    not_,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from sqla_oban.queries.expressions import CRONS, JOBS, constant, home_function, now, object_or_empty

EPOCH = literal_column("timestamp '1970-01-01'", DateTime())


def read() -> Executable:
    """All entries, and PostgreSQL's clock; moments as text, because they come back to it as they are."""
    return select(
        *(CRONS.c[name] for name in ("name", "expression", "timezone", "missed", "worker", "declared", "paused")),
        cast(CRONS.c.last_tick, Text).label("last_tick"),
        cast(now(), Text).label("now"),
    ).order_by(CRONS.c.name)


def declare(*, reboot: bool) -> Executable:
    """Writes down an entry that stands in code, and keeps how far it has come and whether it is paused.

    A new one begins now, with `reboot` before all time. One whose schedule is another than before begins anew: what
    the new one would have said of the past is of no interest.
    """
    values = {name: bindparam(name, type_=CRONS.c[name].type) for name in WRITTEN}
    fresh = insert(CRONS).values(**values, declared=true(), last_tick=EPOCH if reboot else now())
    moved = or_(*(CRONS.c[name].is_distinct_from(fresh.excluded[name]) for name in ("expression", "timezone")))
    return fresh.on_conflict_do_update(
        index_elements=[CRONS.c.name],
        set_={
            **{name: fresh.excluded[name] for name in WRITTEN},
            "declared": true(),
            "last_tick": case((moved, fresh.excluded.last_tick), else_=CRONS.c.last_tick),
            "updated_at": now(),
        },
    )


def tick() -> Executable:
    """Makes the jobs of `ticks` of the entry `entry`, seen at `seen`, and moves it on to `reached`.

    Returns the ids of the jobs, or no row if the entry is no longer as it was seen. A tick whose job is unique, and is
    there already, is dealt with and makes none. The jobs carry in their meta what Oban's dashboard reads of them.
    """
    turn = (
        update(CRONS)
        .where(
            CRONS.c.name == bindparam("entry", type_=Text),
            CRONS.c.last_tick == _moment("seen"),
            CRONS.c.expression == bindparam("by", type_=Text),
            not_(CRONS.c.paused),
        )
        .values(last_tick=_moment("reached"))
        .returning(*(CRONS.c[name] for name in WRITTEN))
        .cte("turn")
    )
    ticks = (
        func.unnest(bindparam("ticks", type_=ARRAY(Text))).table_valued(column("at", Text)).render_derived(name="ticks")
    )
    given: dict[str, ColumnElement[Any]] = {
        "worker": turn.c.worker,
        "args": turn.c.args,
        **{
            name: func.coalesce(turn.c[name], literal_column(default, JOBS.c[name].type))
            for name, default in DEFAULTS.items()
        },
        **{name: turn.c[name] for name in KEYS},
        "meta": object_or_empty(turn.c.meta).op("||")(_told(turn, ticks.c.at)),
    }
    made = (
        insert(JOBS)
        .from_select(list(given), select(*given.values()).select_from(turn.join(ticks, true())))
        .on_conflict_do_nothing()
        .returning(JOBS.c.id)
        .cte("made")
    )
    ids = select(func.coalesce(func.array_agg(made.c.id), literal_column("'{}'::bigint[]", ARRAY(BigInteger))))
    return select(ids.scalar_subquery().label("ids")).select_from(turn)


def announce(schema: str | None) -> Executable:
    """Has the leader look at the crontab, once the transaction has committed."""
    notice = func.jsonb_build_object(constant("action"), constant("crons"), type_=JSONB)
    return select(home_function(schema, "oban_signal", notice))


def _moment(parameter: str) -> ColumnElement[Any]:
    return cast(bindparam(parameter, type_=Text), DateTime)


def _told(turn: Any, ticks: ColumnElement[str]) -> ColumnElement[Any]:
    return func.jsonb_build_object(
        *(constant("cron"), literal_column("true")),
        *(constant("cron_at"), ticks),
        *(constant("cron_expr"), turn.c.expression),
        *(constant("cron_name"), turn.c.name),
        *(constant("cron_tz"), func.coalesce(turn.c.timezone, bindparam("default_zone", type_=Text))),
        type_=JSONB,
    )


KEYS = ("unique_key", "unique_states", "unique_period", "chain_key", "chain_hold", "weight")
WRITTEN = (
    *("name", "expression", "timezone", "missed"),
    *("worker", "args", "queue", "priority", "max_attempts", "tags", "meta", *KEYS),
)
DEFAULTS = {"queue": "'default'", "priority": "0", "max_attempts": "20", "tags": "ARRAY[]::text[]"}
"""Those of the columns of `oban_jobs`."""
READ, TICK, CLOCK = read(), tick(), select(cast(now(), Text))
