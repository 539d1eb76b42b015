"""What is measured, by the names of Prometheus and of OpenTelemetry."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """How it is measured."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    LEVEL = "level"


@dataclass(frozen=True, slots=True, eq=False)
class Instrument:
    """Something that is measured.

    Args:
        name: for Prometheus.
        otel: for OpenTelemetry, by its semantic conventions where they have one.
        kind: how.
        unit: as UCUM writes it.
        help: what it is.
        labels: what tells one value from another.
    """

    name: str
    otel: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...] = ()


ENQUEUED: Final = Instrument(
    "sqla_oban_jobs_enqueued",
    "messaging.client.sent.messages",
    Kind.COUNTER,
    "{message}",
    "Jobs that sessions of this process have committed.",
    ("queue", "worker"),
)
FINISHED: Final = Instrument(
    "sqla_oban_jobs_finished",
    "messaging.client.consumed.messages",
    Kind.COUNTER,
    "{message}",
    "Executions that ended, by the state that the job is in then.",
    ("queue", "worker", "state"),
)
DURATION: Final = Instrument(
    "sqla_oban_job_duration_seconds",
    "messaging.process.duration",
    Kind.HISTOGRAM,
    "s",
    "How long executions took.",
    ("queue", "worker"),
)
WAIT: Final = Instrument(
    "sqla_oban_job_wait_seconds",
    "sqla_oban.job.wait",
    Kind.HISTOGRAM,
    "s",
    "How long jobs were due before they began.",
    ("queue",),
)
LATE: Final = Instrument(
    "sqla_oban_outcomes_late",
    "sqla_oban.outcomes.late",
    Kind.COUNTER,
    "{message}",
    "Outcomes that came after their job was given to another, and changed nothing.",
)
ABANDONED: Final = Instrument(
    "sqla_oban_jobs_abandoned",
    "sqla_oban.jobs.abandoned",
    Kind.COUNTER,
    "{message}",
    "Jobs that were stopped without an outcome and handed back.",
    ("queue",),
)
RESCUED: Final = Instrument(
    "sqla_oban_jobs_rescued",
    "sqla_oban.jobs.rescued",
    Kind.COUNTER,
    "{message}",
    "Jobs that this node, leading, took from nodes that were gone.",
    ("queue", "state"),
)
PRUNED: Final = Instrument(
    "sqla_oban_jobs_pruned",
    "sqla_oban.jobs.pruned",
    Kind.COUNTER,
    "{message}",
    "Old jobs that this node, leading, deleted.",
)
FAILURES: Final = Instrument(
    "sqla_oban_service_failures",
    "sqla_oban.service.failures",
    Kind.COUNTER,
    "{failure}",
    "Turns of a service that failed and are tried again.",
    ("service",),
)
EXECUTING: Final = Instrument(
    "sqla_oban_jobs_executing",
    "sqla_oban.jobs.executing",
    Kind.LEVEL,
    "{message}",
    "Jobs that run here now.",
    ("queue",),
)
LISTENER: Final = Instrument(
    "sqla_oban_listener_up",
    "sqla_oban.listener.up",
    Kind.LEVEL,
    "1",
    "Whether notifications arrive at this node.",
    ("node",),
)
LEADER: Final = Instrument(
    "sqla_oban_leader", "sqla_oban.leader", Kind.LEVEL, "1", "Whether this node leads.", ("node",)
)
DEPTH: Final = Instrument(
    "sqla_oban_queue_depth",
    "sqla_oban.queue.depth",
    Kind.LEVEL,
    "{message}",
    "Jobs in a queue by their state, told by one for all; an estimate above 50,000.",
    ("queue", "state"),
)
LAG: Final = Instrument(
    "sqla_oban_queue_lag_seconds",
    "sqla_oban.queue.lag",
    Kind.LEVEL,
    "s",
    "For how long the oldest available job of a queue has been due, told by one for all.",
    ("queue",),
)

NODE: Final = Instrument(
    "sqla_oban_node_up",
    "sqla_oban.node.up",
    Kind.LEVEL,
    "1",
    "Whether the last beat of a node holds.",
    ("name", "node"),
)
RUNNING: Final = Instrument(
    "sqla_oban_queue_running",
    "sqla_oban.queue.running",
    Kind.LEVEL,
    "{message}",
    "Jobs of a queue that a node runs, by its last beat.",
    ("name", "node", "queue"),
)
LIMIT: Final = Instrument(
    "sqla_oban_queue_limit",
    "sqla_oban.queue.limit",
    Kind.LEVEL,
    "{message}",
    "Jobs of a queue that a node may run at the same time.",
    ("name", "node", "queue"),
)
PAUSED: Final = Instrument(
    "sqla_oban_queue_paused",
    "sqla_oban.queue.paused",
    Kind.LEVEL,
    "1",
    "Whether a queue is paused on a node.",
    ("name", "node", "queue"),
)

INSTRUMENTS: Final = (
    *(ENQUEUED, FINISHED, DURATION, WAIT, LATE, ABANDONED, RESCUED, PRUNED, FAILURES),
    *(EXECUTING, LISTENER, LEADER, DEPTH, LAG),
)
"""What a process tells of itself; the others are told of nodes by who reads the tables."""
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Seconds: from a job that does little to one that works for half an hour."""
