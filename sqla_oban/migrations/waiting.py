"""What version 1 makes for those who wait: for the end of a job, and jobs that wait for a signal."""

from sqla_oban.migrations.version import Trigger

COLUMNS = ("awaited_until timestamp",)
"""Until when somebody waits for the end of a job; NULL where nobody does."""

TOLD = "(timezone('UTC', clock_timestamp()) < {job}awaited_until)"

UPGRADE = (
    # Tells that a job has ended or is gone: its id, and nothing of how. A hint: who waits looks at the table.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_tell_end(id bigint) RETURNS void LANGUAGE plpgsql AS $oban$
    BEGIN
      IF current_setting('sqla_oban.notify', true) IS DISTINCT FROM 'off' THEN
        PERFORM pg_notify({schema_literal} || '.oban_relay', jsonb_build_object('job_id', $1)::text);
      END IF;
    END
    $oban$
    """,
    # Whoever ends the job, and by whatever statement. The mark stays: a job that is made to run again before those who
    # wait for it have looked ends once more, and nobody marks it anew.
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_jobs_ended() RETURNS trigger LANGUAGE plpgsql AS $oban$
    BEGIN
      IF NEW.state IN ('completed', 'cancelled', 'discarded') AND {TOLD.format(job="NEW.")} THEN
        PERFORM {{schema}}.oban_tell_end(NEW.id);
      END IF;
      RETURN NULL;
    END
    $oban$
    """,
    """
    CREATE OR REPLACE TRIGGER oban_jobs_ended AFTER UPDATE OF state ON {schema}.oban_jobs FOR EACH ROW
      WHEN (NEW.awaited_until IS NOT NULL) EXECUTE FUNCTION {schema}.oban_jobs_ended()
    """,
    # What has ended has been told of.
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_jobs_deleted() RETURNS trigger LANGUAGE plpgsql AS $oban$
    BEGIN
      IF OLD.state NOT IN ('completed', 'cancelled', 'discarded') AND {TOLD.format(job="OLD.")} THEN
        PERFORM {{schema}}.oban_tell_end(OLD.id);
      END IF;
      RETURN NULL;
    END
    $oban$
    """,
    """
    CREATE OR REPLACE TRIGGER oban_jobs_deleted AFTER DELETE ON {schema}.oban_jobs FOR EACH ROW
      WHEN (OLD.awaited_until IS NOT NULL) EXECUTE FUNCTION {schema}.oban_jobs_deleted()
    """,
    # A job that is put aside until a signal comes, which has come meanwhile. Why none is missed: queries/signal.py.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_jobs_park() RETURNS trigger LANGUAGE plpgsql AS $oban$
    BEGIN
      IF OLD.state = 'executing'
          AND NEW.meta->'signal_wait'->'execution' = to_jsonb(extract(epoch FROM NEW.attempted_at))
          AND jsonb_typeof(NEW.meta->'signals') = 'object'
          AND NEW.meta->'signals' ? (NEW.meta->'signal_wait'->>'name') THEN
        NEW.state := 'available';
        NEW.scheduled_at := timezone('UTC', clock_timestamp());
        PERFORM {schema}.oban_ring(NEW.queue);
      END IF;
      RETURN NEW;
    END
    $oban$
    """,
    """
    CREATE OR REPLACE TRIGGER oban_jobs_park BEFORE UPDATE OF state ON {schema}.oban_jobs FOR EACH ROW
      WHEN (NEW.state = 'scheduled' AND NEW.meta ? 'signal_wait')
      EXECUTE FUNCTION {schema}.oban_jobs_park()
    """,
)

FUNCTIONS = ("oban_tell_end", "oban_jobs_ended", "oban_jobs_deleted", "oban_jobs_park")
TRIGGERS = (
    Trigger("oban_jobs_ended", "who waits for the end of a job learns of it late"),
    Trigger("oban_jobs_deleted", "who waits for the end of a job learns late that it is gone"),
    Trigger("oban_jobs_park", "a job that waits for a signal may wait in vain until its time is over"),
)

DOWNGRADE = """
      DROP TRIGGER oban_jobs_park ON {schema}.oban_jobs;
      DROP FUNCTION {schema}.oban_jobs_park();
      DROP TRIGGER oban_jobs_deleted ON {schema}.oban_jobs;
      DROP FUNCTION {schema}.oban_jobs_deleted();
      DROP TRIGGER oban_jobs_ended ON {schema}.oban_jobs;
      DROP FUNCTION {schema}.oban_jobs_ended();
      DROP FUNCTION {schema}.oban_tell_end(bigint);
"""
