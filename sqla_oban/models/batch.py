"""A batch: jobs that are looked at as one, and the jobs to be made when they have come so far."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Index, PrimaryKeyConstraint, Text, Uuid, inspect, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, object_session
from sqlalchemy.sql.elements import conv

from sqla_oban.errors import InvalidJob, shown
from sqla_oban.models.base import UTC_NOW, ObanBase, UTCDateTime
from sqla_oban.models.entity import by_reference
from sqla_oban.models.job import JobMixin
from sqla_oban.models.models import table_of
from sqla_oban.payload import snapshot


class Milestone(StrEnum):
    """What a batch can have come to; each is reached once."""

    ATTEMPTED = "attempted"
    COMPLETED = "completed"
    EXHAUSTED = "exhausted"
    RETRYABLE = "retryable"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


TEMPLATE: Final = (
    *("worker", "queue", "args", "priority", "max_attempts", "tags", "meta"),
    *("chain_key", "chain_hold", "weight"),
)
"""What a callback takes from the job that it is made like."""


class Batch(ObanBase):
    """Jobs that are looked at as one. Added to a session it is stored with its jobs, in the session's transaction.

    A callback is a job, made like the one that is given here, in the transaction in which the batch comes to the point:
    exactly once, whoever ends the jobs. Its meta has under `batch` the batch's `id` and `name`, the `callback` it is,
    and under `counts` how many of the jobs are in which state at that moment.

    Args:
        jobs: its jobs, as made by workers' `new` and not added to a session.
        name: to be shown; free.
        attempted: made when each job has been tried, or has ended without.
        completed: made when all have ended and none of them as cancelled or discarded.
        exhausted: made when all have ended, however.
        retryable, cancelled, discarded: made when the first job becomes that.

    Attributes:
        id: which batch; known from the beginning.
        reached: what it has come to by now.
        exhausted_at: when all of its jobs had ended.
        counts: how many of its jobs are in which state, where it was read by `oban.batches.get` or
            `current_job().batch`; else empty.

    Raises:
        InvalidJob: something among it is no new job, or is unique or scheduled where a callback cannot be.
        InvalidEntity: an argument of a callback is a row that has no key yet; flush it first.

    >>> batch = Batch([send_receipt.new(order.id) for order in orders], exhausted=report.new())  # doctest: +SKIP
    >>> session.add(batch)  # doctest: +SKIP
    """

    __tablename__ = "oban_batches"
    __table_args__ = (
        PrimaryKeyConstraint("id", name=conv("oban_batches_pkey")),
        Index(conv("oban_batches_open_index"), "id", postgresql_where=text("exhausted_at IS NULL")),
        {"info": {"sqla_oban": 1}},
    )

    id: Mapped[UUID] = mapped_column(Uuid)
    name: Mapped[str | None] = mapped_column(Text)
    callbacks: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    reached: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("ARRAY[]::text[]"))
    inserted_at: Mapped[datetime] = mapped_column(UTCDateTime, server_default=UTC_NOW)
    exhausted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    counts: Mapping[str, int] = {}
    new_jobs: tuple[JobMixin, ...] = ()

    def __init__(
        self,
        jobs: Iterable[JobMixin] = (),
        *,
        name: str | None = None,
        attempted: JobMixin | None = None,
        completed: JobMixin | None = None,
        exhausted: JobMixin | None = None,
        retryable: JobMixin | None = None,
        cancelled: JobMixin | None = None,
        discarded: JobMixin | None = None,
    ) -> None:
        given = (attempted, completed, exhausted, retryable, cancelled, discarded)
        callbacks = {
            milestone.value: template(job) for milestone, job in zip(Milestone, given, strict=True) if job is not None
        }
        if not isinstance(jobs, Iterable):
            raise InvalidJob(f"a batch takes a list of jobs, or another iterable, got {shown(jobs)}")
        super().__init__(id=uuid4(), name=_checked_name(name), callbacks=callbacks)
        self.add(*jobs)

    def __repr__(self) -> str:
        held = self.__dict__  # what is loaded: a repr must not emit SQL
        parts = [f"{name}={held[name]!r}" for name in ("id", "name", "reached") if name in held]
        return f"<{type(self).__name__} {' '.join(parts)}>"

    def add(self, *jobs: JobMixin) -> None:
        """Put new jobs into the batch. One that is stored takes more at any time, as from a job of its own.

        What it has come to already it does not come to again: add them before the last of the others has ended.

        Raises:
            InvalidJob: one of them is no new job, or is in a batch already.

        >>> (await current_job().batch(session)).add(transcode.new(part))  # doctest: +SKIP
        """
        for job in jobs:
            _check_new(job, "a batch")
            if table_of(type(job)).schema is not None:
                raise InvalidJob(f"{job!r} is of a class with a schema of its own, whose jobs cannot be in a batch")
            if job.batch_id is not None:
                raise InvalidJob(f"{job!r} is in a batch already; make another one")
            if job.workflow_name is not None:
                raise InvalidJob(
                    f"{job!r} is stored by its workflow, not by a batch; say job.batch_id = batch.id instead"
                )
        for job in jobs:
            job.batch_id = self.id
        if (session := object_session(self)) is not None:
            session.add_all(jobs)
        else:
            self.new_jobs = (*self.new_jobs, *jobs)


def template(job: JobMixin) -> dict[str, Any]:
    """What a callback is made like, as JSON.

    Raises:
        InvalidJob: the job is not new, is unique or is scheduled.
        InvalidEntity: an argument is a row without a key.
    """
    _check_new(job, "a callback of a batch")
    if job.unique is not None or "scheduled_at" in job.__dict__:
        raise InvalidJob(f"{job!r} is a callback of a batch, which is made once and at once: not unique, nor scheduled")
    said = {name: value for name in TEMPLATE if (value := job.__dict__.get(name)) is not None}
    said["args"] = by_reference(job.args)
    return snapshot(said, "a callback")  # type: ignore[return-value]  # an object in, an object out


def _check_new(job: object, where: str) -> None:
    if not isinstance(job, JobMixin):
        raise InvalidJob(f"{where} takes jobs, as made by a worker's new(), got {shown(job)}")
    if not inspect(job).transient:
        raise InvalidJob(f"{job!r} is stored or in a session already; {where} takes new jobs")


def _checked_name(name: object) -> str | None:
    if name is not None and (not isinstance(name, str) or not name.strip() or "\x00" in name):
        raise InvalidJob(f"a batch's name must be a str that is not blank, got {shown(name)}")
    return name
