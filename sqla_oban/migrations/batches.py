"""Batches: what a batch has come to is decided by whoever ends one of its jobs, when he commits.

There are no counters: whether a batch has come to a point is asked of its jobs themselves, by an index. So nothing can
drift, whatever is retried, rescued or deleted, and 10,000 jobs of a batch have no row that each of them must write.

Who ends a job of a batch, has it fail or deletes it before it has ended notes what happened (`notes.py`).

1. Exactly once: what has been reached is written into the batch's row, under its lock, by the statement that inserts
   the callbacks. Both commit or neither.
2. Not too early: under the lock each command sees all that others committed before.
3. Not forgotten: of two transactions that end the last two jobs, one has the lock, and the other, when it gets it, sees
   what the first has done. The lock is not taken while another job still waits to be run: whoever will end that looks
   again. So enders get in each other's way only when the last jobs of a batch run, and no longer than a commit.
   What is left: two commit at the same moment, of which one ends the last that ran and the other cancels or deletes the
   last one that waits, so that each has seen the other's job open; or one is REPEATABLE READ and sees too little. Then,
   and for a batch without jobs, the leader's sweep does it (`queries/batches.py`), every half a minute.
4. No deadlock comes of it: a commit settles batches last, and in one order.
"""

from sqla_oban.migrations.version import Index

COLUMNS = ("batch_id uuid",)
"""Of `oban_jobs`: the batch that the job is of."""

INDEXES = (Index("oban_jobs_batch_index", "(batch_id, state) WHERE batch_id IS NOT NULL"),)

WAITING = "state IN ('available', 'scheduled', 'suspended', 'retryable')"
UNTRIED = "state IN ('available', 'scheduled', 'suspended') AND attempt = 0"
RUNS_FIRST = "state = 'executing' AND attempt <= 1"

UPGRADE = (
    """
    CREATE TABLE IF NOT EXISTS {schema}.oban_batches (
      id uuid NOT NULL,
      name text,
      callbacks jsonb NOT NULL DEFAULT '{{}}',
      reached text[] NOT NULL DEFAULT ARRAY[]::text[],
      inserted_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
      exhausted_at timestamp,
      CONSTRAINT oban_batches_pkey PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX IF NOT EXISTS oban_batches_open_index ON {schema}.oban_batches (id) WHERE exhausted_at IS NULL",
    # Makes the job of a callback, if the batch has one for that.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_batch_call(batch {schema}.oban_batches, milestone text) RETURNS void
    LANGUAGE sql AS $oban$
      INSERT INTO {schema}.oban_jobs (worker, queue, args, priority, max_attempts, tags, chain_key, chain_hold,
                                     weight, meta)
      SELECT job->>'worker', coalesce(job->>'queue', 'default'), coalesce(job->'args', '{{}}'),
             coalesce((job->>'priority')::smallint, 0::smallint),
             coalesce((job->>'max_attempts')::smallint, 20::smallint),
             ARRAY(SELECT jsonb_array_elements_text(coalesce(job->'tags', '[]'))),
             job->>'chain_key', (job->>'chain_hold')::boolean, (job->>'weight')::integer,
             coalesce(job->'meta', '{{}}') || jsonb_build_object('batch', jsonb_build_object(
               'id', batch.id, 'name', batch.name, 'callback', milestone, 'counts', (
                 SELECT coalesce(jsonb_object_agg(state, n), '{{}}') FROM (
                   SELECT state, count(*) n FROM {schema}.oban_jobs WHERE batch_id = batch.id GROUP BY state) counted)))
        FROM (SELECT batch.callbacks->milestone AS job) called WHERE job IS NOT NULL
    $oban$
    """,
    # Writes down what a batch has come to, with the callbacks; `seen` is what became of jobs of it.
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_batch_settle(of_batch uuid, seen text[]) RETURNS boolean
    LANGUAGE plpgsql AS $oban$
    DECLARE
      batch {{schema}}.oban_batches;
      due text[];
    BEGIN
      SELECT * INTO batch FROM {{schema}}.oban_batches WHERE id = of_batch;
      IF NOT FOUND OR NOT (
        EXISTS (SELECT FROM unnest(seen) s
                 WHERE s IN ('retryable', 'cancelled', 'discarded') AND s <> ALL (batch.reached))
        OR 'attempted' <> ALL (batch.reached)
          AND NOT EXISTS (SELECT FROM {{schema}}.oban_jobs WHERE batch_id = of_batch AND {UNTRIED})
        OR NOT ARRAY['exhausted', 'completed'] <@ batch.reached
          AND NOT EXISTS (SELECT FROM {{schema}}.oban_jobs WHERE batch_id = of_batch AND {WAITING}))
      THEN
        RETURN false;
      END IF;
      SELECT * INTO batch FROM {{schema}}.oban_batches WHERE id = of_batch FOR NO KEY UPDATE;
      SELECT array_agg(milestone) INTO due FROM (
        SELECT s AS milestone FROM unnest(seen) s WHERE s IN ('retryable', 'cancelled', 'discarded')
        UNION ALL
        SELECT 'attempted' WHERE NOT EXISTS (
          SELECT FROM {{schema}}.oban_jobs WHERE batch_id = of_batch AND ({UNTRIED} OR {RUNS_FIRST}))
        UNION ALL
        SELECT 'exhausted' WHERE NOT EXISTS (
          SELECT FROM {{schema}}.oban_jobs WHERE batch_id = of_batch AND ({WAITING} OR state = 'executing'))
        UNION ALL
        SELECT 'completed' WHERE NOT EXISTS (
          SELECT FROM {{schema}}.oban_jobs WHERE batch_id = of_batch AND state <> 'completed')
      ) found WHERE milestone <> ALL (batch.reached);
      IF due IS NULL THEN
        RETURN false;
      END IF;
      UPDATE {{schema}}.oban_batches SET reached = reached || due, exhausted_at = CASE
          WHEN 'exhausted' = ANY (due) THEN timezone('UTC', clock_timestamp()) ELSE exhausted_at END
       WHERE id = of_batch;
      PERFORM {{schema}}.oban_batch_call(batch, milestone) FROM unnest(due) milestone;
      RETURN true;
    END
    $oban$
    """,  # noqa: S608 (constants of this file)
)

CHANGED = """
      IF NEW.batch_id IS NOT NULL AND OLD.state <> NEW.state
          AND NEW.state IN ('completed', 'retryable', 'cancelled', 'discarded') THEN
        of_batch := NEW.batch_id;
      END IF;
"""
DELETED = """
      IF OLD.state NOT IN ('completed', 'cancelled', 'discarded') THEN
        of_batch := OLD.batch_id;
      END IF;
"""
"""To delete what has ended is no news: a batch of which one was discarded must not count as completed when that is
pruned."""

FUNCTIONS = ("oban_batch_call", "oban_batch_settle")

DOWNGRADE = """
      DROP FUNCTION {schema}.oban_batch_settle(uuid, text[]);
      DROP FUNCTION {schema}.oban_batch_call({schema}.oban_batches, text);
      DROP TABLE {schema}.oban_batches;
"""
"""Before the columns go."""
