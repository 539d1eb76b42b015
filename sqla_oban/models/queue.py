"""What operators have said of a queue: kept, so that a paused queue stays paused over a restart and on new nodes."""

from datetime import datetime
from typing import Any

from sqlalchemy import PrimaryKeyConstraint, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql.elements import conv

from sqla_oban.models.base import UTC_NOW, ObanBase, UTCDateTime


class Queue(ObanBase):
    """A word about `queue` for the runners called `name`.

    Attributes:
        node: the node that it is for; "" for every node that has no word of its own.
        running: whether the queue is to be run there, whatever the runner was started with; None: as that says.
        paused: whether it is to claim no jobs; None: nothing was said.
        local_limit: how many of its jobs run there at the same time; None: as the runner was started with.
        global_limit: how many run on all nodes together, said for every node; 0: any number.
        rate_limit: how many start within which time, likewise; `false`: any number.
    """

    __tablename__ = "oban_queues"
    __table_args__ = (
        PrimaryKeyConstraint("name", "queue", "node", name=conv("oban_queues_pkey")),
        {"info": {"sqla_oban": 1}},
    )

    name: Mapped[str] = mapped_column(Text)
    queue: Mapped[str] = mapped_column(Text)
    node: Mapped[str] = mapped_column(Text, server_default="")
    running: Mapped[bool | None]
    paused: Mapped[bool | None]
    local_limit: Mapped[int | None]
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, server_default=UTC_NOW)
    global_limit: Mapped[int | None]
    rate_limit: Mapped[Any | None] = mapped_column(JSONB)
