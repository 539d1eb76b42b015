"""Every exception of this project, in one tree.

    ObanError
    ├── ConfigurationError (ValueError)   a setting or a queue is wrong
    │   └── UnsupportedEngine             not an async engine on PostgreSQL
    ├── DeclarationError (ValueError)     a worker is declared wrongly
    ├── UnknownOption (TypeError)         an option that does not exist; says which one was meant
    ├── InvalidJob (ValueError)           a job's field holds what cannot be stored
    ├── InvalidArguments (TypeError)      a worker's arguments do not fit its signature
    ├── UnserialisableValue (TypeError)   a value that does not survive JSON and PostgreSQL
    ├── SchemaMismatch (RuntimeError)     the database is behind or ahead of this library
    ├── InvalidSelection (ValueError)     a selection of jobs that names none, or all of them
    ├── JobNotFound (LookupError)         no job has that id
    ├── JobIsExecuting (RuntimeError)     what was asked cannot be done to a job that is running
    ├── InvalidWorkflow (ValueError)      a workflow's graph, name or context cannot be
    ├── WorkflowNotFound (LookupError)    no workflow has that id
    ├── InvalidSchedule (ValueError)      a cron expression or its time zone cannot be understood
    ├── UnknownCron (LookupError)         no entry of the crontab has that name
    ├── InvalidEntity (ValueError)        an entity that cannot be an argument, because no row can be found by it
    ├── NotProvided (LookupError)         a worker asks for something that its runner was not told how to make
    ├── ClaimLost (RuntimeError)          a job that is no longer this execution's to complete
    ├── UniqueTimeout (TimeoutError)      another transaction is enqueueing the same unique job, and does not end
    ├── LimitTimeout (TimeoutError)       a rate limit had no room in time
    ├── TooSlow (TimeoutError)            a question that PostgreSQL was given no more time for
    ├── UnknownWorker (LookupError)       a job names a worker that this process does not know
    ├── JobTimeout (TimeoutError)         a job ran for longer than its worker allows
    ├── WorkerDied (RuntimeError)         the process that ran a job ended before the job did
    ├── ProcessNotStarted (RuntimeError)  a process that is to run jobs cannot be started
    ├── WaitTimeout (TimeoutError)        a job that is waited for did not end in time
    ├── JobNotCompleted (RuntimeError)    a job that is waited for ended, and not as completed
    │   ├── JobCancelled                  it was cancelled
    │   ├── JobDiscarded                  it has failed too often
    │   └── JobDeleted                    it is gone
    ├── SignalTimeout (TimeoutError)      no signal came in time for the job that waits for it
    ├── JobHasEnded (RuntimeError)        what was asked cannot be done to a job that has ended
    ├── NoCurrentJob (LookupError)        `current_job()` outside of a running job
    ├── EndlessJobs (RuntimeError)        in a test, jobs that enqueue jobs that enqueue jobs
    └── TemporaryPostgresError (RuntimeError)  no PostgreSQL to be found or started

Each also derives from the builtin that callers would catch without knowing this tree. A message is one sentence
that says what was wrong, and what to do where that is not obvious.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from sqlalchemy.exc import DBAPIError, DontWrapMixin


def shown(value: object, most: int = 100) -> str:
    """`value` as a message may show it: short, and whatever its `repr` does.

    >>> shown("x" * 1000, most=5)
    "'xxxx..."
    """
    try:
        text = repr(value)
    except Exception:  # Python does not print integers of 4,301 digits, and a repr may do anything
        text = f"a {type(value).__qualname__} that cannot be shown"
    return text if len(text) <= most else f"{text[:most]}..."


def reason(error: BaseException) -> str:
    """The first line of what PostgreSQL or the driver said, without SQLAlchemy's wrapping.

    >>> reason(OSError(111, "Connection refused"))
    '[Errno 111] Connection refused'
    """
    cause: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig.__cause__ or error.orig
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


class ObanError(Exception):
    """The base of every error that this library raises on purpose."""


class ConfigurationError(ObanError, ValueError):
    """A setting of the runner or of one of its services is wrong."""


class UnsupportedEngine(ConfigurationError):
    """The runner was given something else than an AsyncEngine on PostgreSQL."""


class DeclarationError(ObanError, ValueError):
    """A worker is declared in a way that could not work."""


class UnknownOption(ObanError, TypeError):
    """An option that does not exist.

    Args:
        option: the name that was given.
        known: the names that exist.
        where: what the option was given to, as the message should name it.
    """

    def __init__(self, option: str, known: Iterable[str], where: str) -> None:
        names = sorted(known)
        close = get_close_matches(option, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known options: {', '.join(names)}"
        super().__init__(f"{where} has no option {option!r}; {hint}")


class InvalidJob(ObanError, ValueError, DontWrapMixin):
    """A field of a job holds what the table cannot store."""


class InvalidArguments(ObanError, TypeError):
    """Arguments do not fit what they are given to, as a worker with its signature."""


class UnserialisableValue(ObanError, TypeError):
    """A value would not come back from PostgreSQL's JSON the way it went in."""


