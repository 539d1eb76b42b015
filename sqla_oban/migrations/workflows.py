"""Version 1's workflows: their tables, and how a job is released when the last it depends on has ended.

How a release cannot be lost, whoever ends a job and however many do so at once, without anybody waiting for a row:

1. Who ends a job (or brings it back) notes that its workflow has something to settle (`notes.py`); he waits for nobody.
2. At his commit all that he has noted is settled, once. That begins with an advisory lock for each workflow, in one
   order, so that settlers never deadlock; they hold it from there to the end of the commit only, never while a
   transaction is idle.
3. Under the lock each command reads what is committed by then, and the lock is let go after the commit can be seen. So
   of two transactions that end the last two dependencies, the one that gets the lock second sees the other's end. There
   is no count that could be wrong: whether a job waits is asked of the states of those it depends on. An edge is
   written only when it breaks or is whole again, and when its upstream job goes, of which nobody could ask it then.
4. A job that is to be released is locked with SKIP LOCKED, because who holds it may wait for a row of ours. If he
   changes it, the note of 1 has him settle it at his own commit, when we have been seen or are waited for.

What remains: he who holds the row rolls back, or only locks; a transaction in REPEATABLE READ, which looks at its old
snapshot; a trigger of the user's that refuses the release. For these the leader looks (`maintenance/mender.py`).
"""

from sqla_oban.migrations.version import Index

OWN_COLUMNS = ("workflow_id bigint", "workflow_name text")
"""Columns of `oban_jobs`: which workflow a job is part of, and its name there."""

ENDED = "({row}.state IN ('completed', 'cancelled', 'discarded'))"
UNFINISHED = "('available', 'scheduled', 'suspended', 'executing', 'retryable')"

INDEXES = (
    Index("oban_jobs_workflow_index", "(workflow_id, workflow_name) WHERE workflow_id IS NOT NULL", unique=True),
    # Whether a workflow lives is asked of each of its jobs before it is pruned.
    Index("oban_jobs_live_workflow_index", f"(workflow_id) WHERE workflow_id IS NOT NULL AND state IN {UNFINISHED}"),
)

