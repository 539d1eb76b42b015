"""Background jobs in your own PostgreSQL, through your own SQLAlchemy.

>>> session.add_all([order, send_receipt.new(order_id)])  # committed together, or not at all  # doctest: +SKIP
>>> await SqlaOban(engine, queues={"default": 10}).run()  # runs them  # doctest: +SKIP
"""

from sqla_oban.chain import Chain
from sqla_oban.control.queue_info import QueueInfo
from sqla_oban.enqueue import announce as _announce  # noqa: F401 (installs its listeners)
from sqla_oban.enqueue import batches as _batches  # noqa: F401 (likewise)
from sqla_oban.enqueue import chains as _chains  # noqa: F401 (likewise)
from sqla_oban.enqueue import entities as _entities  # noqa: F401 (likewise)
from sqla_oban.enqueue import unique as _unique  # noqa: F401 (likewise)
from sqla_oban.enqueue import workflow as _workflow  # noqa: F401 (likewise)
from sqla_oban.enqueue.insert import insert_all
from sqla_oban.models import After, Batch, Job, Peer, Workflow, make_models, metadata
from sqla_oban.outcomes import Cancel, Record, Snooze
from sqla_oban.runner import SqlaOban
from sqla_oban.settings import QueueConfig, RateLimit
from sqla_oban.states import JobState
from sqla_oban.unique import Unique
from sqla_oban.workers import CronJob, Schedule, current_job, inject, job, worker

__all__ = [
    "After",
    "Batch",
    "Cancel",
    "Chain",
    "CronJob",
    "Job",
    "JobState",
    "Peer",
    "QueueConfig",
    "QueueInfo",
    "RateLimit",
    "Record",
    "Schedule",
    "Snooze",
    "SqlaOban",
    "Unique",
    "Workflow",
    "current_job",
    "inject",
    "insert_all",
    "job",
    "make_models",
    "metadata",
    "worker",
]
