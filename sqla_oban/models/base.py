"""The library's own declarative base, and the types its columns share."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import DateTime, Dialect, Interval, MetaData, TypeDecorator, text
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeEngine

from sqla_oban.models.checks import aware

metadata = MetaData()

UTC_NOW = text("timezone('UTC', now())")
"""The server default of Oban's timestamps."""


class ObanBase(DeclarativeBase):
    """Base of the concrete models; its metadata goes into `target_metadata` of the host's alembic environment."""

    metadata = metadata


def schema_of(cls: Any) -> str | None:
    """The schema of a class that is being mapped: its own `__oban_schema__`, else that of its base's MetaData."""
    own: str | None = getattr(cls, "__oban_schema__", None)
    return getattr(cls, "metadata", metadata).schema if own is None else own


class UTCDateTime(TypeDecorator[datetime]):
    """Aware datetimes in Python, `timestamp without time zone` holding UTC in PostgreSQL, as Oban stores them."""

    impl = DateTime(timezone=False)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC without a zone; refuses naive values."""
        return None if value is None else aware("a timestamp", value).astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To an aware datetime in UTC."""
        return None if value is None else value.replace(tzinfo=UTC)

    def coerce_compared_value(self, op: OperatorType | None, value: object) -> TypeEngine[Any]:
        """A span of time stays one, so that `Job.scheduled_at + timedelta(hours=1)` can be said."""
        return Interval() if isinstance(value, timedelta) else self
