"""Unique jobs: one partial unique index, and triggers that keep anybody from hearing its last word."""

from sqla_oban.migrations.version import Index, Trigger

COLUMNS = ("unique_key text", "unique_states smallint", "unique_period interval")
"""Of `oban_jobs`: the digest of what makes it unique, in which states it keeps others out, and for how long."""

HELD = """
        {job}unique_key IS NOT NULL AND ({job}unique_states & CASE {job}state
          WHEN 'available' THEN 1 WHEN 'scheduled' THEN 2 WHEN 'suspended' THEN 4 WHEN 'executing' THEN 8
          WHEN 'retryable' THEN 16 WHEN 'completed' THEN 32 WHEN 'discarded' THEN 64 WHEN 'cancelled' THEN 128
        END) <> 0
"""
"""Whether a row keeps others of its unique key out."""
LOCK = "1868718446, (hashtextextended(NEW.unique_key, 0) & 4095)::integer"
"""Who makes a row hold its unique key has this advisory lock until the transaction ends. Keys share 4,096 of them, so
that no number of unique jobs fills the lock table; the price is a wait for a stranger now and then."""

INDEXES = (Index("oban_jobs_unique_key_index", f"(unique_key) WHERE {HELD.format(job='')}", unique=True),)

UPGRADE = (
    # For writers that know nothing of the lock. Each command here sees what was committed while the one before waited.
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_jobs_unique_insert() RETURNS trigger LANGUAGE plpgsql AS $oban$
    DECLARE
      expired bigint;
    BEGIN
      IF ({HELD.format(job="NEW.")}) IS NOT TRUE THEN
        RETURN NEW;
      END IF;
      PERFORM pg_advisory_xact_lock({LOCK});
      SELECT id INTO expired FROM {{schema}}.oban_jobs
       WHERE unique_key = NEW.unique_key AND inserted_at + unique_period <= timezone('UTC', clock_timestamp())
         AND {HELD.format(job="")};
      IF FOUND THEN
        UPDATE {{schema}}.oban_jobs SET unique_states = 0 WHERE id = expired;
      END IF;
      RETURN NEW;
    END
    $oban$
    """,  # noqa: S608 (constants of this file)
    """
    CREATE OR REPLACE TRIGGER oban_jobs_unique_insert BEFORE INSERT ON {schema}.oban_jobs FOR EACH ROW
      WHEN (NEW.unique_key IS NOT NULL) EXECUTE FUNCTION {schema}.oban_jobs_unique_insert()
    """,
    # A row that comes to hold its key again gives way where another has it, or where somebody is about to take it:
    # to wait for them would stop all the rows of the statement. It gives up its key and goes on, and its meta says so.
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_jobs_unique_update() RETURNS trigger LANGUAGE plpgsql AS $oban$
    DECLARE
      holder bigint;
    BEGIN
      IF (({HELD.format(job="NEW.")}) AND
        (({HELD.format(job="OLD.")}) IS NOT TRUE OR OLD.unique_key IS DISTINCT FROM NEW.unique_key)) IS NOT TRUE
      THEN
        RETURN NEW;
      END IF;
      IF NEW.inserted_at + NEW.unique_period <= timezone('UTC', clock_timestamp()) THEN
        NEW.unique_states := 0;
        RETURN NEW;
      END IF;
      IF pg_try_advisory_xact_lock({LOCK}) THEN
        SELECT id INTO holder FROM {{schema}}.oban_jobs
         WHERE unique_key = NEW.unique_key AND id <> NEW.id AND {HELD.format(job="")};
        IF NOT FOUND THEN
          RETURN NEW;
        END IF;
      END IF;
      NEW.unique_states := 0;
      IF jsonb_typeof(NEW.meta) = 'object' THEN
        NEW.meta := NEW.meta || jsonb_build_object('unique_conflict', holder);
      END IF;
      RETURN NEW;
    END
    $oban$
    """,  # noqa: S608 (constants of this file)
    """
    CREATE OR REPLACE TRIGGER oban_jobs_unique_update
      BEFORE UPDATE OF state, unique_key, unique_states ON {schema}.oban_jobs FOR EACH ROW
      WHEN (NEW.unique_key IS NOT NULL) EXECUTE FUNCTION {schema}.oban_jobs_unique_update()
    """,
)

FUNCTIONS = ("oban_jobs_unique_insert", "oban_jobs_unique_update")
TRIGGERS = (
    Trigger("oban_jobs_unique_insert", "an INSERT of a unique job may fail"),
    Trigger("oban_jobs_unique_update", "an UPDATE of a unique job may fail"),
)

DOWNGRADE = """
      DROP TRIGGER oban_jobs_unique_update ON {schema}.oban_jobs;
      DROP TRIGGER oban_jobs_unique_insert ON {schema}.oban_jobs;
      DROP FUNCTION {schema}.oban_jobs_unique_update();
      DROP FUNCTION {schema}.oban_jobs_unique_insert();
"""
