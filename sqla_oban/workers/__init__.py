"""Declaring workers: `@job` makes one of a function, `@worker` of a class."""

from sqla_oban.workers.context import RunningJob, current_job
from sqla_oban.workers.crontab import CronJob
from sqla_oban.workers.decorators import JobFunction, WorkerClass, job, worker
from sqla_oban.workers.providing import Provider, inject
from sqla_oban.workers.registry import REGISTRY, Registry
from sqla_oban.workers.schedule import Schedule

__all__ = [
    "REGISTRY",
    "CronJob",
    "JobFunction",
    "Provider",
    "Registry",
    "RunningJob",
    "Schedule",
    "WorkerClass",
    "current_job",
    "inject",
    "job",
    "worker",
]
