"""A declared worker, as the engine sees it: a name, where it runs, and how to call it."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqla_oban.backoff import exponential
from sqla_oban.errors import DeclarationError, InvalidJob, UnknownOption, shown
from sqla_oban.outcomes import MAX_DELAY
from sqla_oban.settings import ExecutorKind
from sqla_oban.workers.bodies import MakeJob
from sqla_oban.workers.calls import Surroundings
from sqla_oban.workers.options import DECLARABLE, OPTIONS, JobDefaults
from sqla_oban.workers.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Rules:
    """How the executions of a worker's jobs are bounded.

    Args:
        backoff: seconds to wait after a failed attempt; None for the default rule.
        timeout: seconds that an execution may take, or a function of the job that returns them; None for no limit.
        deadline: seconds after a job is due within which its first execution must begin; None for no limit.
    """

    backoff: Callable[[Any], float] | None = None
    timeout: float | Callable[[Any], float | None] | None = None
    deadline: float | None = None

    def delay(self, job: MakeJob, attempt: int, max_attempts: int) -> float:
        """Seconds until the next attempt, after `attempt` failed.

        Raises:
            InvalidJob: the worker's rule returns nonsense.
            whatever that rule raises.
        """
        if self.backoff is None:
            return exponential(attempt, max_attempts)
        return _seconds("backoff", self.backoff(job()))

    def time_limit(self, job: MakeJob) -> float | None:
        """Seconds that this execution may take.

        Raises:
            InvalidJob: the worker's rule returns nonsense.
            whatever that rule raises.
        """
        limit = self.timeout(job()) if callable(self.timeout) else self.timeout
        return None if limit is None else _seconds("timeout", limit)


@dataclass(frozen=True, slots=True)
class Definition:
    """A declared worker.

    Args:
        name: the stable name that is stored with its jobs.
        defaults: what its jobs are made with.
        executor: where it runs.
        prepare: makes, of the stored args and the surroundings, the call without arguments that does the work.
        rules: how its executions are bounded.
        origin: file and name of the declaration, to tell a reload from a clash of names.
        cron: when to make a job without arguments of it, again and again.
        is_class: whether it is a class, whose `process` is given the job.
        module: what to import for it to be declared.
        asynchronous: whether its code is awaited.
        pinned: whether `executor` was asked for in the declaration.
        encode: makes, of some arguments by name, what is stored of them.
    """

    name: str
    defaults: JobDefaults
    executor: ExecutorKind
    prepare: Callable[[object, Surroundings], Callable[[], Any]]
    rules: Rules
    origin: tuple[str, str]
    cron: Schedule | None = None
    is_class: bool = False
    module: str = ""
    asynchronous: bool = False
    pinned: bool = False
    encode: Callable[[Mapping[str, Any]], dict[str, Any]] = dict

    def __post_init__(self) -> None:
        """A worker that the crontab could make no job of is refused where it is declared.

        Raises:
            InvalidJob: it is unique, or a chain, by an argument that a job without arguments does not have.
        """
        if self.cron is not None:
            self.defaults.make(self.name, {})

    @property
    def queue(self) -> str:
        """Where its jobs go that do not say so themselves."""
        return self.defaults.queue or "default"

    @property
    def takes_job(self) -> bool:
        """Whether code of the worker's is given the job as a mapped object."""
        return self.is_class or self.rules.backoff is not None or callable(self.rules.timeout)

    @property
    def natural(self) -> ExecutorKind:
        """Where it runs by its kind."""
        return ExecutorKind.ASYNC if self.asynchronous else ExecutorKind.THREAD

    def place(self, otherwise: ExecutorKind | None) -> ExecutorKind:
        """Where it runs in a queue whose jobs run `otherwise` unless their workers say where."""
        return self.executor if self.pinned or otherwise is None else otherwise


def checked_options(options: Mapping[str, Any], where: str) -> JobDefaults:
    """The job fields among a declaration's `options`.

    Raises:
        UnknownOption: there is no such option.
        InvalidJob, UnserialisableValue: a value is out of range.
    """
    for option in options:
        if option not in DECLARABLE:
            raise UnknownOption(option, DECLARABLE, where)
    fields = {name: value for name, value in options.items() if name in OPTIONS}
    return JobDefaults().with_options(fields, where)


def checked_rules(options: Mapping[str, Any], target: object, where: str) -> Rules:
    """The rules among a declaration's `options`; methods of a worker class come before options.

    Raises:
        DeclarationError: one of them is of the wrong kind.
    """
    backoff, timeout = options.get("backoff"), options.get("timeout")
    if isinstance(target, type):
        backoff, timeout = _method(target, "backoff", backoff), _method(target, "timeout", timeout)
    for name, rule in (("backoff", backoff), ("timeout", timeout)):
        if inspect.iscoroutinefunction(rule):
            raise DeclarationError(f"{where}: {name} must be a plain function, got the async {shown(rule)}")
    if backoff is not None and not callable(backoff):
        raise DeclarationError(
            f"{where}: backoff must be a function of the job that returns seconds, got {shown(backoff)}"
        )
    return Rules(
        backoff=backoff,
        timeout=timeout if callable(timeout) else _span("timeout", timeout, where),
        deadline=_span("deadline", options.get("deadline"), where),
    )


def _method(cls: type[Any], name: str, otherwise: object) -> Any:
    """A rule that is a method of a worker class: called on a fresh instance, as `process` is."""
    method = getattr(cls, name, None)
    if method is None:
        return otherwise
    if not callable(method) or inspect.iscoroutinefunction(method):
        return method  # for the caller to refuse
    return lambda job: getattr(cls(), name)(job)  # noqa: PLW0108 (an instance for each call)


def _span(name: str, value: object, where: str) -> float | None:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= MAX_DELAY:
        raise DeclarationError(f"{where}: {name} must be seconds or a timedelta above zero, got {shown(value)}")
    return float(seconds)


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InvalidJob(f"{name} must return a number of seconds that is not negative, got {shown(value)}")
    return float(min(value, MAX_DELAY))
