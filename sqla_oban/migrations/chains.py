"""Chains: of the jobs with the same `chain_key`, one at a time has the turn, in the order of their ids.

A row OCCUPIES its chain while it is available, scheduled, executing or retryable, or discarded under hold. A row WAITS
while it is suspended and marked by `chain_waits`: what is suspended for another reason, as until others of a workflow
end, comes into its chain when it is made available. Both are decided by triggers, so it does not matter who writes.

1. At most one row occupies a chain: the unique index says so, whoever writes and however it is isolated.
   ENTER (a row would come to occupy: an INSERT, a retry, a suspended job made available) takes the advisory lock of
   the key, so that entrants take turns. If a row occupies or waits, the new one waits too. So nobody overtakes, and
   the only other way to come to occupy is
   RELEASE: the first of those that wait is given the turn, if nobody occupies. Of two releases of the same row, one
   gets its lock, and the other finds it locked, or occupying.
2. None is forgotten. Whoever ends or deletes a row that occupies releases the next in the same transaction (AFTER
   triggers: the rows of the whole statement have been written by then). The race is with an entrant that is not
   committed: it has locked the row behind which it waits, and looked at it again under that lock. So whoever would end
   that row waits, or passes over it, as acknowledgements do, until the entrant has committed; and then sees it. If on
   the other hand the row was being ended, the entrant waited for that, and looks again.
   What is left: a release that finds the next row locked by somebody (who may be about to cancel it) waits for him for
   a moment, as long as `oban.wait` or `oban.jobs.update` take, and looks again. To wait for longer could be a
   deadlock: then, and after a crash of a REPEATABLE READ transaction's beliefs, the leader's sweep gives the turn
   (`queries/chains.py`), every half a minute.
3. No deadlock comes of it. A release waits once in a transaction, and gives up long before PostgreSQL looks for
   deadlocks; nothing else of the transaction fails for it. An entrant waits for entrants, and statements of ours sort
   the locks that they take (`queries/chains.py`), and for the transaction that is changing the row that occupies.
   Acknowledge, claim, stage and rescue are single statements that pass over locked rows, so for these they wait for
   nobody. What remains is what any two transactions can do that change several rows in different orders: an
   application that adds to several chains by several flushes of one transaction, or cancels jobs of several chains.
   PostgreSQL finds that out.

At REPEATABLE READ and above an entrant whose view is older than its chain fails: with 40001 where it would wait behind
a row that has changed, else with a violation of the unique index; the transaction is to be run again.

A transaction that is open and has enqueued into a chain holds up how the one job that has the turn is claimed and
acknowledged, and nothing else. If it was available, the INSERT rings for it, because a claim may have passed over it.
"""

from sqla_oban.migrations.version import Index, Trigger

COLUMNS = ("chain_key text", "chain_hold boolean", "chain_waits boolean")
"""Of `oban_jobs`: the chain, whether it holds when this job is discarded, and whether the job waits for its turn."""
OCCUPIES = """
        {job}chain_key IS NOT NULL AND ({job}state IN ('available', 'scheduled', 'executing', 'retryable')
          OR {job}state = 'discarded' AND {job}chain_hold)
"""
WAITS = "{job}chain_key IS NOT NULL AND {job}state = 'suspended' AND {job}chain_waits"
LOCK = "1868718447, (hashtextextended({key}, 0) & 4095)::integer"
"""The advisory lock of a key, held until the transaction ends; shared by some keys, as that of unique jobs is."""

PATIENCE = "100ms"
"""How long a release waits for a row that somebody else has locked."""

INDEXES = (
    Index("oban_jobs_chain_index", f"(chain_key) WHERE {OCCUPIES.format(job='')}", unique=True),
    Index("oban_jobs_chain_waits_index", f"(chain_key, id) WHERE {WAITS.format(job='')}"),
)

OF, NEW, OLD = (
    {"occupies": f"({OCCUPIES.format(job=job)})", "waits": f"({WAITS.format(job=job)})"} for job in ("", "NEW.", "OLD.")
)

