"""The names of attributes: those of the messaging conventions of OpenTelemetry, and a few of our own."""

from typing import Final

SCOPE: Final = "sqla_oban"
SYSTEM: Final = "sqla_oban"

LABELS: Final = {
    "queue": "messaging.destination.name",
    "worker": "sqla_oban.job.worker",
    "state": "sqla_oban.job.state",
    "node": "sqla_oban.node",
    "service": "sqla_oban.service",
}
"""By the names of the labels."""


def of_job(operation: str, queue: str, worker: str) -> dict[str, str | int]:
    """What every span of a job says."""
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "sqla_oban.job.worker": worker,
    }
