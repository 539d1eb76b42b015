"""Where the code of workers runs, and settings of the processes that it may run in."""

from dataclasses import dataclass
from enum import StrEnum

from sqla_oban.errors import ConfigurationError, shown
from sqla_oban.settings.checks import positive, whole


class ExecutorKind(StrEnum):
    """Where a worker's code runs."""

    ASYNC = "async"
    THREAD = "thread"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """The processes that run the jobs of workers and queues with `executor="process"`.

    Args:
        setup: what makes the sessions and dependencies that workers ask for there, since none can be sent there: the
            application's SqlaOban, or a function without arguments, async or sync, that returns it, or a dict as
            `SqlaOban(dependencies=...)` takes, `AsyncSession` among its keys if need be, or None. Written as
            `module:name`; it is imported, and called, once in each process before its first job.
        max_jobs: how many jobs a process runs before another takes its place; None for any number.
        max_memory: bytes of resident memory above which another takes its place once its job has ended; None for
            no limit.
        start_timeout: seconds that a process has to start.

    >>> SqlaOban(engine, queues={"media": QueueConfig(limit=2, executor="process")},
    ...     process=ProcessSettings(setup="shop.app:oban", max_jobs=1_000))  # doctest: +SKIP
    """

    setup: str | None = None
    max_jobs: int | None = None
    max_memory: int | None = None
    start_timeout: float = 120.0

    def __post_init__(self) -> None:
        if self.setup is not None:
            _check_name(self.setup)
        if self.max_jobs is not None:
            whole("ProcessSettings.max_jobs", self.max_jobs)
        if self.max_memory is not None:
            _check_bytes(self.max_memory)
        positive("ProcessSettings.start_timeout", self.start_timeout)


def _check_name(setup: object) -> None:
    module, colon, path = setup.partition(":") if isinstance(setup, str) else ("", "", "")
    if not colon or not all(name.isidentifier() for name in (*module.split("."), *path.split("."))):
        raise ConfigurationError(
            f"ProcessSettings.setup is written as module:name, as in shop.app:oban, got {shown(setup)}"
        )


def _check_bytes(number: object) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ConfigurationError(f"ProcessSettings.max_memory must be a number of bytes, got {shown(number)}")
