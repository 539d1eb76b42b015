"""What can be said of a worker where it is declared, and of a job where it is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Self, TypedDict

from sqlalchemy import inspect

from sqla_oban.chain import Chain, checked_chain
from sqla_oban.errors import DeclarationError, InvalidJob, UnknownOption, shown
from sqla_oban.models import Job, JobMixin
from sqla_oban.models.checks import (
    aware,
    checked_args,
    checked_delay,
    checked_name,
    checked_number,
    checked_weight,
    normal_tags,
)
from sqla_oban.models.fresh import fresh
from sqla_oban.payload import snapshot
from sqla_oban.settings import ExecutorKind
from sqla_oban.unique import Unique, checked_unique
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
    unique: Unique | bool | None
    weight: int
    chain: Chain | str | Sequence[str] | None


class PlainOptions(TypedDict, total=False):
    """Options of a worker's declaration that have nothing to do with the class of its jobs."""

    name: str
    queue: str
    priority: int
    max_attempts: int
    tags: Sequence[str]
    meta: Mapping[str, Any]
    cron: str | Schedule
    deadline: float | timedelta
    executor: str
    transactional: bool
    unique: Unique | bool | None
    weight: int
    chain: Chain | str | Sequence[str] | None


class WorkerOptions(PlainOptions, total=False):
    """Options of a worker's declaration."""

    backoff: Callable[[Job], float]
    timeout: float | timedelta | Callable[[Job], float | None]


@dataclass(frozen=True, slots=True)
class JobDefaults:
    """The checked fields that a worker gives to its jobs; None leaves a field to the table's default.

    Args:
        model: the class of its jobs; None for the library's own.
    """

    model: type[JobMixin] | None = None
    queue: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    tags: Sequence[str] | None = None
    meta: Mapping[str, Any] | None = None
    schedule_in: timedelta | None = None
    scheduled_at: datetime | None = None
    unique: Unique | None = None
    weight: int | None = None
    chain: Chain | None = None

    def with_options(self, options: Mapping[str, Any], where: str) -> Self:
        """These with `options` over them, checked.

        Raises:
            UnknownOption: there is no such option of a job.
            InvalidJob, UnserialisableValue: a value is out of range.
        """
        for name in options:
            if name not in OPTIONS:
                raise UnknownOption(name, OPTIONS, where)
        checked = {name: OPTIONS[name](value) for name, value in options.items()}
        if "schedule_in" in checked and "scheduled_at" in checked:
            raise InvalidJob(f"{where} takes schedule_in or scheduled_at, not both")
        if "schedule_in" in checked or "scheduled_at" in checked:  # the later word about the moment counts
            checked = {"schedule_in": None, "scheduled_at": None, **checked}
        return replace(self, **checked)

    def make(self, worker: str, args: dict[str, Any]) -> JobMixin:
        """A job of `worker` with these fields and `args`, which are checked here.

        Raises:
            UnserialisableValue: `args` hold what JSON cannot.
        """
        given = {name: value for name in FIELDS if (value := getattr(self, name)) is not None}
        model = self.model or Job
        if model is not Job or not DERIVED.isdisjoint(given):
            return model(worker=worker, args=args, **given)  # the constructor knows what follows from these
        if self.tags is not None:
            given["tags"] = list(self.tags)
        if self.meta is not None:
            given["meta"] = snapshot(self.meta, "meta")
        return fresh({"worker": worker, "args": checked_args(args), **given})


def priority(value: object) -> int:
    """A priority between 0, the first, and 9. (The table takes larger ones from others.)"""
    number = checked_number("priority", value)
    if number > 9:
        raise InvalidJob(f"priority must be between 0 and 9, got {shown(number)}")
    return number


def checked_model(value: object) -> type[JobMixin]:
    """A mapped class of jobs.

    Raises:
        InvalidJob: it is none.
    """
    if not (isinstance(value, type) and issubclass(value, JobMixin) and inspect(value, raiseerr=False) is not None):
        raise InvalidJob(f"model must be a mapped class of jobs, as make_models() makes it, got {shown(value)}")
    return value


def json_object(field: str, value: object) -> object:
    """A job's args or meta, as JSON gives them back."""
    if not isinstance(value, Mapping):
        raise InvalidJob(f"{field} must be a dict, got {shown(value)}")
    return snapshot(dict(value), field)


FIELDS = tuple(field.name for field in fields(JobDefaults) if field.name != "model")
DERIVED = frozenset({"schedule_in", "scheduled_at", "unique", "chain"})
CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "queue": lambda value: checked_name("queue", value),
    "priority": priority,
    "max_attempts": lambda value: checked_number("max_attempts", value),
    "tags": normal_tags,
    "meta": lambda value: json_object("meta", value),
    "schedule_in": checked_delay,
    "scheduled_at": lambda value: aware("scheduled_at", value),
    "unique": checked_unique,
    "weight": checked_weight,
    "chain": checked_chain,
}
"""What checks the fields of a job."""
OPTIONS: Mapping[str, Callable[[Any], Any]] = {**CHECKS, "model": checked_model}
"""What checks all that can be said where a job is made."""
DECLARABLE = frozenset({*WorkerOptions.__annotations__, "model"})


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
