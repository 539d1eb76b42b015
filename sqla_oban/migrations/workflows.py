"""Version 1's workflows: their tables, and the triggers that release a job when the last it depends on has ended.

How a release cannot be lost, whoever ends a job and however many do so at once, without anybody waiting for a row:

1. A row trigger notes, in the statement that ends a job (or brings it back), that its workflow has something to settle.
   It writes rows that only this transaction sees, so it waits for nobody. Jobs without a workflow pay one comparison.
2. At the commit, a statement that is its own transaction included, a deferred trigger settles all that the transaction
   has noted, once: it is fired by the note that `rings`, the first, which has found a setting of the transaction, one
   for each schema, unset. Who settles unsets it, when no note is left; a savepoint that is rolled back takes notes,
   setting and firing back together. So while there is a note, a firing is due. It first takes an advisory lock for each
   workflow, in one order, so that settlers never deadlock; they hold it from there to the end of the commit only, never
   while a transaction is idle.
3. Under the lock each command reads what is committed by then, and the lock is let go after the commit can be seen. So
   of two transactions that end the last two dependencies, the one that gets the lock second sees the other's end. There
   is no count that could be wrong: whether a job waits is asked of the states of those it depends on. An edge is
   written only when it breaks or is whole again, and when its upstream job goes, of which nobody could ask it then.
4. A job that is to be released is locked with SKIP LOCKED, because who holds it may wait for a row of ours. If he
   changes it, the trigger of 1 has him settle it at his own commit, when we have been seen or are waited for.

What remains: he who holds the row rolls back, or only locks; a transaction in REPEATABLE READ, which looks at its old
snapshot; a trigger of the user's that refuses the release. For these the leader looks (`maintenance/mender.py`).
"""

