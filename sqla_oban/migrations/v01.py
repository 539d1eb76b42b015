"""Version 1: Oban's tables, our indexes, and the wake-up trigger. Frozen: later versions change it, this file stays.

Table, column, type and check names are Oban's own, so that its other clients can share them. Every name is
qualified with `{schema}`: the trigger runs under the search_path of whoever inserts. Tables that another Oban library
made are adopted (`adoption.py`), so whatever may be there already is made only if it is not.
"""

from sqla_oban.migrations import batches, chains, features, limits, notes, unique, waiting, workflows
from sqla_oban.migrations.adoption import BEGUN, GIVE_BACK, IS_OURS, OBSTACLE, take_over
from sqla_oban.migrations.version import Index, Trigger, Version

STORAGE = (
    "fillfactor=85",
    *("autovacuum_vacuum_scale_factor=0.02", "autovacuum_vacuum_threshold=50"),
    *("autovacuum_analyze_scale_factor=0.02", "autovacuum_analyze_threshold=100"),
    *("autovacuum_vacuum_insert_scale_factor=0.02", "autovacuum_vacuum_insert_threshold=1000"),
    *("autovacuum_vacuum_cost_limit=2000", "autovacuum_vacuum_cost_delay=1"),
)

OWN_COLUMNS = (
    *unique.COLUMNS,
    *limits.COLUMNS,
    *workflows.OWN_COLUMNS,
    *waiting.COLUMNS,
    *chains.COLUMNS,
    *batches.COLUMNS,
    *features.COLUMNS,
)
"""Columns of `oban_jobs` that Oban does not have, with their types: nullable, since its libraries do not know them."""

INDEXES = (
    # The claim reads this index front to back: its columns are exactly the ORDER BY.
    Index("oban_jobs_claim_index", f"(queue, priority, scheduled_at, id) WHERE {limits.UNSORTED}"),
    Index(  # what it includes is counted without a look at the table
        "oban_jobs_staging_index",
        "(scheduled_at, id) INCLUDE (queue, state) WHERE state IN ('scheduled', 'retryable')",
    ),
    Index("oban_jobs_executing_index", "(attempted_at) WHERE state = 'executing'"),
    # Holds only what is to be stopped: every node looks at it once a second.
    Index("oban_jobs_cancel_index", "(id) WHERE state = 'executing' AND meta ? 'cancel_requested'"),
    # For whoever looks through them: none of the other indexes has these states by themselves. Few jobs ever enter it.
    Index("oban_jobs_held_index", "(state, scheduled_at, id) WHERE state IN ('retryable', 'suspended')"),
    Index("oban_jobs_completed_at_index", "(completed_at) WHERE state = 'completed'"),
    Index("oban_jobs_cancelled_at_index", "(cancelled_at) WHERE state = 'cancelled'"),
    Index("oban_jobs_discarded_at_index", "(discarded_at) WHERE state = 'discarded'"),
    *(*unique.INDEXES, *limits.INDEXES, *workflows.INDEXES, *chains.INDEXES, *batches.INDEXES),
)

