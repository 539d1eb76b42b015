"""A declared worker, as the engine sees it: a name, where it runs, and how to call it."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqla_oban.backoff import exponential
from sqla_oban.errors import DeclarationError, UnknownOption, shown
from sqla_oban.models import Job
from sqla_oban.workers.options import DECLARABLE, ExecutorKind, JobDefaults

MakeJob = Callable[[], Job]
"""Builds the mapped `Job` of the running one; called only by workers that want it, because it takes its time."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A declared worker.

    Args:
        name: the stable name that is stored with its jobs.
        defaults: what its jobs are made with.
        executor: where it runs.
        prepare: makes, of the stored args and the job, the call without arguments that does the work.
        backoff: seconds to wait after a failed attempt; None for the default rule.
        origin: file and name of the declaration, to tell a reload from a clash of names.
    """

    name: str
    defaults: JobDefaults
    executor: ExecutorKind
    prepare: Callable[[object, MakeJob], Callable[[], Any]]
    backoff: Callable[[Job], float] | None
    origin: tuple[str, str]

    def delay(self, job: MakeJob, attempt: int, max_attempts: int) -> float:
        """Seconds until the next attempt, after `attempt` failed.

        Raises:
            whatever the worker's own rule raises.
        """
        return exponential(attempt, max_attempts) if self.backoff is None else self.backoff(job())


def checked_options(options: Mapping[str, Any], where: str) -> JobDefaults:
    """The job fields among a declaration's `options`.

    Raises:
        UnknownOption: there is no such option.
        DeclarationError: a value has the wrong kind.
    """
    for option in options:
        if option not in DECLARABLE:
            raise UnknownOption(option, DECLARABLE, where)
    if (backoff := options.get("backoff")) is not None and not callable(backoff):
        raise DeclarationError(
            f"{where}: backoff must be a function of the job that returns seconds, got {shown(backoff)}"
        )
    if inspect.iscoroutinefunction(backoff):
        raise DeclarationError(f"{where}: backoff must be a plain function, got the async {shown(backoff)}")
    fields = {name: value for name, value in options.items() if name not in ("name", "backoff", "executor")}
    return JobDefaults().with_options(fields, where)
