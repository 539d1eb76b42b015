"""What a job that is part of a workflow knows of the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Upstream:
    """A job that the running one has waited for, as it was when that began.

    Attributes:
        id: of the job.
        state: how it ended: "completed", or what the running job ignores: "cancelled", "discarded" or "deleted".
        result: what it recorded by returning `Record(value)`; else None.
    """

    id: int
    state: str
    result: Any


@dataclass(frozen=True, slots=True)
class Part:
    """A running job's place in its workflow.

    Attributes:
        workflow_id: which.
        context: what is said to all of its jobs.
        upstream: what the job has waited for, by name.
    """

    workflow_id: int
    context: Mapping[str, Any]
    upstream: Mapping[str, Upstream]
