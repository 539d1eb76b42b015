"""Constraints and indexes of the jobs' table; the migrations make them, and are the truth."""

from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, text
from sqlalchemy.schema import SchemaItem
from sqlalchemy.sql.elements import conv

from sqla_oban.models import chain_key
from sqla_oban.models.checks import MAX_NAME
from sqla_oban.models.unique_key import HELD

LIVE = "workflow_id IS NOT NULL AND state IN ('available', 'scheduled', 'suspended', 'executing', 'retryable')"
"""Whether a job keeps its workflow alive."""


def table_items(table: str, schema: str | None) -> tuple[SchemaItem | dict[str, object], ...]:
    """Constraints and indexes, named as the migration names them whatever the host's naming convention is."""
    queued = text("state = 'available' AND partition IS NULL")
    sorted_ = text("state = 'available' AND partition IS NOT NULL")
    return (
        PrimaryKeyConstraint("id", name=conv(f"{table}_pkey")),
        CheckConstraint("attempt >= 0 AND attempt <= max_attempts", name=conv("attempt_range")),
        CheckConstraint(f"char_length(queue) > 0 AND char_length(queue) <= {MAX_NAME}", name=conv("queue_length")),
        CheckConstraint(f"char_length(worker) > 0 AND char_length(worker) <= {MAX_NAME}", name=conv("worker_length")),
        CheckConstraint("max_attempts > 0", name=conv("positive_max_attempts")),
        CheckConstraint("priority >= 0", name=conv("non_negative_priority")),
        Index(conv(f"{table}_claim_index"), "queue", "priority", "scheduled_at", "id", postgresql_where=queued),
        Index(
            conv(f"{table}_partition_index"),
            *("queue", "partition", "priority", "scheduled_at", "id"),
            postgresql_where=sorted_,
        ),
        Index(
            conv(f"{table}_staging_index"),
            "scheduled_at",
            "id",
            postgresql_include=["queue", "state"],
            postgresql_where=text("state IN ('scheduled', 'retryable')"),
        ),
        Index(conv(f"{table}_executing_index"), "attempted_at", postgresql_where=text("state = 'executing'")),
        Index(
            conv(f"{table}_cancel_index"),
            "id",
            postgresql_where=text("state = 'executing' AND meta ? 'cancel_requested'"),
        ),
        Index(
            conv(f"{table}_held_index"),
            *("state", "scheduled_at", "id"),
            postgresql_where=text("state IN ('retryable', 'suspended')"),
        ),
        *(
            Index(conv(f"{table}_{state}_at_index"), f"{state}_at", postgresql_where=text(f"state = '{state}'"))
            for state in ("completed", "cancelled", "discarded")
        ),
        *_feature_indexes(table),
        {"info": {"sqla_oban": 1}, "schema": schema},
    )


def _feature_indexes(table: str) -> tuple[Index, ...]:
    """Those of unique jobs, workflows, chains and batches."""
    occupies, waits = (text(one.format(job="")) for one in (chain_key.OCCUPIES, chain_key.WAITS))
    return (
        Index(conv(f"{table}_unique_key_index"), "unique_key", unique=True, postgresql_where=text(HELD.format(job=""))),
        Index(
            conv(f"{table}_workflow_index"),
            *("workflow_id", "workflow_name"),
            unique=True,
            postgresql_where=text("workflow_id IS NOT NULL"),
        ),
        Index(conv(f"{table}_live_workflow_index"), "workflow_id", postgresql_where=text(LIVE)),
        Index(conv(f"{table}_chain_index"), "chain_key", unique=True, postgresql_where=occupies),
        Index(conv(f"{table}_chain_waits_index"), "chain_key", "id", postgresql_where=waits),
        Index(conv(f"{table}_batch_index"), "batch_id", "state", postgresql_where=text("batch_id IS NOT NULL")),
    )
