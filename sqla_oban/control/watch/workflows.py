"""Which workflows there are, how far they have come, and how their jobs depend on each other."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from sqla_oban.control.selection import LARGEST
from sqla_oban.queries.browse_workflows import ARROWS, COUNTED, COUNTS, MOST_EDGES, MOST_JOBS, PAGE, STEPS
from sqla_oban.states import FINAL, JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowSummary:
    """What a list shows of a workflow.

    Attributes:
        jobs: how many of its jobs are in each state, of the first 2,000 by name.
        live: whether any of its jobs has not ended.
        exact: whether all of its jobs were counted.
        inserted_at, started_at, ended_at, now: in seconds since 1970, by the clock of the database; None for what has
            not come, or is not known.
    """

    id: int
    name: str
    jobs: Mapping[JobState, int]
    live: bool
    exact: bool
    inserted_at: float
    started_at: float | None
    ended_at: float | None
    now: float

    @property
    def total(self) -> int:
        """How many jobs were counted."""
        return sum(self.jobs.values())

    @property
    def ended(self) -> int:
        """How many of these have ended."""
        return sum(jobs for state, jobs in self.jobs.items() if state in FINAL)

    @property
    def state(self) -> JobState:
        """One word for it: executing while a job has not ended, then discarded or cancelled if one was."""
        if self.live:
            return JobState.EXECUTING
        return next((one for one in (JobState.DISCARDED, JobState.CANCELLED) if one in self.jobs), JobState.COMPLETED)


@dataclass(frozen=True, slots=True)
class WorkflowPage:
    """Workflows, the newest first, and the `before` of the next page; None where there is none."""

    workflows: tuple[WorkflowSummary, ...]
    following: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """A job of a workflow."""

    id: int
    name: str
    state: JobState
    worker: str


@dataclass(frozen=True, slots=True)
class WorkflowDetails:
    """A workflow with its graph.

    Attributes:
        steps: its first 500 jobs by name, in the order of their ids.
        edges: up to 3,000 pairs of ids of these: what is waited for, and what waits.
        cut: whether there are more of either.
    """

    summary: WorkflowSummary
    steps: tuple[Step, ...]
    edges: tuple[tuple[int, int], ...]
    cut: bool


def workflows(session: Session, *, before: int | None = None, size: int = 30) -> WorkflowPage:
    """Up to `size` workflows that are older than `before`."""
    found = _summaries(session, LARGEST if before is None else min(before, LARGEST), size + 1)
    return WorkflowPage(tuple(found[:size]), found[size - 1].id if len(found) > size else None)


def summary(session: Session, id: int) -> WorkflowSummary | None:
    """The workflow of that id, or None."""
    found = _summaries(session, id + 1, 1) if 0 < id < LARGEST else []
    return found[0] if found and found[0].id == id else None


def details(session: Session, id: int) -> WorkflowDetails | None:
    """The workflow of that id with its graph, or None."""
    found = summary(session, id)
    if found is None:
        return None
    rows = session.execute(STEPS, {"workflow": id}).all()
    chosen = sorted(rows[:MOST_JOBS], key=lambda row: row.id)
    ids = {row.id for row in chosen}
    arrows = session.execute(ARROWS, {"ids": sorted(ids)}).all()
    steps = tuple(Step(row.id, str(row.name), JobState(row.state), row.worker) for row in chosen)
    edges = sorted((one, other) for one, other in arrows[:MOST_EDGES] if one in ids)
    return WorkflowDetails(found, steps, tuple(edges), len(rows) > MOST_JOBS or len(arrows) > MOST_EDGES)


def _summaries(session: Session, before: int, size: int) -> list[WorkflowSummary]:
    rows = session.execute(PAGE, {"before": before, "size": size}).all()
    counts = session.execute(COUNTS, {"ids": [row.id for row in rows]}).all()
    found = []
    for row in rows:
        own = [one for one in counts if one.id == row.id]
        jobs = {JobState(one.state): one.jobs for one in own}
        ended = [one.ended for one in own if one.ended is not None]
        summed = WorkflowSummary(
            id=row.id,
            name=row.name,
            jobs={state: jobs[state] for state in JobState if state in jobs},
            live=row.live,
            exact=sum(jobs.values()) < COUNTED,
            inserted_at=row.inserted_at,
            started_at=min((one.began for one in own if one.began is not None), default=None),
            ended_at=None if row.live else max(ended, default=None),
            now=row.now,
        )
        found.append(summed)
    return found
