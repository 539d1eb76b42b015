"""Version 1's notes: what is to follow a change of jobs is noted by whoever makes it, and done at his commit, once.

So it is with releases in workflows and chains and with the callbacks of batches; what each of them is, and why none is
lost, stands in `workflows.py`, `chains.py` and `batches.py`.

1. The first note of a transaction is a row of `oban_notes`. The next ones stand in a setting of the transaction, one
   for each schema, as long as that is short, since a row costs five times as much; and then in rows again. Only the
   transaction sees them: nobody waits for it, and a crash loses nothing.
2. At the commit, a statement that is its own transaction included, a deferred trigger settles all that the transaction
   has noted: it is fired by the note that `rings`, the first, which has found the setting empty. Who settles empties
   it, when nothing is left; a savepoint that is rolled back takes notes, setting and firing back together. So while
   there is a note, a firing is due. (Whoever says RESET ALL in between loses what was in the setting; for that there is
   the leader's sweep.)
3. The note is made before its row is written. So the firing must be a deferred one, even in a transaction that has said
   SET CONSTRAINTS ALL IMMEDIATE: the first note says the opposite.
4. Locks are taken in one order by all who settle: those of workflows, until none has anything left; then chains by
   their keys; then batches by their ids. They are held from there to the end of the commit only, and never while a
   transaction is idle. What remains: a callback or a job of a workflow that enters a chain waits there, with these
   locks, for a transaction that has enqueued into it; if that also ends a job of the same workflow, the two wait for
   each other, and PostgreSQL ends one.
"""

from sqla_oban.migrations.version import Trigger

UPGRADE = (
    # `became` is the state of the job, or 'deleted', and `deleted_as` how one had ended that is gone.
    """
    CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.oban_notes (
      xid bigint NOT NULL,
      job_id bigint NOT NULL,
      workflow_id bigint,
      chain_key text,
      batch_id uuid,
      became text,
      deleted_as text,
      rings boolean NOT NULL DEFAULT true
    )
    """,
    "CREATE INDEX IF NOT EXISTS oban_notes_xid_index ON {schema}.oban_notes (xid)",
    # Of a batch it is enough to know what has happened in it, not to which job.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_note(relation oid, job bigint, workflow bigint, chain text, batch uuid,
      became text, deleted_as text) RETURNS void LANGUAGE plpgsql AS $oban$
    DECLARE
      setting CONSTANT text := 'sqla_oban.noted_' || relation;
      noted CONSTANT text := coalesce(current_setting(setting, true), '');
      more text;
    BEGIN
      IF noted = '' THEN
        SET CONSTRAINTS {schema}.oban_notes_commit DEFERRED;
        PERFORM set_config(setting, '[0]', true);
      ELSIF octet_length(noted) < 4000 THEN
        IF workflow IS NULL AND chain IS NULL THEN
          job := NULL;
        END IF;
        more := ',' || jsonb_build_array(job, workflow, chain, batch, became, deleted_as)::text;
        IF job IS NOT NULL OR position(more IN noted) = 0 THEN
          PERFORM set_config(setting, noted || more, true);
        END IF;
        RETURN;
      END IF;
      INSERT INTO {schema}.oban_notes
      VALUES (pg_current_xact_id()::text::bigint, job, workflow, chain, batch, became, deleted_as, noted = '');
    END
    $oban$
    """,
    # Until nothing more is noted: what is settled may change other jobs. All that it calls is planned once, since that
    # took a third of its time, and with cheap joins only, by the order of an index: a plan that was made for an empty
    # table must not read a full one from end to end, nor all that a job waits for, when one is enough.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_settle() RETURNS void LANGUAGE plpgsql
      SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
      SET enable_bitmapscan = off SET enable_sort = off SET plan_cache_mode = force_generic_plan AS $oban$
    DECLARE
      setting CONSTANT text := 'sqla_oban.noted_' || to_regclass(quote_ident({schema_literal}) || '.oban_jobs')::oid;
      me CONSTANT bigint := pg_current_xact_id()::text::bigint;
      noted text;
      notes {schema}.oban_notes[];
      woven boolean;
      chains text[] := ARRAY[]::text[];
      news {schema}.oban_notes[] := ARRAY[]::{schema}.oban_notes[];
    BEGIN
      LOOP
        noted := current_setting(setting, true);
        PERFORM set_config(setting, '[0]', true);
        WITH written AS (DELETE FROM {schema}.oban_notes n WHERE n.xid = me RETURNING n AS note),
        mine AS (
          SELECT note FROM written
          UNION ALL
          SELECT (me, one ->> 0, one ->> 1, one ->> 2, one ->> 3, one ->> 4, one ->> 5, false)::{schema}.oban_notes
            FROM jsonb_array_elements(('[' || substr(noted, length('[0],') + 1) || ']')::jsonb) one)
        SELECT array_agg(note), bool_or((note).workflow_id IS NOT NULL),
               chains || array_agg((note).chain_key) FILTER (WHERE (note).chain_key IS NOT NULL),
               news || array_agg(note) FILTER (WHERE (note).batch_id IS NOT NULL)
          INTO notes, woven, chains, news FROM mine;
        IF woven THEN
          PERFORM {schema}.oban_workflow_settle(notes);
        ELSIF cardinality(chains) > 0 THEN
          PERFORM {schema}.oban_chain_release(key)
             FROM (SELECT DISTINCT key FROM unnest(chains) key ORDER BY key OFFSET 0) left_behind;
          chains := ARRAY[]::text[];
        ELSIF cardinality(news) > 0 THEN
          PERFORM {schema}.oban_batch_settle(id, seen)
             FROM (SELECT batch_id AS id, array_agg(DISTINCT became) AS seen FROM unnest(news)
                    GROUP BY batch_id ORDER BY batch_id OFFSET 0) touched;
          news := ARRAY[]::{schema}.oban_notes[];
        END IF;
        EXIT WHEN cardinality(chains) + cardinality(news) = 0 AND current_setting(setting) = '[0]';
      END LOOP;
      PERFORM set_config(setting, '', true);
    END
    $oban$
    """,
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_notes_commit() RETURNS trigger LANGUAGE plpgsql AS $oban$
    BEGIN
      PERFORM {schema}.oban_settle();
      RETURN NULL;
    END
    $oban$
    """,
    # PostgreSQL reads the text of a WHEN anew for every note, so that it is a short one.
    """
    DO $oban$ BEGIN
      IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'oban_notes_commit'
                       AND tgrelid = to_regclass(quote_ident({schema_literal}) || '.oban_notes'))
      THEN
        CREATE CONSTRAINT TRIGGER oban_notes_commit AFTER INSERT ON {schema}.oban_notes
          DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.rings) EXECUTE FUNCTION {schema}.oban_notes_commit();
      END IF;
    END $oban$
    """,
)

FUNCTIONS = ("oban_note", "oban_settle", "oban_notes_commit")
TRIGGERS = (
    Trigger(
        "oban_notes_commit",
        "what follows the end of jobs of workflows, chains and batches waits for the leader",
        on="oban_notes",
    ),
)

DOWNGRADE = """
      DROP TABLE {schema}.oban_notes;
      DROP FUNCTION {schema}.oban_notes_commit();
      DROP FUNCTION {schema}.oban_settle();
      DROP FUNCTION {schema}.oban_note(oid, bigint, bigint, text, uuid, text, text);
"""
"""After the triggers of jobs, and before the columns go."""
