"""What a job that is part of a workflow knows of the rest."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
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


class Part:
    """A running job's place in its workflow; most jobs never look, so it is read when they do.

    Args:
        workflow_id: which.
        context: a JSON object of what is said to all of its jobs; None for nothing.
        upstream: a JSON object of what the job has waited for, by name; None for nothing.
    """

    def __init__(self, workflow_id: int, context: str | None, upstream: str | None) -> None:
        self.workflow_id = workflow_id
        self._context = context
        self._upstream = upstream

    @cached_property
    def context(self) -> Mapping[str, Any]:
        """What is said to all jobs of the workflow."""
        said: dict[str, Any] = json.loads(self._context or "{}")
        return said

    @cached_property
    def upstream(self) -> Mapping[str, Upstream]:
        """What the job has waited for, by name."""
        return {name: Upstream(**one) for name, one in json.loads(self._upstream or "{}").items()}
