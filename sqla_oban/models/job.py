"""A job: the row that carries work from the transaction that wanted it to the worker that does it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Enum,
    Identity,
    Integer,
    Interval,
    SmallInteger,
    Text,
    Uuid,
    event,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, Mapper, declared_attr, has_inherited_table, mapped_column, validates
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.schema import SchemaItem

from sqla_oban.chain import Chain, checked_chain
from sqla_oban.errors import InvalidJob
from sqla_oban.models import chain_key
from sqla_oban.models.base import UTC_NOW, ObanBase, UTCDateTime, schema_of
from sqla_oban.models.checks import (
    aware,
    checked_args,
    checked_delay,
    checked_name,
    checked_number,
    checked_object,
    checked_state,
    checked_weight,
    normal_tags,
)
from sqla_oban.models.entity import Args
from sqla_oban.models.job_table import table_items
from sqla_oban.models.unique_key import mark
from sqla_oban.outcomes import RESULT
from sqla_oban.states import JobState
from sqla_oban.unique import Unique, checked_unique

JOB_STATE = Enum(JobState, name="oban_job_state", values_callable=lambda states: [state.value for state in states])


def _state_column() -> Any:
    """The enum lies in the schema of the table, which a column that is shared by all tables does not know."""
    return declared_attr(
        lambda cls: mapped_column(
            Enum(
                JobState,
                name=JOB_STATE.name,
                values_callable=JOB_STATE.values_callable,
                schema=schema_of(cls),
            ),
            nullable=False,
            server_default="available",
            sort_order=-11,
        )
    )


class JobMixin:
    """Columns and checks of a job; the concrete class names the table, and with `__oban_schema__` its schema.

    Values are checked when they are set, by the same limits as the table's own. Rows read from the database are not
    checked: whatever another library stored there can be read and run.
    """

    schedule_in = cast(timedelta | None, None)
    """How long after its INSERT the job is due, if that was said; `scheduled_at` is an estimate until then."""
    unique = cast(Unique | None, None)
    """What keeps a second such job from being enqueued, if that was said."""
    chain = cast(Chain | None, None)
    """What has the job run after all others of its chain, if that was said."""
    conflict = False
    """Whether the job was not inserted because the same one is there already, the one of its `id`."""

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), sort_order=-12)
    state: Mapped[JobState] = _state_column()
    queue: Mapped[str] = mapped_column(Text, server_default="default", sort_order=-10)
    worker: Mapped[str] = mapped_column(Text, sort_order=-10)
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"), sort_order=-10)
    max_attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("20"), sort_order=-10)
    priority: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"), sort_order=-10)
    args: Mapped[dict[str, Any]] = mapped_column(Args, server_default=text("'{}'::jsonb"), sort_order=-10)
    meta: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"), sort_order=-10)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("ARRAY[]::text[]"), sort_order=-10)
    errors: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'::jsonb"), sort_order=-10)
    attempted_by: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("ARRAY[]::text[]"), sort_order=-10)
    inserted_at: Mapped[datetime] = mapped_column(UTCDateTime, server_default=UTC_NOW, sort_order=-10)
    scheduled_at: Mapped[datetime] = mapped_column(UTCDateTime, server_default=UTC_NOW, sort_order=-10)
    attempted_at: Mapped[datetime | None] = mapped_column(UTCDateTime, sort_order=-10)
    cancelled_at: Mapped[datetime | None] = mapped_column(UTCDateTime, sort_order=-10)
    completed_at: Mapped[datetime | None] = mapped_column(UTCDateTime, sort_order=-10)
    discarded_at: Mapped[datetime | None] = mapped_column(UTCDateTime, sort_order=-10)
    unique_key: Mapped[str | None] = mapped_column(Text, sort_order=-10)
    unique_states: Mapped[int | None] = mapped_column(SmallInteger, sort_order=-10)
    unique_period: Mapped[timedelta | None] = mapped_column(Interval, sort_order=-10)
    partition: Mapped[str | None] = mapped_column(Text(collation="C"), sort_order=-10)
    weight: Mapped[int | None] = mapped_column(Integer, sort_order=-10)
    workflow_id: Mapped[int | None] = mapped_column(BigInteger, sort_order=-10)
    workflow_name: Mapped[str | None] = mapped_column(Text, sort_order=-10)
    awaited_until: Mapped[datetime | None] = mapped_column(UTCDateTime, sort_order=-10)
    chain_key: Mapped[str | None] = mapped_column(Text, sort_order=-10)
    chain_hold: Mapped[bool | None] = mapped_column(Boolean, sort_order=-10)
    chain_waits: Mapped[bool | None] = mapped_column(Boolean, sort_order=-10)
    batch_id: Mapped[UUID | None] = mapped_column(Uuid, sort_order=-10)
    featured: Mapped[bool | None] = mapped_column(Boolean, sort_order=-10)

    def __init__(
        self,
        *,
        worker: str,
        args: dict[str, Any] | None = None,
        schedule_in: float | timedelta | None = None,
        unique: Unique | bool | None = None,
        chain: Chain | str | Sequence[str] | None = None,
        **values: Any,
    ) -> None:
        if schedule_in is not None and values.get("scheduled_at") is not None:
            raise InvalidJob("a job takes schedule_in or scheduled_at, not both")
        delay = None if schedule_in is None else checked_delay(schedule_in)
        if delay is not None:
            values["scheduled_at"] = datetime.now(UTC) + delay  # to be read until the INSERT says it exactly
        super().__init__(**{"worker": worker, "args": {} if args is None else args, **values})
        self.schedule_in = delay
        self.unique = checked_unique(unique)
        if self.unique is not None:
            mark(self)
        self.chain = checked_chain(chain)
        if self.chain is not None:
            chain_key.mark(self)

    def __repr__(self) -> str:
        held = self.__dict__  # what is loaded: a repr must not emit SQL
        parts = [f"{name}={held[name]!r}" for name in ("id", "worker", "queue", "state", "attempt") if name in held]
        return f"<{type(self).__name__} {' '.join(parts)}>"

    @property
    def result(self) -> Any:
        """What the worker recorded by returning `Record(value)`; None when there is no such value."""
        meta: object = self.meta  # another library may have stored any JSON
        return meta.get(RESULT) if isinstance(meta, dict) else None

    @declared_attr.directive
    def __table_args__(cls) -> tuple[SchemaItem | dict[str, object], ...] | None:  # noqa: N805 (a directive is called with the class)
        if has_inherited_table(cls):  # type: ignore[arg-type]
            return None
        return table_items(cls.__tablename__, schema_of(cls))  # type: ignore[attr-defined]  # the concrete class has it

    @validates("queue", "worker")
    def _check_name(self, field: str, value: object) -> str:
        return checked_name(field, value)

    @validates("state")
    def _check_state(self, field: str, value: object) -> JobState:
        return checked_state(value)

    @validates("priority", "attempt", "max_attempts")
    def _check_number(self, field: str, value: object) -> object:
        return checked_number(field, value)

    @validates("weight")
    def _check_weight(self, field: str, value: object) -> object:
        return None if value is None else checked_weight(value)

    @validates("args")
    def _check_args(self, field: str, value: object) -> object:
        return checked_args(value)

    @validates("meta")
    def _check_meta(self, field: str, value: object) -> object:
        return checked_object(field, value)

    @validates("tags")
    def _check_tags(self, field: str, value: object) -> list[str]:
        return normal_tags(value)

    @validates("scheduled_at")
    def _check_moment(self, field: str, value: object) -> object:
        if isinstance(value, ColumnElement):
            return value
        moment = aware(field, value)
        self.schedule_in = None  # the later word counts
        if instance_state(self).key is None and "state" not in self.__dict__:  # new, and nobody said otherwise
            self.state = JobState.SCHEDULED
        return moment


COLUMNS = frozenset(JobMixin.__annotations__)
"""The attributes that every class of jobs has columns for."""


class Job(JobMixin, ObanBase):
    """A job. Usually made by a worker's `new`, and added to the session beside the rows that it belongs to.

    Args:
        worker: the name of the worker that is to run it.
        args: what the worker is called with; JSON values.
        queue: where it waits; 1 to 127 characters.
        priority: 0 runs first.
        max_attempts: how often it may be tried, at least 1.
        tags: free labels; stripped, lower-cased, each kept once.
        meta: free notes about the job; JSON values.
        scheduled_at: the moment from which it may run, with a time zone.
        weight: how much of its queue's rate limit a start of it uses, at least 1; default: 1.
        schedule_in: instead: seconds or a timedelta from the INSERT on, by the clock of the database.
        unique: keeps it from being enqueued while the same job is there: a `Unique`, or True for its defaults.
        chain: has it run after all others of the same worker that have the same values of these arguments: a `Chain`,
            or the names.

    Raises:
        InvalidJob: a field holds what the table cannot store.
        UnserialisableValue: `args` or `meta` hold what JSON cannot.

    >>> job = Job(worker="app.mail.send_welcome", args={"user_id": 1}, queue="mailers")
    >>> job
    <Job worker='app.mail.send_welcome' queue='mailers'>
    """

    __tablename__ = "oban_jobs"


@event.listens_for(JobMixin, "before_insert", propagate=True)
def _leave_to_the_database(_: Mapper[Any], __: Connection, job: JobMixin) -> None:
    """What PostgreSQL decides: the id, and when a relative delay begins.

    A job that was rolled back and is added again still holds the id of its first INSERT, which the identity column
    refuses. The delay is counted from the INSERT by PostgreSQL, so that a wrong clock here does no harm.
    """
    job.id = None  # type: ignore[assignment]  # unset, until the INSERT returns it
    if job.schedule_in is not None:
        job.scheduled_at = func.timezone("UTC", func.clock_timestamp()) + job.schedule_in
