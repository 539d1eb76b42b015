"""What version 1 makes for those who wait: for the end of a job, and jobs that wait for a signal."""

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
)

CHANGE = """
      IF NEW.state = 'scheduled' AND OLD.state = 'executing' AND jsonb_typeof(NEW.meta->'signals') = 'object'
          AND NEW.meta->'signal_wait'->'execution' = to_jsonb(extract(epoch FROM NEW.attempted_at))
          AND NEW.meta->'signals' ? (NEW.meta->'signal_wait'->>'name') THEN
        NEW.state := 'available';
        NEW.scheduled_at := timezone('UTC', clock_timestamp());
        PERFORM {schema}.oban_ring(NEW.queue);
      END IF;
"""
"""A job that is put aside until a signal comes, which has come meanwhile. Why none is missed: queries/signal.py."""
CHANGED = f"""
      IF NEW.state IN ('completed', 'cancelled', 'discarded') AND {TOLD.format(job="NEW.")} THEN
        PERFORM {{schema}}.oban_tell_end(NEW.id);
      END IF;
"""
"""Whoever ends the job, and by whatever statement. The mark stays: a job that is made to run again before those who
wait for it have looked ends once more, and nobody marks it anew."""
DELETED = f"""
      IF OLD.state NOT IN ('completed', 'cancelled', 'discarded') AND {TOLD.format(job="OLD.")} THEN
        PERFORM {{schema}}.oban_tell_end(OLD.id);
      END IF;
"""
"""What has ended has been told of."""

FUNCTIONS = ("oban_tell_end",)

DOWNGRADE = """
      DROP FUNCTION {schema}.oban_tell_end(bigint);
"""
