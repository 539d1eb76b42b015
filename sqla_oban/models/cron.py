"""A job to be made again and again, by a cron expression."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Interval, PrimaryKeyConstraint, SmallInteger, Text, false, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql.elements import conv

from sqla_oban.models.base import UTC_NOW, ObanBase, UTCDateTime


class Cron(ObanBase):
    """An entry of the crontab, and how far it has come.

    Attributes:
        name: which entry; what is known of its ticks survives a change of its expression.
        expression, timezone: when; a timezone of None is the scheduler's.
        missed: what becomes of ticks that nobody was there for: "skip", "latest" or "all".
        worker, args, queue, priority, max_attempts, tags, meta: what its jobs are made with; None: the table's default.
        unique_key, unique_states, unique_period: likewise, for jobs that are unique.
        chain_key, chain_hold: likewise, for jobs of a chain.
        weight: likewise, for queues with a rate limit.
        declared: whether it stands in code; then the leader's code says what it is, and the row how far it has come.
        paused: whether its ticks make no jobs.
        last_tick: the last tick that was dealt with; every later one is still to come.
    """

    __tablename__ = "oban_crons"
    __table_args__ = (PrimaryKeyConstraint("name", name=conv("oban_crons_pkey")), {"info": {"sqla_oban": 1}})

    name: Mapped[str] = mapped_column(Text)
    expression: Mapped[str] = mapped_column(Text)
    timezone: Mapped[str | None] = mapped_column(Text)
    missed: Mapped[str] = mapped_column(Text, server_default="latest")
    worker: Mapped[str] = mapped_column(Text)
    args: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    queue: Mapped[str | None] = mapped_column(Text)
    priority: Mapped[int | None] = mapped_column(SmallInteger)
    max_attempts: Mapped[int | None] = mapped_column(SmallInteger)
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    meta: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    unique_key: Mapped[str | None] = mapped_column(Text)
    unique_states: Mapped[int | None] = mapped_column(SmallInteger)
    unique_period: Mapped[timedelta | None] = mapped_column(Interval)
    chain_key: Mapped[str | None] = mapped_column(Text)
    chain_hold: Mapped[bool | None] = mapped_column()
    weight: Mapped[int | None] = mapped_column()
    declared: Mapped[bool] = mapped_column(server_default=false())
    paused: Mapped[bool] = mapped_column(server_default=false())
    last_tick: Mapped[datetime] = mapped_column(UTCDateTime, server_default=UTC_NOW)
    inserted_at: Mapped[datetime] = mapped_column(UTCDateTime, server_default=UTC_NOW)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, server_default=UTC_NOW)

    def __repr__(self) -> str:
        held = self.__dict__  # what is loaded: a repr must not emit SQL
        parts = [f"{name}={held[name]!r}" for name in ("name", "expression", "timezone", "paused") if name in held]
        return f"<{type(self).__name__} {' '.join(parts)}>"
