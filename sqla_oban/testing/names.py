"""The ways to name a worker in a test."""

from typing import Any, TypeAlias

from sqla_oban.errors import InvalidArguments, shown
from sqla_oban.models.checks import checked_name
from sqla_oban.workers import JobFunction, WorkerClass

AnyWorker: TypeAlias = JobFunction[..., Any, Any] | WorkerClass[Any, Any] | type[Any] | str
"""A function declared with `@job`, a class declared with `@worker`, or the name of either."""


def name_of(worker: object) -> str:
    """The name that is stored with the jobs of `worker`.

    Raises:
        InvalidArguments: it is no worker.
        InvalidJob: it is a text that cannot be the name of one.
    """
    if isinstance(worker, str):
        return checked_name("worker", worker)
    if isinstance(worker, JobFunction):
        return worker.name
    if isinstance(worker, type) and (make := getattr(worker, "new", None)) is not None:
        return str(make().worker)
    raise InvalidArguments(f"a worker is declared with @job or @worker, got {shown(worker)}")
