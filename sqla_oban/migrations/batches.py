"""Batches: what a batch has come to is decided by whoever ends one of its jobs, at the end of his statement.

There are no counters: whether a batch has come to a point is asked of its jobs themselves, by an index. So nothing can
drift, whatever is retried, rescued or deleted, and 10,000 jobs of a batch have no row that each of them must write.

Per row of a batch that ends, fails or is deleted before it has, a row trigger notes the batch and what happened in a
setting of the transaction; once per statement, a statement trigger looks at what was noted. A job without a batch costs
the row trigger's WHEN, and a statement without such jobs one look at an empty setting.

1. Exactly once: what has been reached is written into the batch's row, under its lock, by the statement that inserts
   the callbacks. Both commit or neither.
2. Not too early: under the lock each command sees all that others committed before.
3. Not forgotten: of two transactions that end the last two jobs, one has the lock, and the other, when it gets it, sees
   what the first has done. The lock is not taken while another job still waits to be run: whoever will end that looks
   again. So enders get in each other's way only when the last jobs of a batch run, and no longer than a statement.
   What is left: while one ends, another transaction that is still open cancels or deletes the last one that waits, so
   that each has seen the other's job open; or one is REPEATABLE READ and sees too little. Then, and for a batch without
   jobs, the leader's sweep does it (`queries/batches.py`), every half a minute.
4. No deadlock comes of it: batches are settled in one order, after all rows of the statement have been written.
"""

from sqla_oban.migrations.version import Index, Trigger

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
    # To delete what has ended is no news: a batch of which one was discarded must not count as completed when that is
    # pruned.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_jobs_batch_note() RETURNS trigger LANGUAGE plpgsql AS $oban$
    DECLARE
      noted text := coalesce(current_setting('sqla_oban.batches', true), '');
      entry text := OLD.batch_id || ':' || CASE TG_OP WHEN 'DELETE' THEN 'deleted' ELSE NEW.state::text END || ' ';
    BEGIN
      IF TG_OP = 'DELETE' AND OLD.state IN ('completed', 'cancelled', 'discarded')
          OR OLD.state = NEW.state OR NEW.state NOT IN ('completed', 'retryable', 'cancelled', 'discarded') THEN
        RETURN NULL;
      END IF;
      IF position(entry IN noted) = 0 THEN
        PERFORM set_config('sqla_oban.batches', noted || entry, true);
      END IF;
      RETURN NULL;
    END
    $oban$
    """,
    """
    CREATE OR REPLACE TRIGGER oban_jobs_batch_note AFTER UPDATE ON {schema}.oban_jobs FOR EACH ROW
      WHEN (OLD.batch_id IS NOT NULL) EXECUTE FUNCTION {schema}.oban_jobs_batch_note()
    """,
    """
    CREATE OR REPLACE TRIGGER oban_jobs_batch_delete AFTER DELETE ON {schema}.oban_jobs FOR EACH ROW
      WHEN (OLD.batch_id IS NOT NULL) EXECUTE FUNCTION {schema}.oban_jobs_batch_note()
    """,
    # After all triggers of rows.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_jobs_batch_settle() RETURNS trigger LANGUAGE plpgsql AS $oban$
    DECLARE
      noted text := current_setting('sqla_oban.batches', true);
    BEGIN
      IF noted IS NULL OR noted = '' THEN
        RETURN NULL;
      END IF;
      PERFORM set_config('sqla_oban.batches', '', true);
      PERFORM {schema}.oban_batch_settle(batch, seen) FROM (
        SELECT split_part(entry, ':', 1)::uuid AS batch, array_agg(split_part(entry, ':', 2)) AS seen
          FROM regexp_split_to_table(trim(noted), ' ') entry GROUP BY 1 ORDER BY 1) touched;
      RETURN NULL;
    END
    $oban$
    """,
    """
    CREATE OR REPLACE TRIGGER oban_jobs_batch_settle AFTER UPDATE OR DELETE ON {schema}.oban_jobs
      FOR EACH STATEMENT EXECUTE FUNCTION {schema}.oban_jobs_batch_settle()
    """,
)

FUNCTIONS = ("oban_batch_call", "oban_batch_settle", "oban_jobs_batch_note", "oban_jobs_batch_settle")
TRIGGERS = (
    Trigger("oban_jobs_batch_note", "callbacks of batches wait for the leader to make them"),
    Trigger("oban_jobs_batch_delete", "callbacks of batches wait for the leader to make them"),
    Trigger("oban_jobs_batch_settle", "callbacks of batches wait for the leader to make them"),
)

DOWNGRADE = """
      DROP TRIGGER oban_jobs_batch_settle ON {schema}.oban_jobs;
      DROP TRIGGER oban_jobs_batch_delete ON {schema}.oban_jobs;
      DROP TRIGGER oban_jobs_batch_note ON {schema}.oban_jobs;
      DROP FUNCTION {schema}.oban_jobs_batch_settle();
      DROP FUNCTION {schema}.oban_jobs_batch_note();
      DROP FUNCTION {schema}.oban_batch_settle(uuid, text[]);
      DROP FUNCTION {schema}.oban_batch_call({schema}.oban_batches, text);
      DROP TABLE {schema}.oban_batches;
"""
"""Before the columns go."""
