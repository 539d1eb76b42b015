"""Unique jobs: one partial unique index, and triggers that keep anybody from hearing its last word."""

from sqla_oban.migrations.version import Index

COLUMNS = ("unique_key text", "unique_states smallint", "unique_period interval")
"""Of `oban_jobs`: the digest of what makes it unique, in which states it keeps others out, and for how long."""

HELD = """
        {job}unique_key IS NOT NULL AND ({job}unique_states & (1 << array_position('{{{{'
          'available,scheduled,suspended,executing,retryable,completed,discarded,cancelled}}}}', {job}state) - 1)) <> 0
"""
"""Whether a row keeps others of its unique key out."""
LOCK = "1868718446, (hashtextextended(key, 0) & 4095)::integer"
"""Who makes a row hold its unique key has this advisory lock until the transaction ends. Keys share 4,096 of them, so
that no number of unique jobs fills the lock table; the price is a wait for a stranger now and then."""

INDEXES = (Index("oban_jobs_unique_key_index", f"(unique_key) WHERE {HELD.format(job='')}", unique=True),)

UPGRADE = (
    # For writers that know nothing of the lock. Each command here sees what was committed while the one before waited.
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_unique_take(key text) RETURNS void LANGUAGE plpgsql AS $oban$
    BEGIN
      PERFORM pg_advisory_xact_lock({LOCK});
      UPDATE {{schema}}.oban_jobs SET unique_states = 0
       WHERE unique_key = key AND inserted_at + unique_period <= timezone('UTC', clock_timestamp())
         AND {HELD.format(job="")};
    END
    $oban$
    """,  # noqa: S608 (constants of this file)
    # A row that comes to hold its key again gives way where another has it, or where somebody is about to take it:
    # to wait for them would stop all the rows of the statement. It gives up its key and goes on, and its meta says so.
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_unique_regain(key text, job bigint, OUT held boolean, OUT holder bigint)
    LANGUAGE plpgsql AS $oban$
    BEGIN
      held := pg_try_advisory_xact_lock({LOCK});
      IF held THEN
        SELECT id INTO holder FROM {{schema}}.oban_jobs
         WHERE unique_key = key AND id <> job AND {HELD.format(job="")};
        held := NOT FOUND;
      END IF;
    END
    $oban$
    """,  # noqa: S608 (constants of this file)
)

ENTER = f"""
      IF {HELD.format(job="NEW.")} THEN
        PERFORM {{schema}}.oban_unique_take(NEW.unique_key);
      END IF;
"""
CHANGE = f"""
      IF ({HELD.format(job="NEW.")}) AND
          (({HELD.format(job="OLD.")}) IS NOT TRUE OR OLD.unique_key IS DISTINCT FROM NEW.unique_key) THEN
        IF NEW.inserted_at + NEW.unique_period <= timezone('UTC', clock_timestamp()) THEN
          NEW.unique_states := 0;
        ELSE
          SELECT * INTO held, holder FROM {{schema}}.oban_unique_regain(NEW.unique_key, NEW.id);
          IF NOT held THEN
            NEW.unique_states := 0;
            IF jsonb_typeof(NEW.meta) = 'object' THEN
              NEW.meta := NEW.meta || jsonb_build_object('unique_conflict', holder);
            END IF;
          END IF;
        END IF;
      END IF;
"""  # noqa: S608 (constants of this file)

FUNCTIONS = ("oban_unique_take", "oban_unique_regain")

DOWNGRADE = """
      DROP FUNCTION {schema}.oban_unique_regain(text, bigint);
      DROP FUNCTION {schema}.oban_unique_take(text);
"""
