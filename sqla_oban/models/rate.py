"""What was used of a rate limit, and when."""

from datetime import datetime

from sqlalchemy import Double, Index, PrimaryKeyConstraint, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql.elements import conv

from sqla_oban.models.base import ObanBase, UTCDateTime


class Rate(ObanBase):
    """The account of one rate, or of one partition of it; written by the functions of the migration only.

    Attributes:
        name: the queue, or another name that was chosen for the rate.
        partition: "" where it is not divided.
        moments, units: when how much was used, oldest first.
        expires_at: from when on nothing of it counts.
    """

    __tablename__ = "oban_rates"
    __table_args__ = (
        PrimaryKeyConstraint("name", "partition", name=conv("oban_rates_pkey")),
        Index(conv("oban_rates_expires_at_index"), "expires_at"),
        {"info": {"sqla_oban": 1}},
    )

    name: Mapped[str] = mapped_column(Text)
    partition: Mapped[str] = mapped_column(Text, server_default="")
    moments: Mapped[list[datetime]] = mapped_column(ARRAY(UTCDateTime))
    units: Mapped[list[float]] = mapped_column(ARRAY(Double))
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime)