UPGRADE = (
    # Locks a row that waits; says whether it has the lock. If somebody else has it, it waits a moment, but only once
    # in a transaction, and says NULL: who is the first, and whether nobody has the turn, may be different by then.
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_chain_lock(key text, chosen bigint) RETURNS boolean
    LANGUAGE plpgsql AS $oban$
    DECLARE
      before text := current_setting('lock_timeout');
    BEGIN
      PERFORM FROM {{schema}}.oban_jobs WHERE id = chosen AND chain_key = key AND {OF["waits"]}
        FOR NO KEY UPDATE SKIP LOCKED;
      IF FOUND OR current_setting('sqla_oban.waited', true) = 'on' THEN
        RETURN FOUND;
      END IF;
      PERFORM set_config('sqla_oban.waited', 'on', true);
      BEGIN
        PERFORM set_config('lock_timeout', '{PATIENCE}', true);
        PERFORM FROM {{schema}}.oban_jobs WHERE id = chosen AND chain_key = key AND {OF["waits"]} FOR NO KEY UPDATE;
        PERFORM set_config('lock_timeout', before, true);
      EXCEPTION WHEN lock_not_available OR serialization_failure OR deadlock_detected THEN
        RETURN false;
      END;
      RETURN NULL;
    END
    $oban$
    """,
    # Gives the turn to the first that waits, if nobody has it and nobody keeps that row locked; says whether it did.
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_chain_release(key text) RETURNS boolean LANGUAGE plpgsql AS $oban$
    DECLARE
      chosen bigint;
      locked boolean;
      released record;
    BEGIN
      LOOP
        SELECT w.id INTO chosen FROM {{schema}}.oban_jobs w
         WHERE w.chain_key = key AND {WAITS.format(job="w.")}
           AND NOT EXISTS (SELECT FROM {{schema}}.oban_jobs WHERE chain_key = key AND {OF["occupies"]})
         ORDER BY w.id LIMIT 1;
        IF NOT FOUND THEN
          RETURN false;
        END IF;
        locked := {{schema}}.oban_chain_lock(key, chosen);
        EXIT WHEN locked IS NOT NULL;
      END LOOP;
      IF NOT locked THEN
        RETURN false;
      END IF;
      UPDATE {{schema}}.oban_jobs SET chain_waits = NULL, state = (CASE
          WHEN scheduled_at > timezone('UTC', clock_timestamp()) THEN 'scheduled' ELSE 'available'
        END)::{{schema}}.oban_job_state
       WHERE id = chosen RETURNING queue, state, scheduled_at INTO released;
      IF released.scheduled_at < timezone('UTC', clock_timestamp()) + interval '5 seconds' THEN
        PERFORM {{schema}}.oban_ring(released.queue, released.state = 'scheduled');
      END IF;
      RETURN true;
    END
    $oban$
    """,  # noqa: S608 (constants of this file)
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_jobs_chain_enter() RETURNS trigger LANGUAGE plpgsql AS $oban$
    DECLARE
      ahead bigint;
      head record;
    BEGIN
      -- Not for a release, which takes the mark away by itself.
      IF {NEW["occupies"]} IS NOT TRUE OR TG_OP = 'UPDATE' AND (OLD.chain_waits IS DISTINCT FROM NEW.chain_waits
          OR {OLD["occupies"]} AND OLD.chain_key IS NOT DISTINCT FROM NEW.chain_key) THEN
        RETURN NEW;
      END IF;
      NEW.chain_waits := NULL;
      PERFORM pg_advisory_xact_lock({LOCK.format(key="NEW.chain_key")});
      LOOP
        SELECT coalesce(
          (SELECT id FROM {{schema}}.oban_jobs WHERE chain_key = NEW.chain_key AND id <> NEW.id AND {OF["occupies"]}),
          (SELECT id FROM {{schema}}.oban_jobs WHERE chain_key = NEW.chain_key AND id <> NEW.id AND {OF["waits"]}
            ORDER BY id LIMIT 1)) INTO ahead;
        IF ahead IS NULL THEN
          RETURN NEW;
        END IF;
        SELECT queue, state, {OF["occupies"]} AS occupies INTO head FROM {{schema}}.oban_jobs
         WHERE id = ahead AND chain_key = NEW.chain_key AND ({OF["occupies"]} OR {OF["waits"]}) FOR NO KEY UPDATE;
        EXIT WHEN FOUND;
      END LOOP;
      IF NOT head.occupies THEN
        PERFORM {{schema}}.oban_chain_release(NEW.chain_key);
      ELSIF head.state = 'available' THEN
        PERFORM {{schema}}.oban_ring(head.queue);
      END IF;
      NEW.state := 'suspended';
      NEW.chain_waits := true;
      RETURN NEW;
    END
    $oban$
    """,  # noqa: S608 (constants of this file)
    """
    CREATE OR REPLACE TRIGGER oban_jobs_chain_insert BEFORE INSERT ON {schema}.oban_jobs FOR EACH ROW
      WHEN (NEW.chain_key IS NOT NULL) EXECUTE FUNCTION {schema}.oban_jobs_chain_enter()
    """,
    """
    CREATE OR REPLACE TRIGGER oban_jobs_chain_update
      BEFORE UPDATE OF state, chain_key, chain_hold ON {schema}.oban_jobs FOR EACH ROW
      WHEN (NEW.chain_key IS NOT NULL) EXECUTE FUNCTION {schema}.oban_jobs_chain_enter()
    """,
    # Whoever has waited and does so no longer may have been the one whom a release passed over because he was locked.
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_jobs_chain_leave() RETURNS trigger LANGUAGE plpgsql AS $oban$
    BEGIN
      IF ({OLD["occupies"]} OR {OLD["waits"]}) AND (({NEW["occupies"]} OR {NEW["waits"]}) IS NOT TRUE
          OR OLD.chain_key IS DISTINCT FROM NEW.chain_key) THEN
        PERFORM {{schema}}.oban_chain_release(OLD.chain_key);
      END IF;
      RETURN NULL;
    END
    $oban$
    """,
    """
    CREATE OR REPLACE TRIGGER oban_jobs_chain_leave AFTER UPDATE ON {schema}.oban_jobs FOR EACH ROW
      WHEN (OLD.chain_key IS NOT NULL) EXECUTE FUNCTION {schema}.oban_jobs_chain_leave()
    """,
    """
    CREATE OR REPLACE TRIGGER oban_jobs_chain_delete AFTER DELETE ON {schema}.oban_jobs FOR EACH ROW
      WHEN (OLD.chain_key IS NOT NULL) EXECUTE FUNCTION {schema}.oban_jobs_chain_leave()
    """,
)

FUNCTIONS = ("oban_chain_lock", "oban_chain_release", "oban_jobs_chain_enter", "oban_jobs_chain_leave")
TRIGGERS = (
    Trigger("oban_jobs_chain_insert", "jobs of chains may run side by side"),
    Trigger("oban_jobs_chain_update", "jobs of chains may run side by side"),
    Trigger("oban_jobs_chain_leave", "jobs of chains wait for the leader to release them"),
    Trigger("oban_jobs_chain_delete", "jobs of chains wait for the leader to release them"),
)

DOWNGRADE = """
      DROP TRIGGER oban_jobs_chain_delete ON {schema}.oban_jobs;
      DROP TRIGGER oban_jobs_chain_leave ON {schema}.oban_jobs;
      DROP TRIGGER oban_jobs_chain_update ON {schema}.oban_jobs;
      DROP TRIGGER oban_jobs_chain_insert ON {schema}.oban_jobs;
      DROP FUNCTION {schema}.oban_jobs_chain_leave();
      DROP FUNCTION {schema}.oban_jobs_chain_enter();
      DROP FUNCTION {schema}.oban_chain_release(text);
      DROP FUNCTION {schema}.oban_chain_lock(text, bigint);
"""
"""Before the columns go."""
