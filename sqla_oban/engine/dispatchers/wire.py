"""What a runner and the processes of its workers say to each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqla_oban.outcomes import Cancel, Record, Snooze
from sqla_oban.queries.claim import Claimed
from sqla_oban.workers.calls import Settled
from sqla_oban.workers.part import Part

Outcome = Snooze | Cancel | Record | Settled | None


class Raised(Exception):  # it says what happened elsewhere
    """What a worker raised in another process, told there: an exception itself may not survive the way.

    Args:
        kind: the name of its class.
        summary: its first line.
        told: all of it, with its traceback.
    """

    def __init__(self, kind: str, summary: str, told: str) -> None:
        super().__init__(kind, summary, told)
        self.kind = kind
        self.summary = summary
        self.told = told

    def __str__(self) -> str:
        return self.told


@dataclass(frozen=True, slots=True)
class Boot:
    """What a process needs to know before its first job.

    Args:
        argv: what the runner was started with.
        main: the file of the runner's main script, in case it declares workers.
        setup: `ProcessSettings.setup`.
        schema: of the job's table.
    """

    argv: list[str]
    main: str | None
    setup: str | None
    schema: str | None


@dataclass(frozen=True, slots=True)
class Order:
    """Do the work of a job.

    Args:
        claimed: the job.
        queue, holder: where it was claimed, and by whom.
        module: what declares its worker.
        own: the values of the columns that the class of the job has beyond those of every job.
        part: its place in its workflow.
    """

    claimed: Claimed
    queue: str
    holder: list[str]
    module: str
    own: Mapping[str, Any]
    part: Part | None

    @property
    def key(self) -> tuple[int, datetime]:
        """Names the execution."""
        return self.claimed.id, self.claimed.attempted_at


@dataclass(frozen=True, slots=True)
class Stop:
    """End the work of an execution.

    Args:
        key: which one; it may have ended meanwhile.
        cancelled: whether the job is to be cancelled.
    """

    key: tuple[int, datetime]
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Leave:
    """There is nothing more to do."""


@dataclass(frozen=True, slots=True)
class Reply:
    """How a start or an execution ended.

    Args:
        outcome: what the worker returned, if that says how the job ends; anything else stays where it was made.
        raised: what it raised instead.
        stopped: whether it ended by being stopped.
        memory: resident bytes of the process.
    """

    outcome: Outcome = None
    raised: Raised | None = None
    stopped: bool = False
    memory: int = 0
