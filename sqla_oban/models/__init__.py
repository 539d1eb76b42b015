"""What is stored: mapped classes for the tables of `migrations`.

The migrations are the truth about the tables; a test compares these classes with what they make.
"""

from sqla_oban.models.base import ObanBase, metadata
from sqla_oban.models.batch import Batch
from sqla_oban.models.cron import Cron
from sqla_oban.models.graph import After, Ending
from sqla_oban.models.job import Job, JobMixin
from sqla_oban.models.models import Models, Scope, make_models, table_of, workflow_of
from sqla_oban.models.note import NOTES
from sqla_oban.models.owned import owned
from sqla_oban.models.peer import Peer, PeerMixin
from sqla_oban.models.producer import Producer
from sqla_oban.models.queue import Queue
from sqla_oban.models.rate import Rate
from sqla_oban.models.workflow import Workflow, WorkflowMixin

OWNED = owned(metadata)
"""What the library makes of each table, taken before a host can add to it."""

__all__ = [
    "NOTES",
    "OWNED",
    "After",
    "Batch",
    "Cron",
    "Ending",
    "Job",
    "JobMixin",
    "Models",
    "ObanBase",
    "Peer",
    "PeerMixin",
    "Producer",
    "Queue",
    "Rate",
    "Scope",
    "Workflow",
    "WorkflowMixin",
    "make_models",
    "metadata",
    "table_of",
    "workflow_of",
]
