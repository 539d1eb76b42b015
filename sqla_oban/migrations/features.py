"""Version 1's triggers for the features: what a job that uses one needs when it comes, changes and goes.

A job without features pays next to nothing for them: `featured` is NULL, and no trigger asks for more. It is set when a
row comes to use its first feature, and stays. That one trigger does it all, and none comes AFTER an UPDATE of a row, is
measured: PostgreSQL reads the text of each WHEN again for each statement, and fetches each old row again for what comes
after.

So all that follows a change is decided BEFORE the row is written, from the old row and the new. To have others look is
harmless even if the change does not come about: a notice is a hint, and what is to be settled is noted and asked of the
rows at the commit (`notes.py`); only the first failure, cancellation or discard in a batch is believed. A trigger of
the host's that changes states BEFORE an UPDATE needs a name that sorts before ours.
"""

from sqla_oban.migrations import batches, chains, limits, unique, waiting, workflows
from sqla_oban.migrations.version import Trigger

COLUMNS = ("featured boolean",)
"""Of `oban_jobs`: whether it uses any of the features; NULL for most."""

MARKS = ("unique_key", "chain_key", "workflow_id", "batch_id", "partition", "awaited_until")
"""The columns of which one is not NULL where a feature is used; of a job that parks, the acknowledgement says it."""
USED = " OR ".join(f"NEW.{mark} IS NOT NULL" for mark in MARKS)

UPGRADE = (
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_jobs_insert() RETURNS trigger LANGUAGE plpgsql AS $oban$
    BEGIN
      NEW.featured := true;{chains.ENTER}{unique.ENTER}
      RETURN NEW;
    END
    $oban$
    """,
    # The first feature; by its name it is asked before the next one.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_jobs_mark() RETURNS trigger LANGUAGE plpgsql AS $oban$
    BEGIN
      NEW.featured := true;
      RETURN NEW;
    END
    $oban$
    """,
    # First what makes the row another one, then what is to be said of it.
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_jobs_update() RETURNS trigger LANGUAGE plpgsql AS $oban$
    DECLARE
      held boolean;
      holder bigint;
      of_workflow bigint;
      of_chain text;
      of_batch uuid;
    BEGIN
      {chains.CHANGE}{waiting.CHANGE}{unique.CHANGE}{limits.CHANGE}
      {limits.CHANGED}{waiting.CHANGED}{workflows.CHANGED}{chains.CHANGED}{batches.CHANGED}
      IF of_workflow IS NOT NULL OR of_chain IS NOT NULL OR of_batch IS NOT NULL THEN
        PERFORM {{schema}}.oban_note(TG_RELID, NEW.id, of_workflow, of_chain, of_batch, NEW.state::text, NULL);
      END IF;
      RETURN NEW;
    END
    $oban$
    """,
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_jobs_delete() RETURNS trigger LANGUAGE plpgsql AS $oban$
    DECLARE
      of_workflow bigint;
      of_chain text;
      of_batch uuid;
    BEGIN
      {limits.DELETED}{waiting.DELETED}{workflows.DELETED}{chains.DELETED}{batches.DELETED}
      IF of_workflow IS NOT NULL OR of_chain IS NOT NULL OR of_batch IS NOT NULL THEN
        PERFORM {{schema}}.oban_note(TG_RELID, OLD.id, of_workflow, of_chain, of_batch, 'deleted',
          CASE WHEN {workflows.ENDED.format(row="OLD")} THEN OLD.state::text END);
      END IF;
      RETURN NULL;
    END
    $oban$
    """,
    f"""
    CREATE OR REPLACE TRIGGER oban_jobs_insert BEFORE INSERT ON {{schema}}.oban_jobs FOR EACH ROW
      WHEN ({USED}) EXECUTE FUNCTION {{schema}}.oban_jobs_insert()
    """,
    f"""
    CREATE OR REPLACE TRIGGER oban_jobs_mark BEFORE UPDATE OF {", ".join(MARKS)} ON {{schema}}.oban_jobs FOR EACH ROW
      WHEN (NEW.featured IS NULL AND ({USED})) EXECUTE FUNCTION {{schema}}.oban_jobs_mark()
    """,
    """
    CREATE OR REPLACE TRIGGER oban_jobs_update BEFORE UPDATE ON {schema}.oban_jobs FOR EACH ROW
      WHEN (NEW.featured) EXECUTE FUNCTION {schema}.oban_jobs_update()
    """,
    """
    CREATE OR REPLACE TRIGGER oban_jobs_delete AFTER DELETE ON {schema}.oban_jobs FOR EACH ROW
      WHEN (OLD.featured) EXECUTE FUNCTION {schema}.oban_jobs_delete()
    """,
)

FUNCTIONS = ("oban_jobs_insert", "oban_jobs_mark", "oban_jobs_update", "oban_jobs_delete")
TRIGGERS = (
    Trigger("oban_jobs_insert", "unique jobs and jobs of chains are not told from others"),
    Trigger("oban_jobs_mark", "a job that is given a feature later is not told from others"),
    Trigger("oban_jobs_update", "unique jobs, limits, chains, workflows, batches and signals do not work"),
    Trigger("oban_jobs_delete", "what follows the end of a job waits for the leader where that is deleted"),
)

DOWNGRADE = """
      DROP TRIGGER oban_jobs_delete ON {schema}.oban_jobs;
      DROP TRIGGER oban_jobs_mark ON {schema}.oban_jobs;
      DROP TRIGGER oban_jobs_update ON {schema}.oban_jobs;
      DROP TRIGGER oban_jobs_insert ON {schema}.oban_jobs;
      DROP FUNCTION {schema}.oban_jobs_delete();
      DROP FUNCTION {schema}.oban_jobs_update();
      DROP FUNCTION {schema}.oban_jobs_mark();
      DROP FUNCTION {schema}.oban_jobs_insert();
"""
"""First of all."""