UPGRADE = (
    take_over((index.name for index in INDEXES), OWN_COLUMNS, STORAGE),
    """
    DO $oban$ BEGIN
      IF to_regtype(quote_ident({schema_literal}) || '.oban_job_state') IS NULL THEN
        CREATE TYPE {schema}.oban_job_state AS ENUM
          ('available', 'scheduled', 'suspended', 'executing', 'retryable', 'completed', 'discarded', 'cancelled');
      END IF;
    END $oban$
    """,
    """
    CREATE TABLE IF NOT EXISTS {schema}.oban_jobs (
      id bigint GENERATED ALWAYS AS IDENTITY,
      state {schema}.oban_job_state NOT NULL DEFAULT 'available',
      queue text NOT NULL DEFAULT 'default',
      worker text NOT NULL,
      attempt smallint NOT NULL DEFAULT 0,
      max_attempts smallint NOT NULL DEFAULT 20,
      priority smallint NOT NULL DEFAULT 0,
      args jsonb NOT NULL DEFAULT '{{}}',
      meta jsonb NOT NULL DEFAULT '{{}}',
      tags text[] NOT NULL DEFAULT ARRAY[]::text[],
      errors jsonb NOT NULL DEFAULT '[]',
      attempted_by text[] NOT NULL DEFAULT ARRAY[]::text[],
      inserted_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
      scheduled_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
      attempted_at timestamp,
      cancelled_at timestamp,
      completed_at timestamp,
      discarded_at timestamp,
      CONSTRAINT oban_jobs_pkey PRIMARY KEY (id),
      CONSTRAINT attempt_range CHECK (attempt >= 0 AND attempt <= max_attempts),
      CONSTRAINT queue_length CHECK (char_length(queue) > 0 AND char_length(queue) <= 127),
      CONSTRAINT worker_length CHECK (char_length(worker) > 0 AND char_length(worker) <= 127),
      CONSTRAINT positive_max_attempts CHECK (max_attempts > 0),
      CONSTRAINT non_negative_priority CHECK (priority >= 0)
    ) WITH ("""
    + ", ".join(STORAGE)
    + ")",
    *(f"ALTER TABLE {{schema}}.oban_jobs ADD COLUMN IF NOT EXISTS {column}" for column in OWN_COLUMNS),
    BEGUN,
    """
    CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.oban_peers (
      name text NOT NULL,
      node text NOT NULL,
      started_at timestamp NOT NULL,
      expires_at timestamp NOT NULL,
      CONSTRAINT oban_peers_pkey PRIMARY KEY (name)
    )
    """,
    """
    CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.oban_producers (
      uuid uuid NOT NULL,
      name text NOT NULL DEFAULT 'oban',
      node text NOT NULL,
      queue text NOT NULL,
      meta jsonb NOT NULL DEFAULT '{{}}',
      started_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
      updated_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
      CONSTRAINT oban_producers_pkey PRIMARY KEY (uuid)
    )
    """,
    # What operators have said of queues; a node of '' means every node, NULL that nothing was said.
    """
    CREATE TABLE IF NOT EXISTS {schema}.oban_queues (
      name text NOT NULL,
      queue text NOT NULL,
      node text NOT NULL DEFAULT '',
      running boolean,
      paused boolean,
      local_limit integer,
      updated_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
      CONSTRAINT oban_queues_pkey PRIMARY KEY (name, queue, node)
    )
    """,
    # Entries made at run time, and what is to be remembered of those declared in code: `last_tick` and `paused`.
    """
    CREATE TABLE IF NOT EXISTS {schema}.oban_crons (
      name text NOT NULL,
      expression text NOT NULL,
      timezone text,
      missed text NOT NULL DEFAULT 'latest',
      worker text NOT NULL,
      args jsonb NOT NULL DEFAULT '{{}}',
      queue text,
      priority smallint,
      max_attempts smallint,
      tags text[],
      meta jsonb,
      unique_key text,
      unique_states smallint,
      unique_period interval, chain_key text, chain_hold boolean, weight integer,
      declared boolean NOT NULL DEFAULT false,
      paused boolean NOT NULL DEFAULT false,
      last_tick timestamp NOT NULL DEFAULT timezone('UTC', now()),
      inserted_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
      updated_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
      CONSTRAINT oban_crons_pkey PRIMARY KEY (name)
    )
    """,
    # A producer that sleeps with room to spare holds this key as a shared advisory lock of its session.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_wake_key(queue text) RETURNS bigint LANGUAGE sql STABLE AS $oban$
      SELECT hashtextextended(queue, {jobs_literal}::regclass::oid::bigint)
    $oban$
    """,
    # A producer that looks by itself every few milliseconds holds this one, exclusively; minus tells the two apart.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_hush_key(queue text) RETURNS bigint LANGUAGE sql STABLE AS $oban$
      SELECT hashtextextended(queue, -({jobs_literal}::regclass::oid::bigint))
    $oban$
    """,
    # Rings only when somebody sleeps and nobody looks by himself: a NOTIFY makes all commits queue up behind one lock.
    # The probe reads no row and takes no snapshot, so it is right in every isolation level, and it never waits.
    # Lock and unlock stand in one expression, so that no cancel falls between them; the second try is against
    # another prober, who holds the key for a microsecond. A foreign producer holds no key and is always rung.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_ring(queue text, due_soon boolean DEFAULT false) RETURNS boolean
    LANGUAGE plpgsql AS $oban$
    DECLARE
      key bigint := {schema}.oban_wake_key($1);
      hush bigint := {schema}.oban_hush_key($1);
    BEGIN
      IF current_setting('sqla_oban.notify', true) = 'off' THEN
        RETURN false;
      END IF;
      IF (CASE WHEN pg_try_advisory_lock(key) OR pg_try_advisory_lock(key)
            THEN NOT pg_advisory_unlock(key) ELSE true END)
           AND (CASE WHEN pg_try_advisory_lock_shared(hush) THEN pg_advisory_unlock_shared(hush) ELSE false END)
         OR EXISTS (SELECT FROM {schema}.oban_producers p WHERE p.queue = $1 AND NOT p.meta ? 'ttl')
      THEN
        PERFORM pg_notify({schema_literal} || '.oban_insert',
          jsonb_strip_nulls(jsonb_build_object('queue', $1, 'due_soon', nullif(due_soon, false)))::text);
        RETURN true;
      END IF;
      RETURN false;
    END
    $oban$
    """,
    # Steers the nodes of every Oban library.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_signal(notice jsonb) RETURNS void LANGUAGE sql AS $oban$
      SELECT pg_notify({schema_literal} || '.oban_signal', notice::text)
    $oban$
    """,
    # A job that is due before the stagers look again (every five seconds at most) needs to be told of as well.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_jobs_wake() RETURNS trigger LANGUAGE plpgsql AS $oban$
    BEGIN
      PERFORM {schema}.oban_ring(q.queue, q.due_soon)
        FROM (SELECT DISTINCT n.queue, n.state = 'scheduled' AS due_soon FROM inserted n
               WHERE n.state = 'available' OR n.state = 'scheduled'
                 AND n.scheduled_at < timezone('UTC', clock_timestamp()) + interval '5 seconds') q;
      RETURN NULL;
    END
    $oban$
    """,
    """
    CREATE OR REPLACE TRIGGER oban_jobs_wake AFTER INSERT ON {schema}.oban_jobs
      REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION {schema}.oban_jobs_wake()
    """,
    *(*unique.UPGRADE, *limits.UPGRADE, *waiting.UPGRADE, *chains.UPGRADE, *batches.UPGRADE),
    *(*notes.UPGRADE, *workflows.UPGRADE, *features.UPGRADE),
)

PARTS = (unique, limits, workflows, waiting, chains, batches, notes, features)
FUNCTIONS = (
    *("oban_wake_key", "oban_hush_key", "oban_ring", "oban_signal", "oban_jobs_wake"),
    *(function for part in PARTS for function in part.FUNCTIONS),
)
TRIGGERS = (
    Trigger("oban_jobs_wake", "nobody is woken by a new job"),
    *(*notes.TRIGGERS, *features.TRIGGERS),
)

# One statement, because nothing of it may be done where the tables are not ours: a script may run a second time.
DOWNGRADE = (
    f"""
    DO $oban$
    DECLARE
      one record;
    BEGIN
      IF NOT {IS_OURS} THEN
        RETURN;
      END IF;
      {features.DOWNGRADE}{workflows.DOWNGRADE}{notes.DOWNGRADE}
      {batches.DOWNGRADE}{chains.DOWNGRADE}{limits.DOWNGRADE}{waiting.DOWNGRADE}{unique.DOWNGRADE}
      DROP TABLE {{schema}}.oban_crons;
      DROP TABLE {{schema}}.oban_queues;
      DROP TRIGGER oban_jobs_wake ON {{schema}}.oban_jobs;
      DROP FUNCTION {{schema}}.oban_jobs_wake();
      DROP FUNCTION {{schema}}.oban_signal(jsonb);
      DROP FUNCTION {{schema}}.oban_ring(text, boolean);
      DROP FUNCTION {{schema}}.oban_hush_key(text);
      DROP FUNCTION {{schema}}.oban_wake_key(text);
      {GIVE_BACK}
      DROP TABLE {{schema}}.oban_producers;
      DROP TABLE {{schema}}.oban_peers;
      DROP TABLE {{schema}}.oban_jobs;
      DROP TYPE {{schema}}.oban_job_state;
    END $oban$
    """,
)

VERSION = Version(
    upgrade=UPGRADE,
    downgrade=DOWNGRADE,
    indexes=INDEXES,
    functions=FUNCTIONS,
    triggers=TRIGGERS,
    obstacle=OBSTACLE,
)
