"""Entries of the crontab that stand in code."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import inspect

from sqla_oban.errors import ConfigurationError, InvalidSchedule, shown
from sqla_oban.models import JobMixin
from sqla_oban.models.checks import checked_name
from sqla_oban.models.entity import by_reference
from sqla_oban.workers.definition import Definition
from sqla_oban.workers.schedule import Schedule

TEMPLATE = (
    *("worker", "args", "queue", "priority", "max_attempts", "tags", "meta"),
    *("unique_key", "unique_states", "unique_period"),
    *("chain_key", "chain_hold", "weight"),
)
"""What a job of the crontab takes from its entry."""


@dataclass(frozen=True, slots=True)
class CronJob:
    """A job to be made again and again.

    Args:
        schedule: when; a Schedule or a cron expression.
        job: what; made by a worker's `new` and not added to a session.
        name: which entry this is, over all changes of the others; default: the worker's name.

    Raises:
        InvalidSchedule: the schedule cannot be understood, or the job is no template.
        InvalidEntity: an argument of the job is a row that has no key yet.

    >>> SqlaOban(engine, cron=[CronJob("0 3 * * *", send_report.new(kind="all"))])  # doctest: +SKIP
    """

    schedule: Schedule
    job: JobMixin
    name: str

    def __init__(self, schedule: Schedule | str, job: JobMixin, name: str | None = None) -> None:
        object.__setattr__(self, "schedule", schedule if isinstance(schedule, Schedule) else Schedule(schedule))
        object.__setattr__(self, "job", checked_template(job))
        object.__setattr__(self, "name", checked_name("the entry's name", job.worker if name is None else name))

    def row(self) -> dict[str, Any]:
        """The entry as the columns of `oban_crons`."""
        return {"name": self.name, **columns(self.schedule), **template(self.job)}


def columns(schedule: Schedule) -> dict[str, Any]:
    """A schedule as columns of `oban_crons`."""
    return {
        "expression": schedule.expression,
        "timezone": schedule.timezone,
        "missed": str(schedule.missed),
    }


def template(job: JobMixin) -> dict[str, Any]:
    """What a template says of its jobs; None for what it leaves to the table's defaults.

    Raises:
        InvalidEntity: an argument is a row without a key.
    """
    return {**{name: job.__dict__.get(name) for name in TEMPLATE}, "args": by_reference(job.args)}


def checked_template(job: object) -> JobMixin:
    """A job that others can be made like.

    Raises:
        InvalidSchedule: it is no job, is stored already, or has a moment of its own.
        InvalidEntity: an argument is a row without a key, and so not the one of jobs to come.
    """
    if not isinstance(job, JobMixin):
        raise InvalidSchedule(f"an entry of the crontab takes a job, as made by a worker's new(), got {shown(job)}")
    if not inspect(job).transient:
        raise InvalidSchedule(f"{job!r} is in a session; an entry of the crontab takes a job of its own")
    if "scheduled_at" in job.__dict__:
        raise InvalidSchedule(f"{job!r} has a moment of its own; the entry's schedule says when it runs")
    by_reference(job.args)
    return job


def declared(given: Iterable[object], definitions: Iterable[Definition]) -> Mapping[str, CronJob]:
    """The entries that were given to a runner, and those of declared workers, by name.

    Raises:
        ConfigurationError: one is no CronJob, or two have the same name.
    """
    entries: dict[str, CronJob] = {}
    by_workers = [
        CronJob(definition.cron, definition.defaults.make(definition.name, {}))
        for definition in definitions
        if definition.cron is not None
    ]
    for entry in (*given, *by_workers):
        if not isinstance(entry, CronJob):
            raise ConfigurationError(f"cron takes CronJobs, got {shown(entry)}")
        if entry.name in entries:
            raise ConfigurationError(f"two entries of the crontab are named {entry.name!r}; give one another name=")
        entries[entry.name] = entry
    return entries
