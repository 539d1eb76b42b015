"""Oban's own contract, written out: other libraries and programs read and write the same tables."""

import pytest
from sqlalchemy import Connection, text

COLUMNS = """
    SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity, pg_get_expr(adbin, adrelid)
      FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
NOW = "timezone('UTC'::text, now())"
TIMESTAMP = "timestamp without time zone"

JOBS = [
    ("id", "bigint", True, "a", None),
    ("state", "oban_job_state", True, "", "'available'::oban_job_state"),
    ("queue", "text", True, "", "'default'::text"),
    ("worker", "text", True, "", None),
    ("attempt", "smallint", True, "", "0"),
    ("max_attempts", "smallint", True, "", "20"),
    ("priority", "smallint", True, "", "0"),
    ("args", "jsonb", True, "", "'{}'::jsonb"),
    ("meta", "jsonb", True, "", "'{}'::jsonb"),
    ("tags", "text[]", True, "", "ARRAY[]::text[]"),
    ("errors", "jsonb", True, "", "'[]'::jsonb"),
    ("attempted_by", "text[]", True, "", "ARRAY[]::text[]"),
    ("inserted_at", TIMESTAMP, True, "", NOW),
    ("scheduled_at", TIMESTAMP, True, "", NOW),
    ("attempted_at", TIMESTAMP, False, "", None),
    ("cancelled_at", TIMESTAMP, False, "", None),
    ("completed_at", TIMESTAMP, False, "", None),
    ("discarded_at", TIMESTAMP, False, "", None),
]
PEERS = [
    ("name", "text", True, "", None),
    ("node", "text", True, "", None),
    ("started_at", TIMESTAMP, True, "", None),
    ("expires_at", TIMESTAMP, True, "", None),
]
PRODUCERS = [
    ("uuid", "uuid", True, "", None),
    ("name", "text", True, "", "'oban'::text"),
    ("node", "text", True, "", None),
    ("queue", "text", True, "", None),
    ("meta", "jsonb", True, "", "'{}'::jsonb"),
    ("started_at", TIMESTAMP, True, "", NOW),
    ("updated_at", TIMESTAMP, True, "", NOW),
]
STATES = ["available", "scheduled", "suspended", "executing", "retryable", "completed", "discarded", "cancelled"]
CHECKS = {
    "attempt_range": "CHECK (((attempt >= 0) AND (attempt <= max_attempts)))",
    "queue_length": "CHECK (((char_length(queue) > 0) AND (char_length(queue) <= 127)))",
    "worker_length": "CHECK (((char_length(worker) > 0) AND (char_length(worker) <= 127)))",
    "positive_max_attempts": "CHECK ((max_attempts > 0))",
    "non_negative_priority": "CHECK ((priority >= 0))",
}
INDEXES = {
    "oban_jobs_pkey": "USING btree (id)",
    "oban_jobs_claim_index": (
        "USING btree (queue, priority, scheduled_at, id) "
        "WHERE ((state = 'available'::oban_job_state) AND (partition IS NULL))"
    ),
    "oban_jobs_partition_index": (
        "USING btree (queue, partition, priority, scheduled_at, id) "
        "WHERE ((state = 'available'::oban_job_state) AND (partition IS NOT NULL))"
    ),
    "oban_jobs_staging_index": (
        "USING btree (scheduled_at, id) INCLUDE (queue, state) "
        "WHERE (state = ANY (ARRAY['scheduled'::oban_job_state, 'retryable'::oban_job_state]))"
    ),
    "oban_jobs_executing_index": "USING btree (attempted_at) WHERE (state = 'executing'::oban_job_state)",
    "oban_jobs_held_index": (
        "USING btree (state, scheduled_at, id) "
        "WHERE (state = ANY (ARRAY['retryable'::oban_job_state, 'suspended'::oban_job_state]))"
    ),
    "oban_jobs_completed_at_index": "USING btree (completed_at) WHERE (state = 'completed'::oban_job_state)",
    "oban_jobs_cancel_index": (
        "USING btree (id) WHERE ((state = 'executing'::oban_job_state) AND (meta ? 'cancel_requested'::text))"
    ),
    "oban_jobs_cancelled_at_index": "USING btree (cancelled_at) WHERE (state = 'cancelled'::oban_job_state)",
    "oban_jobs_discarded_at_index": "USING btree (discarded_at) WHERE (state = 'discarded'::oban_job_state)",
    "oban_jobs_unique_key_index": (
        "USING btree (unique_key) WHERE ((unique_key IS NOT NULL) AND (((unique_states)::integer & "
        "(1 << (array_position('{available,scheduled,suspended,executing,retryable,completed,discarded,cancelled}'"
        "::oban_job_state[], state) - 1))) <> 0))"
    ),
    "oban_jobs_workflow_index": "USING btree (workflow_id, workflow_name) WHERE (workflow_id IS NOT NULL)",
    "oban_jobs_live_workflow_index": (
        "USING btree (workflow_id) WHERE ((workflow_id IS NOT NULL) AND (state = ANY (ARRAY["
        "'available'::oban_job_state, 'scheduled'::oban_job_state, 'suspended'::oban_job_state, "
        "'executing'::oban_job_state, 'retryable'::oban_job_state])))"
    ),
    "oban_jobs_batch_index": "USING btree (batch_id, state) WHERE (batch_id IS NOT NULL)",
    "oban_jobs_chain_index": (
        "USING btree (chain_key) WHERE ((chain_key IS NOT NULL) AND ((state = ANY (ARRAY["
        "'available'::oban_job_state, 'scheduled'::oban_job_state, 'executing'::oban_job_state, "
        "'retryable'::oban_job_state])) OR ((state = 'discarded'::oban_job_state) AND chain_hold)))"
    ),
    "oban_jobs_chain_waits_index": (
        "USING btree (chain_key, id) WHERE ((chain_key IS NOT NULL) AND (state = 'suspended'::oban_job_state) "
        "AND chain_waits)"
    ),
}


@pytest.mark.parametrize(
    ("table", "columns"), [("oban_jobs", JOBS), ("oban_peers", PEERS), ("oban_producers", PRODUCERS)]
)
def test_a_table_begins_with_the_columns_of_the_contract(
    connection: Connection, table: str, columns: list[tuple[object, ...]]
) -> None:
    found = [tuple(row) for row in connection.execute(text(COLUMNS), {"table": table})]
    assert found[: len(columns)] == columns


@pytest.mark.parametrize(
    ("table", "columns"), [("oban_jobs", JOBS), ("oban_peers", PEERS), ("oban_producers", PRODUCERS)]
)
def test_further_columns_are_nullable_and_without_default_so_that_foreign_inserts_work(
    connection: Connection, table: str, columns: list[tuple[object, ...]]
) -> None:
    rows = connection.execute(text(COLUMNS), {"table": table}).all()
    assert {(row.attname, row.attnotnull, row.pg_get_expr) for row in rows[len(columns) :]} <= {
        (row.attname, False, None) for row in rows
    }


def test_the_states_are_those_of_oban_in_their_order(connection: Connection) -> None:
    labels = "SELECT enumlabel FROM pg_enum WHERE enumtypid = 'oban_job_state'::regtype ORDER BY enumsortorder"
    assert connection.scalars(text(labels)).all() == STATES


def test_the_checks_are_those_of_oban(connection: Connection) -> None:
    checks = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'oban_jobs'::regclass"
    found = {name: check for name, check in connection.execute(text(f"{checks} AND contype = 'c'"))}  # noqa: C416
    assert found == CHECKS


def test_the_indexes_are_those_that_the_statements_were_measured_with(connection: Connection) -> None:
    indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'oban_jobs'"
    found = {name: " ".join(definition.split()) for name, definition in connection.execute(text(indexes))}
    assert {name: "USING" + definition.partition("USING")[2] for name, definition in found.items()} == INDEXES


def test_what_is_only_about_the_present_is_unlogged(connection: Connection) -> None:
    persistence = "SELECT relname, relpersistence FROM pg_class WHERE relname LIKE 'oban%' AND relkind = 'r'"
    assert {name: str(kind) for name, kind in connection.execute(text(persistence))} == {
        "oban_jobs": "p",
        "oban_peers": "u",
        "oban_producers": "u",
        "oban_queues": "p",
        "oban_crons": "p",
        "oban_rates": "p",
        "oban_workflows": "p",
        "oban_workflow_edges": "p",
        "oban_notes": "u",
        "oban_batches": "p",
    }


def test_a_foreign_insert_of_a_worker_alone_is_a_job(connection: Connection) -> None:
    insert = (
        "INSERT INTO oban_jobs (worker) VALUES ('Elixir.Mailer') RETURNING state, queue, max_attempts, args, errors"
    )
    assert tuple(connection.execute(text(insert)).one()) == ("available", "default", 20, {}, [])
