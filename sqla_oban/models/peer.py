"""The lease of the leader: one row a name, held for a time to live."""

from datetime import datetime

from sqlalchemy import PrimaryKeyConstraint, Text
from sqlalchemy.orm import Mapped, declared_attr, has_inherited_table, mapped_column
from sqlalchemy.schema import SchemaItem
from sqlalchemy.sql.elements import conv

from sqla_oban.models.base import ObanBase, UTCDateTime, schema_of


class PeerMixin:
    """Columns of the lease; the concrete class names the table, and with `__oban_schema__` its schema."""

    name: Mapped[str] = mapped_column(Text)
    node: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(UTCDateTime)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[SchemaItem | dict[str, object], ...] | None:  # noqa: N805 (a directive is called with the class)
        if has_inherited_table(cls):  # type: ignore[arg-type]
            return None
        table = cls.__tablename__  # type: ignore[attr-defined]  # the concrete class has it
        return PrimaryKeyConstraint("name", name=conv(f"{table}_pkey")), {
            "prefixes": ["UNLOGGED"],
            "info": {"sqla_oban": 1},
            "schema": schema_of(cls),
        }


class Peer(PeerMixin, ObanBase):
    """The node that leads. `expires_at` is by the database's clock.

    >>> await session.scalar(select(Peer.node).where(Peer.name == "Oban"))  # doctest: +SKIP
    'web-1.4242'
    """

    __tablename__ = "oban_peers"
