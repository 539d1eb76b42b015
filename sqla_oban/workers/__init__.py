"""Declaring workers: `@job` makes one of a function, `@worker` of a class."""

from sqla_oban.workers.context import RunningJob, current_job
from sqla_oban.workers.decorators import JobFunction, WorkerClass, job, worker
from sqla_oban.workers.registry import REGISTRY, Registry

__all__ = ["REGISTRY", "JobFunction", "Registry", "RunningJob", "WorkerClass", "current_job", "job", "worker"]