class SchemaMismatch(ObanError, RuntimeError):
    """The tables in the database are of another version than this library needs."""


class UnknownWorker(ObanError, LookupError):
    """A job names a worker that no imported module of this process declares."""


class InvalidSelection(ObanError, ValueError):
    """A selection of jobs is empty of meaning: it names no jobs, or all of them."""


class JobNotFound(ObanError, LookupError):
    """No job has the id that was given."""


class JobIsExecuting(ObanError, RuntimeError):
    """A job is running, and what was asked cannot be done to it meanwhile."""


class InvalidWorkflow(ObanError, ValueError, DontWrapMixin):
    """A workflow's graph, one of its names or its context is none that can be."""


class WorkflowNotFound(ObanError, LookupError):
    """No workflow has the id that was given."""


class InvalidSchedule(ObanError, ValueError):
    """A cron expression, its time zone or its policy cannot be understood."""


class UnknownCron(ObanError, LookupError):
    """No entry of the crontab has the name that was given."""


class InvalidEntity(ObanError, ValueError, DontWrapMixin):
    """An entity cannot be an argument of a job: its row has no key yet, or is gone."""


class NotProvided(ObanError, LookupError):
    """A worker's parameter is to be provided, and the runner was given nothing that makes it."""


class ClaimLost(ObanError, RuntimeError):
    """The job has ended or was given to another meanwhile, so that its outcome and effects must not be committed."""


class UniqueTimeout(ObanError, TimeoutError):
    """Another transaction is enqueueing the same unique job, and did not end within `lock_timeout`."""


class LimitTimeout(ObanError, TimeoutError):
    """A rate limit had no room for what was asked within the `timeout`."""


class TooSlow(ObanError, TimeoutError):
    """PostgreSQL took longer to answer a question of the dashboard's than it may."""


class JobTimeout(ObanError, TimeoutError):
    """A job ran for longer than its worker's `timeout`."""


class WorkerDied(ObanError, RuntimeError):
    """The process that ran a job crashed, exited or was killed."""


class ProcessNotStarted(ObanError, RuntimeError):
    """A process that is to run jobs cannot be started."""


class WaitTimeout(ObanError, TimeoutError):
    """A job that is waited for did not end within the `timeout`; it goes on as if nobody had waited."""


class JobNotCompleted(ObanError, RuntimeError):
    """A job that is waited for ended in another state than completed.

    Args:
        message: what happened.
        id: the job's id.
        error: what its errors say last; None if they say nothing.
    """

    def __init__(self, message: str, id: int, error: str | None = None) -> None:
        super().__init__(message, id, error)
        self.id = id
        self.error = error

    def __str__(self) -> str:
        return str(self.args[0])


class JobCancelled(JobNotCompleted):
    """A job that is waited for was cancelled."""


class JobDiscarded(JobNotCompleted):
    """A job that is waited for has failed in its last attempt; `error` says how."""


class JobDeleted(JobNotCompleted):
    """A job that is waited for was deleted, so that nobody can say how it ended."""


class SignalTimeout(ObanError, TimeoutError):
    """No signal came in time for the job that waits for it."""


class JobHasEnded(ObanError, RuntimeError):
    """A job has ended, and what was asked can be done only before."""


class NoCurrentJob(ObanError, LookupError):
    """`current_job()` was called where no job is running."""


class EndlessJobs(ObanError, RuntimeError):
    """Jobs that a test runs enqueue ever more of them."""


class TemporaryPostgresError(ObanError, RuntimeError):
    """A temporary PostgreSQL server could not be found, started or reached."""
