"""Reading the batch of a job."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from sqla_oban.models import Batch
from sqla_oban.queries.batches import BATCH_OF, COUNTS


def batch_of(session: Session, job: int, schema: str | None) -> Batch | None:
    """The batch that a job is of, or is a callback of, with its counts."""
    id_ = session.scalar(BATCH_OF, {"of_job": job}, execution_options=options(schema))
    return None if id_ is None else batch_by_id(session, id_, schema)


def batch_by_id(session: Session, id: UUID, schema: str | None) -> Batch | None:
    """A batch as it is stored now, with its counts."""
    batch = session.get(Batch, id, populate_existing=True, execution_options=options(schema))
    if batch is not None:
        rows = session.execute(COUNTS, {"of_batch": id}, execution_options=options(schema))
        batch.counts = {state: number for state, number in rows}  # noqa: C416 (rows are no pairs to the type checker)
    return batch


def options(schema: str | None) -> dict[str, Any]:
    """Where the tables are."""
    return {"schema_translate_map": {None: schema}} if schema else {}
