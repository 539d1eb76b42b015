"""Version 1's notes: what is to follow a change of jobs is noted by whoever makes it, and done at his commit, once.

So it is with releases in workflows and chains and with the callbacks of batches; what each of them is, and why none is
lost, stands in `workflows.py`, `chains.py` and `batches.py`.

1. A note is a row that only its transaction sees: it waits for nobody, and a crash loses nothing.
2. At the commit, a statement that is its own transaction included, a deferred trigger settles all that the transaction
   has noted: it is fired by the note that `rings`, the first, which has found a setting of the transaction, one for
   each schema, unset. Who settles unsets it, when no note is left; a savepoint that is rolled back takes notes, setting
   and firing back together. So while there is a note, a firing is due.
3. The note is made before its row is written. So the firing must be a deferred one, even in a transaction that has said
   SET CONSTRAINTS ALL IMMEDIATE: the first note says the opposite.
4. Locks are taken in one order by all who settle: those of workflows, until none has anything left; then chains by
   their keys; then batches by their ids. They are held from there to the end of the commit only, and never while a
   transaction is idle.
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
    # Of the same news of a batch one is enough: they are in the setting, as long as that is short.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_note(relation oid, job bigint, workflow bigint, chain text, batch uuid,
      became text, deleted_as text) RETURNS void LANGUAGE plpgsql AS $oban$
    DECLARE
      setting CONSTANT text := 'sqla_oban.noted_' || relation;
      noted text := coalesce(current_setting(setting, true), '');
      news text := CASE WHEN batch IS NULL THEN 'any ' ELSE batch || ':' || became || ' ' END;
    BEGIN
      IF workflow IS NULL AND chain IS NULL AND position(news IN noted) > 0 THEN
        RETURN;
      END IF;
      IF noted = '' THEN
        SET CONSTRAINTS {schema}.oban_notes_commit DEFERRED;
      END IF;
      IF noted = '' OR batch IS NOT NULL AND length(noted) < 2000 THEN
        PERFORM set_config(setting, noted || news, true);
      END IF;
      INSERT INTO {schema}.oban_notes
      VALUES (pg_current_xact_id()::text::bigint, job, workflow, chain, batch, became, deleted_as, noted = '');
    END
    $oban$
    """,
    # Until none is left: what is settled may change other jobs.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_settle() RETURNS void LANGUAGE plpgsql
      SET enable_seqscan = off SET enable_bitmapscan = off AS $oban$
    DECLARE
      setting CONSTANT text := 'sqla_oban.noted_' || to_regclass(quote_ident({schema_literal}) || '.oban_jobs')::oid;
      me CONSTANT bigint := pg_current_xact_id()::text::bigint;
      notes {schema}.oban_notes[];
      flows boolean;
      chains text[] := ARRAY[]::text[];
      news {schema}.oban_notes[] := ARRAY[]::{schema}.oban_notes[];
    BEGIN
      LOOP
        WITH mine AS (DELETE FROM {schema}.oban_notes n WHERE n.xid = me RETURNING n)
        SELECT array_agg(n), bool_or((n).workflow_id IS NOT NULL),
               chains || coalesce(array_agg((n).chain_key) FILTER (WHERE (n).chain_key IS NOT NULL), ARRAY[]::text[]),
               news || array_agg(n) FILTER (WHERE (n).batch_id IS NOT NULL)
          INTO notes, flows, chains, news FROM mine;
        IF flows THEN
          PERFORM {schema}.oban_workflow_settle(notes);
        ELSIF cardinality(chains) > 0 THEN
          PERFORM {schema}.oban_chain_release(key)
             FROM (SELECT DISTINCT key FROM unnest(chains) key ORDER BY key OFFSET 0) left_behind;
          chains := ARRAY[]::text[];
        ELSIF cardinality(news) > 0 THEN
          PERFORM set_config(setting, 'any ', true);  -- or what these bring about would be no news
          PERFORM {schema}.oban_batch_settle(id, seen)
             FROM (SELECT batch_id AS id, array_agg(DISTINCT became) AS seen FROM unnest(news)
                    GROUP BY batch_id ORDER BY batch_id OFFSET 0) touched;
          news := ARRAY[]::{schema}.oban_notes[];
        ELSIF notes IS NULL THEN
          PERFORM set_config(setting, '', true);
          RETURN;
        END IF;
      END LOOP;
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
