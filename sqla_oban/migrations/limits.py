"""What limits need of the database: the partitions of jobs, the rates, and the claim that keeps within both.

The claim within limits, and why they are never exceeded, is in `limited_claim`; the rates are in `rates`.
"""

from sqla_oban.migrations.limited_claim import CLAIM
from sqla_oban.migrations.rates import RATES
from sqla_oban.migrations.version import Index

COLUMNS = ('partition text COLLATE "C"', "weight integer")

UNSORTED = "state = 'available' AND partition IS NULL"
"""Whether a job is for the plain claim."""

INDEXES = (
    # The lanes of partitioned queues, each in the order of the claim; jobs of other queues are not in it.
    Index(
        "oban_jobs_partition_index",
        "(queue, partition, priority, scheduled_at, id) WHERE state = 'available' AND partition IS NOT NULL",
    ),
)

TABLES = (
    "ALTER TABLE {schema}.oban_queues ADD COLUMN IF NOT EXISTS global_limit integer",
    "ALTER TABLE {schema}.oban_queues ADD COLUMN IF NOT EXISTS rate_limit jsonb",
    # What was used of a rate and when, oldest first. Logged: after a crash it must not be used again.
    """
    CREATE TABLE IF NOT EXISTS {schema}.oban_rates (
      name text NOT NULL,
      partition text NOT NULL DEFAULT '',
      moments timestamp[] NOT NULL,
      units double precision[] NOT NULL,
      expires_at timestamp NOT NULL,
      CONSTRAINT oban_rates_pkey PRIMARY KEY (name, partition)
    )
    """,
    "CREATE INDEX IF NOT EXISTS oban_rates_expires_at_index ON {schema}.oban_rates (expires_at)",
)

PARTITIONS = (
    # The name begins with what it is made of, so that those of another setting can be told from it.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_partition(spec text[], worker text, args jsonb, meta jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE AS $oban$
      SELECT to_jsonb(spec)::text || CASE WHEN length(value) <= 200 THEN value
                                          ELSE encode(sha256(convert_to(value, 'UTF8')), 'hex') END
        FROM (SELECT coalesce(CASE spec[1] WHEN 'worker' THEN worker WHEN 'args' THEN (args -> spec[2])::text
                                           WHEN 'meta' THEN (meta -> spec[2])::text END, '') AS value) found
    $oban$
    """,
    # Jobs that wait are given the partition that the setting says; without one, they go back among all others.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_sort(of_queue text, spec text[], most integer) RETURNS integer
    LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off AS $oban$
    DECLARE
      prefix text := to_jsonb(spec)::text;
      beyond text := left(prefix, -1) || '^';  -- the next character after the bracket that ends the prefix
      strays bigint[];
    BEGIN
      IF spec IS NULL THEN
        strays := ARRAY(SELECT id FROM {schema}.oban_jobs WHERE state = 'available' AND queue = of_queue
                          AND partition IS NOT NULL LIMIT most FOR UPDATE SKIP LOCKED);
      ELSE
        strays := ARRAY(SELECT id FROM {schema}.oban_jobs WHERE state = 'available' AND queue = of_queue
                          AND partition IS NULL ORDER BY priority, scheduled_at, id LIMIT most FOR UPDATE SKIP LOCKED)
               || ARRAY(SELECT id FROM {schema}.oban_jobs WHERE state = 'available' AND queue = of_queue
                          AND partition < prefix LIMIT most FOR UPDATE SKIP LOCKED)
               || ARRAY(SELECT id FROM {schema}.oban_jobs WHERE state = 'available' AND queue = of_queue
                          AND partition >= beyond LIMIT most FOR UPDATE SKIP LOCKED);
      END IF;
      IF cardinality(strays) > 0 THEN
        UPDATE {schema}.oban_jobs SET partition = {schema}.oban_partition(spec, worker, args, meta), featured = true
         WHERE id = ANY(strays);
      END IF;
      RETURN cardinality(strays);
    END
    $oban$
    """,
    # Rings for a queue of which a slot is free, once in a transaction: who falls asleep meanwhile looks again when the
    # transactions of then have ended.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_ring_for_slot(queue text) RETURNS void LANGUAGE plpgsql AS $oban$
    BEGIN
      IF {schema}.oban_keep_slot(queue) THEN
        PERFORM {schema}.oban_ring(queue);
      END IF;
    END
    $oban$
    """,
    # Has nobody be rung for slots of a queue that this transaction frees; says whether somebody would have been.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_keep_slot(queue text) RETURNS boolean LANGUAGE plpgsql AS $oban$
    DECLARE
      rung text := coalesce(current_setting('sqla_oban.rung', true), '');
      entry text := md5({jobs_literal} || ' ' || queue);  -- a queue of this schema
    BEGIN
      IF position(entry IN rung) > 0 THEN
        RETURN false;
      END IF;
      PERFORM set_config('sqla_oban.rung', rung || entry, true);
      RETURN true;
    END
    $oban$
    """,
)

CHANGE = """
      IF OLD.partition = NEW.partition AND NEW.state <> 'executing' AND (OLD.partition = '' OR OLD.queue <> NEW.queue
          OR OLD.worker <> NEW.worker OR OLD.args IS DISTINCT FROM NEW.args OR OLD.meta IS DISTINCT FROM NEW.meta) THEN
        NEW.partition := NULL;
      END IF;
"""
"""Whoever changes what a partition is made of, or sends a job to another queue, leaves the rest to the next claim. In a
queue without partitions the mark is of use only while the job executes."""
CHANGED = """
      IF OLD.partition IS NOT NULL AND OLD.state = 'executing' AND NEW.state <> 'executing' THEN
        PERFORM {schema}.oban_ring_for_slot(OLD.queue);
      END IF;
"""
"""A slot that somebody may wait for is free, whoever freed it. Only jobs claimed within limits have a partition."""
DELETED = """
      IF OLD.partition IS NOT NULL AND OLD.state = 'executing' THEN
        PERFORM {schema}.oban_ring_for_slot(OLD.queue);
      END IF;
"""

UPGRADE = (*TABLES, *PARTITIONS, *RATES, *CLAIM)

FUNCTIONS = (
    *("oban_partition", "oban_sort", "oban_ring_for_slot", "oban_keep_slot"),
    *("oban_limit_lock", "oban_rate", "oban_rate_of", "oban_rate_spend", "oban_consume", "oban_claim_within"),
)

DOWNGRADE = """
      DROP FUNCTION {schema}.oban_claim_within(text, text, bigint, text[], smallint[], text[], bigint[], integer[],
        text[], boolean, integer, jsonb, text, text, boolean, bigint);
      DROP FUNCTION {schema}.oban_consume(text, text, double precision, jsonb);
      DROP FUNCTION {schema}.oban_rate_of(text, text, double precision, jsonb);
      DROP FUNCTION {schema}.oban_rate_spend(text, text, double precision, double precision, jsonb);
      DROP FUNCTION {schema}.oban_rate(timestamp[], double precision[], timestamp, double precision, jsonb);
      DROP FUNCTION {schema}.oban_limit_lock(text);
      DROP FUNCTION {schema}.oban_ring_for_slot(text);
      DROP FUNCTION {schema}.oban_keep_slot(text);
      DROP FUNCTION {schema}.oban_sort(text, text[], integer);
      DROP FUNCTION {schema}.oban_partition(text[], text, jsonb, jsonb);
      DROP TABLE {schema}.oban_rates;
"""
