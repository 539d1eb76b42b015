"""The liveness of a producer: one row for each queue that a node runs, touched by its heartbeat."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import PrimaryKeyConstraint, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql.elements import conv

from sqla_oban.models.base import UTC_NOW, ObanBase, UTCDateTime


class Producer(ObanBase):
    """A queue being run on a node. `meta["ttl"]` says for how many seconds after `updated_at` it counts as alive."""

    __tablename__ = "oban_producers"
    __table_args__ = (
        PrimaryKeyConstraint("uuid", name=conv("oban_producers_pkey")),
        {"prefixes": ["UNLOGGED"], "info": {"sqla_oban": 1}},
    )

    uuid: Mapped[UUID]
    name: Mapped[str] = mapped_column(Text, server_default="oban")
    node: Mapped[str] = mapped_column(Text)
    queue: Mapped[str] = mapped_column(Text)
    meta: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    started_at: Mapped[datetime] = mapped_column(UTCDateTime, server_default=UTC_NOW)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, server_default=UTC_NOW)
