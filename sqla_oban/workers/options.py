"""What can be said of a worker where it is declared, and of a job where it is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Self, TypedDict

from sqla_oban.errors import DeclarationError, InvalidJob, UnknownOption, shown
from sqla_oban.models import Job
from sqla_oban.models.checks import aware, checked_delay, checked_name, checked_number, normal_tags
from sqla_oban.payload import snapshot
from sqla_oban.settings import ExecutorKind
from sqla_oban.workers.schedule import Schedule


class JobOptions(TypedDict, total=False):
    """Options of one job; a worker's declaration may set all but the two moments as defaults."""

    queue: str
    priority: int
    max_attempts: int
    tags: Sequence[str]
    meta: Mapping[str, Any]
    schedule_in: float | timedelta
    scheduled_at: datetime


class WorkerOptions(TypedDict, total=False):
    """Options of a worker's declaration."""

    name: str
    queue: str
    priority: int
    max_attempts: int
    tags: Sequence[str]
    meta: Mapping[str, Any]
    backoff: Callable[[Job], float]
    timeout: float | timedelta | Callable[[Job], float | None]
    cron: str | Schedule
    deadline: float | timedelta
    executor: str
    transactional: bool


@dataclass(frozen=True, slots=True)
class JobDefaults:
    """The checked fields that a worker gives to its jobs; None leaves a field to the table's default."""

    queue: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    tags: Sequence[str] | None = None
    meta: Mapping[str, Any] | None = None
    schedule_in: timedelta | None = None
    scheduled_at: datetime | None = None

    def with_options(self, options: Mapping[str, Any], where: str) -> Self:
        """These with `options` over them, checked.

        Raises:
            UnknownOption: there is no such option of a job.
            InvalidJob, UnserialisableValue: a value is out of range.
        """
        for name in options:
            if name not in CHECKS:
                raise UnknownOption(name, CHECKS, where)
        checked = {name: CHECKS[name](value) for name, value in options.items()}
        if "schedule_in" in checked and "scheduled_at" in checked:
            raise InvalidJob(f"{where} takes schedule_in or scheduled_at, not both")
        if "schedule_in" in checked or "scheduled_at" in checked:  # the later word about the moment counts
            checked = {"schedule_in": None, "scheduled_at": None, **checked}
        return replace(self, **checked)

    def make(self, worker: str, args: dict[str, Any]) -> Job:
        """A job of `worker` with these fields."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return Job(worker=worker, args=args, **{name: value for name, value in given.items() if value is not None})


def priority(value: object) -> int:
    """A priority between 0, the first, and 9. (The table takes larger ones from others.)"""
    number = checked_number("priority", value)
    if number > 9:
        raise InvalidJob(f"priority must be between 0 and 9, got {shown(number)}")
    return number


def json_object(field: str, value: object) -> object:
    """A job's args or meta, as JSON gives them back."""
    if not isinstance(value, Mapping):
        raise InvalidJob(f"{field} must be a dict, got {shown(value)}")
    return snapshot(dict(value), field)


CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "queue": lambda value: checked_name("queue", value),
    "priority": priority,
    "max_attempts": lambda value: checked_number("max_attempts", value),
    "tags": normal_tags,
    "meta": lambda value: json_object("meta", value),
    "schedule_in": checked_delay,
    "scheduled_at": lambda value: aware("scheduled_at", value),
}
DECLARABLE = frozenset(WorkerOptions.__annotations__)


def executor_kind(value: str | None, *, asynchronous: bool, where: str) -> ExecutorKind:
    """Where a worker runs: as asked, else by its kind.

    Raises:
        DeclarationError: there is no such executor, or it does not suit the worker's kind.
    """
    natural = ExecutorKind.ASYNC if asynchronous else ExecutorKind.THREAD
    if value is None:
        return natural
    if value not in set(ExecutorKind):
        raise DeclarationError(f"{where}: executor must be one of {', '.join(ExecutorKind)}, got {shown(value)}")
    if value not in (natural, ExecutorKind.PROCESS):
        kind = "an async" if asynchronous else "a sync"
        raise DeclarationError(f"{where} is {kind} worker, which runs with executor={natural.value!r}")
    return ExecutorKind(value)