from sqla_oban.migrations.version import Index, Trigger

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
    # What a transaction has to settle; each sees and deletes its own, so a crash loses nothing.
    """
    CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.oban_workflow_notes (
      xid bigint NOT NULL,
      workflow_id bigint NOT NULL,
      job_id bigint NOT NULL,
      deleted_as text,
      rings boolean NOT NULL DEFAULT true
    )
    """,
    "CREATE INDEX IF NOT EXISTS oban_workflow_notes_xid_index ON {schema}.oban_workflow_notes (xid)",
    # A suspended job that is changed in any way is looked at as well: see 4 above.
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_workflow_note() RETURNS trigger LANGUAGE plpgsql AS $oban$
    DECLARE
      noted CONSTANT text := 'sqla_oban.noted_' || TG_RELID;
      first boolean;
    BEGIN
      IF TG_OP = 'UPDATE' AND NEW.state <> 'suspended' AND (OLD.state = NEW.state
          OR NOT {ENDED.format(row="OLD")} AND NOT {ENDED.format(row="NEW")}) THEN
        RETURN NULL;
      END IF;
      first := current_setting(noted, true) IS DISTINCT FROM 'on';
      IF first THEN
        PERFORM set_config(noted, 'on', true);
      END IF;
      INSERT INTO {{schema}}.oban_workflow_notes
      VALUES (pg_current_xact_id()::text::bigint, coalesce(NEW.workflow_id, OLD.workflow_id), OLD.id,
        CASE WHEN TG_OP = 'DELETE' AND {ENDED.format(row="OLD")} THEN OLD.state END, first);
      RETURN NULL;
    END
    $oban$
    """,  # noqa: S608 (constants of this file)
    """
    CREATE OR REPLACE TRIGGER oban_jobs_workflow_update AFTER UPDATE ON {schema}.oban_jobs FOR EACH ROW
      WHEN (NEW.workflow_id IS NOT NULL) EXECUTE FUNCTION {schema}.oban_workflow_note()
    """,
    """
    CREATE OR REPLACE TRIGGER oban_jobs_workflow_delete AFTER DELETE ON {schema}.oban_jobs FOR EACH ROW
      WHEN (OLD.workflow_id IS NOT NULL) EXECUTE FUNCTION {schema}.oban_workflow_note()
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
    # Cheap joins only, and by the order of an index: a plan that was made for an empty table must not read a full one
    # from end to end, nor all that a job waits for, when one is enough.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_workflow_settle() RETURNS void LANGUAGE plpgsql
      SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
      SET enable_bitmapscan = off SET enable_sort = off AS $oban$
    DECLARE
      me bigint := pg_current_xact_id()::text::bigint;
      changed bigint[];
      flow_of bigint[];  -- the workflow of each of these
      deleted_as text[];  -- how those had ended that are gone
      flows bigint[];
      touched bigint[];
      one bigint;
    BEGIN
      LOOP
        WITH mine AS (
          DELETE FROM {schema}.oban_workflow_notes n WHERE n.xid = me RETURNING n.workflow_id, n.job_id, n.deleted_as)
        SELECT array_agg(job_id), array_agg(workflow_id), array_agg(ended), array_agg(DISTINCT workflow_id)
          INTO changed, flow_of, deleted_as, flows
          FROM (SELECT workflow_id, job_id, max(mine.deleted_as) AS ended FROM mine GROUP BY 1, 2) noted;
        IF changed IS NULL THEN
          PERFORM set_config(
            'sqla_oban.noted_' || to_regclass(quote_ident({schema_literal}) || '.oban_jobs')::oid, '', true);
          RETURN;
        END IF;
        -- Workflows share 1,024 locks, so that no number of them fills the lock table.
        PERFORM pg_advisory_xact_lock(1868718447, slot)
           FROM (SELECT DISTINCT hashint8(flow) & 1023 AS slot FROM unnest(flows) flow ORDER BY slot OFFSET 0) slots;
        WITH ended AS MATERIALIZED (
          SELECT c.id, c.flow, u.id IS NULL AS gone, coalesce(u.state::text, c.deleted_as) AS state
            FROM unnest(changed, flow_of, deleted_as) AS c (id, flow, deleted_as)
            LEFT JOIN {schema}.oban_jobs u ON u.id = c.id),
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
        CONTINUE WHEN touched IS NULL;
        -- What the workflow itself has cancelled waits again when nothing is broken any more. That makes notes: the
        -- jobs behind it are looked at in the next round.
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
        CONTINUE WHEN touched IS NULL;
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
      END LOOP;
    END
    $oban$
    """,
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_workflow_commit() RETURNS trigger LANGUAGE plpgsql AS $oban$
    BEGIN
      PERFORM {schema}.oban_workflow_settle();
      RETURN NULL;
    END
    $oban$
    """,
    # PostgreSQL reads the text of a WHEN anew for every note, so that it is a short one.
    """
    DO $oban$ BEGIN
      IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'oban_workflow_commit'
                       AND tgrelid = to_regclass(quote_ident({schema_literal}) || '.oban_workflow_notes'))
      THEN
        CREATE CONSTRAINT TRIGGER oban_workflow_commit AFTER INSERT ON {schema}.oban_workflow_notes
          DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.rings) EXECUTE FUNCTION {schema}.oban_workflow_commit();
      END IF;
    END $oban$
    """,
)

FUNCTIONS = (
    "oban_workflow_note",
    "oban_workflow_verdict",
    "oban_workflow_move",
    "oban_workflow_settle",
    "oban_workflow_commit",
)
TRIGGERS = (
    Trigger("oban_jobs_workflow_update", "jobs of workflows wait for the leader to release them"),
    Trigger("oban_jobs_workflow_delete", "jobs of workflows wait for the leader to release them"),
    Trigger("oban_workflow_commit", "jobs of workflows wait for the leader to release them", on="oban_workflow_notes"),
)

DOWNGRADE = """
      DROP TRIGGER oban_jobs_workflow_update ON {schema}.oban_jobs;
      DROP TRIGGER oban_jobs_workflow_delete ON {schema}.oban_jobs;
      DROP TABLE {schema}.oban_workflow_notes;
      DROP TABLE {schema}.oban_workflow_edges;
      DROP TABLE {schema}.oban_workflows;
      DROP FUNCTION {schema}.oban_workflow_commit();
      DROP FUNCTION {schema}.oban_workflow_settle();
      DROP FUNCTION {schema}.oban_workflow_move(bigint[]);
      DROP FUNCTION {schema}.oban_workflow_verdict(text, text[]);
      DROP FUNCTION {schema}.oban_workflow_note();
"""
"""Statements for the block that takes version 1 back."""
