"""What is stored, and the sessions that requests and jobs reach it by."""

import os
from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, Index, Text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from sqla_oban import Job

engine = create_async_engine(os.getenv("DATABASE_URL", "postgresql+asyncpg://localhost/orders"))
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The application's own base; sqla_oban's tables live beside it."""


class Order(Base):
    """An order; its customer chose the id, so that a request sent twice makes one order and one job."""

    __tablename__ = "orders"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    item: Mapped[str] = mapped_column(Text)
    confirmed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # Jobs that ended are deleted after a while: the order must outlive its job.
    job_id: Mapped[int | None] = mapped_column(ForeignKey(Job.id, ondelete="SET NULL"))
    job: Mapped[Job | None] = relationship()

    __table_args__ = (Index("orders_job_id_index", "job_id"),)
