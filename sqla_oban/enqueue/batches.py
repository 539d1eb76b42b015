"""Batches through the unit of work: what is in a new one is stored with it."""

from sqlalchemy import event, inspect
from sqlalchemy.orm import Session

from sqla_oban.models import Batch


@event.listens_for(Session, "before_attach")
def _take_jobs_along(session: Session, instance: object) -> None:
    """As soon as it is added, so that all that looks at the new jobs of a flush finds them.

    A batch that was rolled back brings them along again, as they are then: new.
    """
    if isinstance(instance, Batch):
        session.add_all(job for job in instance.new_jobs if inspect(job).transient)