UPGRADE = (
    """
    CREATE TABLE IF NOT EXISTS {schema}.oban_workflows (
      id bigint GENERATED ALWAYS AS IDENTITY,
      name text NOT NULL,
      context jsonb NOT NULL DEFAULT '{{}}',
      inserted_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
      updated_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
      CONSTRAINT oban_workflows_pkey PRIMARY KEY (id)
    )
    """,
    # `state` is broken, or open as long as the upstream job says by its own how it stands; of one that is gone it says
    # how it had ended, met or broken. `cancelled_at` is the very cancellation that a broken edge has caused.
    """
    CREATE TABLE IF NOT EXISTS {schema}.oban_workflow_edges (
      workflow_id bigint NOT NULL,
      upstream_id bigint NOT NULL,
      downstream_id bigint NOT NULL,
      upstream text NOT NULL,
      ignored text[] NOT NULL DEFAULT ARRAY[]::text[],
      state text NOT NULL DEFAULT 'open',
      cancelled_at timestamp,
      CONSTRAINT oban_workflow_edges_pkey PRIMARY KEY (workflow_id, upstream_id, downstream_id)
    )
    """,
    """
    CREATE INDEX IF NOT EXISTS oban_workflow_edges_downstream_index ON {schema}.oban_workflow_edges
      (downstream_id, upstream_id)
    """,
    """
    CREATE INDEX IF NOT EXISTS oban_workflow_edges_broken_index ON {schema}.oban_workflow_edges (downstream_id)
      WHERE state = 'broken'
    """,
    # What an edge is by the state of its upstream job; NULL: that went before it had ended.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_workflow_verdict(upstream text, ignored text[]) RETURNS text
    LANGUAGE sql IMMUTABLE AS $oban$
      SELECT CASE
        WHEN upstream = 'completed' OR coalesce(upstream, 'deleted') = ANY(ignored) THEN 'met'
        WHEN upstream IS NULL OR upstream IN ('cancelled', 'discarded') THEN 'broken'
        ELSE 'open' END
    $oban$
    """,
    # Of suspended jobs that are locked and have no edge to wait for: runs them, or cancels them with the reason.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_workflow_move(jobs bigint[]) RETURNS void LANGUAGE plpgsql AS $oban$
    DECLARE
      moment timestamp := timezone('UTC', clock_timestamp());
      hurt boolean;
      rung bigint;
    BEGIN
      UPDATE {schema}.oban_workflow_edges SET cancelled_at = moment
       WHERE downstream_id = ANY(jobs) AND state = 'broken';
      hurt := FOUND;
      WITH moved AS (
        UPDATE {schema}.oban_jobs x
           SET state = (CASE WHEN o.reason IS NOT NULL THEN 'cancelled' WHEN x.scheduled_at > moment THEN 'scheduled'
                             ELSE 'available' END)::{schema}.oban_job_state,
               cancelled_at = CASE WHEN o.reason IS NULL THEN x.cancelled_at ELSE moment END,
               scheduled_at = CASE WHEN o.reason IS NULL THEN greatest(x.scheduled_at, moment)
                                   ELSE x.scheduled_at END,
               errors = CASE WHEN o.reason IS NULL THEN x.errors ELSE x.errors || jsonb_build_object(
                 'at', to_char(moment, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'attempt', x.attempt, 'error', o.reason) END
          FROM (
            SELECT job, (
              SELECT 'cancelled: ' || e.upstream || ', which it depends on in its workflow, was '
                       || coalesce(u.state::text, 'deleted')
                FROM {schema}.oban_workflow_edges e LEFT JOIN {schema}.oban_jobs u ON u.id = e.upstream_id
               WHERE hurt AND e.downstream_id = job AND e.state = 'broken' LIMIT 1) AS reason
              FROM unnest(jobs) job OFFSET 0) o  -- or the planner looks for the reason once for each column
         WHERE x.id = o.job
        RETURNING x.queue, x.state, x.scheduled_at)
      SELECT count({schema}.oban_ring(m.queue, m.due_soon)) INTO rung FROM (
        SELECT DISTINCT queue, state = 'scheduled' AS due_soon FROM moved
         WHERE state = 'available' OR state = 'scheduled' AND scheduled_at < moment + interval '5 seconds') m;
    END
    $oban$
    """,
    # What the notes say of workflows.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_workflow_settle(notes {schema}.oban_notes[]) RETURNS void
    LANGUAGE plpgsql AS $oban$
    DECLARE
      flows bigint[];
      touched bigint[];
      one bigint;
    BEGIN
      -- Workflows share 1,024 locks, so that no number of them fills the lock table.
      SELECT array_agg(DISTINCT workflow_id) INTO flows FROM unnest(notes) WHERE workflow_id IS NOT NULL;
      PERFORM pg_advisory_xact_lock(1868718447, slot)
         FROM (SELECT DISTINCT hashint8(flow) & 1023 AS slot FROM unnest(flows) flow ORDER BY slot OFFSET 0) slots;
      WITH noted AS MATERIALIZED (
        SELECT workflow_id, job_id, max(deleted_as) AS deleted_as FROM unnest(notes)
         WHERE workflow_id IS NOT NULL GROUP BY 1, 2),
      ended AS MATERIALIZED (
        SELECT n.job_id AS id, n.workflow_id AS flow, u.id IS NULL AS gone,
               coalesce(u.state::text, n.deleted_as) AS state
          FROM noted n LEFT JOIN {schema}.oban_jobs u ON u.id = n.job_id),
      judged AS MATERIALIZED (
        SELECT e.workflow_id, e.upstream_id, e.downstream_id, e.state AS was,
               CASE WHEN v.verdict = 'broken' OR u.gone THEN v.verdict ELSE 'open' END AS state
          FROM ended u JOIN {schema}.oban_workflow_edges e ON e.workflow_id = u.flow AND e.upstream_id = u.id
          CROSS JOIN LATERAL (SELECT {schema}.oban_workflow_verdict(u.state, e.ignored) AS verdict OFFSET 0) v
         WHERE NOT u.gone OR e.state = 'open' AND EXISTS (
           SELECT FROM {schema}.oban_jobs d WHERE d.id = e.downstream_id)),  -- what is pruned together needs no words
      written AS (
        UPDATE {schema}.oban_workflow_edges e SET state = j.state FROM judged j
         WHERE j.state <> j.was AND e.workflow_id = j.workflow_id AND e.upstream_id = j.upstream_id
           AND e.downstream_id = j.downstream_id)
      SELECT array_agg(id) INTO touched FROM (
        SELECT downstream_id AS id FROM judged
         UNION SELECT id FROM ended WHERE state IN ('suspended', 'cancelled')) found;
      IF touched IS NULL THEN
        RETURN;
      END IF;
      -- What the workflow itself has cancelled waits again when nothing is broken any more. That makes notes: the
      -- jobs behind it are looked at in the next round of `oban_settle`.
      UPDATE {schema}.oban_jobs x SET state = 'suspended', cancelled_at = NULL
       WHERE x.id IN (
         SELECT j.id FROM {schema}.oban_jobs j
          WHERE j.id = ANY(touched) AND j.state = 'cancelled'
            AND NOT EXISTS (SELECT FROM {schema}.oban_workflow_edges e
                             WHERE e.downstream_id = j.id AND e.state = 'broken')
            AND EXISTS (SELECT FROM {schema}.oban_workflow_edges e
                         WHERE e.downstream_id = j.id AND e.cancelled_at = j.cancelled_at)
          ORDER BY j.id FOR UPDATE OF j SKIP LOCKED);
      -- Who waits for his turn in a chain has been released: to do so again would only suspend him again, for ever.
      -- Of what a job depends on, those that were added last are asked first: they are the last to end, so that where
      -- thousands are waited for, one look is most often enough.
      -- IS TRUE keeps the planner from an index on workflow_id, by which each end would read all that still wait.
      SELECT array_agg(id) INTO touched FROM (
        SELECT j.id FROM {schema}.oban_jobs j
         WHERE j.id = ANY(touched) AND j.state = 'suspended' AND (j.workflow_id = ANY(flows)) IS TRUE
           AND (EXISTS (SELECT FROM {schema}.oban_workflow_edges e
                         WHERE e.downstream_id = j.id AND e.state = 'broken')
             OR j.chain_waits IS NOT TRUE AND (
                  SELECT true FROM {schema}.oban_workflow_edges e
                    LEFT JOIN {schema}.oban_jobs u ON u.id = e.upstream_id
                   WHERE e.downstream_id = j.id AND e.state = 'open'
                     AND {schema}.oban_workflow_verdict(u.state::text, e.ignored) <> 'met'
                   ORDER BY e.downstream_id DESC, e.upstream_id DESC LIMIT 1) IS NULL)
         ORDER BY j.id FOR UPDATE OF j SKIP LOCKED) ready;
      IF touched IS NULL THEN
        RETURN;
      END IF;
      -- An end must not be refused because something behind it is: what fails is left to the leader.
      BEGIN
        PERFORM {schema}.oban_workflow_move(touched);
      EXCEPTION WHEN OTHERS THEN
        FOREACH one IN ARRAY touched LOOP
          BEGIN
            PERFORM {schema}.oban_workflow_move(ARRAY[one]);
          EXCEPTION WHEN OTHERS THEN
            RAISE WARNING USING MESSAGE = 'job ' || one || ' of a workflow could not be released: ' || SQLERRM;
          END;
        END LOOP;
      END;
    END
    $oban$
    """,
)

CHANGED = f"""
      IF NEW.workflow_id IS NOT NULL AND (NEW.state = 'suspended' OR OLD.state <> NEW.state
          AND ({ENDED.format(row="OLD")} OR {ENDED.format(row="NEW")})) THEN
        of_workflow := NEW.workflow_id;
      END IF;
"""
"""A suspended job that is changed in any way is looked at as well: see 4 above."""
DELETED = """
      of_workflow := OLD.workflow_id;
"""

FUNCTIONS = ("oban_workflow_verdict", "oban_workflow_move", "oban_workflow_settle")

DOWNGRADE = """
      DROP FUNCTION {schema}.oban_workflow_settle({schema}.oban_notes[]);
      DROP FUNCTION {schema}.oban_workflow_move(bigint[]);
      DROP FUNCTION {schema}.oban_workflow_verdict(text, text[]);
      DROP TABLE {schema}.oban_workflow_edges;
      DROP TABLE {schema}.oban_workflows;
"""
"""Before the notes go."""
