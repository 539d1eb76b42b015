"""Chains: of the jobs with the same `chain_key`, one at a time has the turn, in the order of their ids.

A row OCCUPIES its chain while it is available, scheduled, executing or retryable, or discarded under hold. A row WAITS
while it is suspended and marked by `chain_waits`: what is suspended for another reason, as until others of a workflow
end, comes into its chain when it is made available. Both are decided by triggers, so it does not matter who writes.

1. At most one row occupies a chain: the unique index says so, whoever writes and however it is isolated.
   ENTER (a row would come to occupy: an INSERT, a retry, a suspended job made available) takes the advisory lock of
   the key, so that entrants take turns. If a row occupies or waits, the new one waits too, and if nobody occupies it
   has the turn given at its commit. So nobody overtakes, and the only other way to come to occupy is
   RELEASE: the first of those that wait is given the turn, if nobody occupies. Of two releases of the same row, one
   gets its lock, and the other finds it locked, or occupying.
2. None is forgotten. Whoever ends or deletes a row that occupies notes it (`notes.py`), and releases the next when he
   commits. The race is with an entrant that is not committed: it has locked the row behind which it waits, and looked
   at it again under that lock. So whoever would end that row waits, or passes over it, as acknowledgements do, until
   the entrant has committed; and then sees it. If on the other hand the row was being ended, the entrant waited for
   that, and looks again.
   What is left: a release that finds the next row locked by somebody (who may be about to cancel it) waits for him for
   a moment, as long as `oban.wait` or `oban.jobs.update` take, and looks again. To wait for longer could be a
   deadlock: then, and after a crash of a REPEATABLE READ transaction's beliefs, the leader's sweep gives the turn
   (`queries/chains.py`), every half a minute.
3. No deadlock comes of it. A release waits once in a transaction, and gives up long before PostgreSQL looks for
   deadlocks; nothing else of the transaction fails for it, and a commit releases chains in one order. An entrant waits
   for entrants, and statements of ours sort the locks that they take (`queries/chains.py`), and for the transaction
   that is changing the row that occupies. Acknowledge, claim, stage and rescue are single statements that pass over
   locked rows, so for these they wait for nobody. What remains is what any two transactions can do that change several
   rows in different orders: an application that adds to several chains by several flushes of one transaction, or
   cancels jobs of several chains. PostgreSQL finds that out.

At REPEATABLE READ and above an entrant whose view is older than its chain fails: with 40001 where it would wait behind
a row that has changed, else with a violation of the unique index; the transaction is to be run again.

A transaction that is open and has enqueued into a chain holds up how the one job that has the turn is claimed and
acknowledged, and nothing else. If it was available, the INSERT rings for it, because a claim may have passed over it.
"""

from sqla_oban.migrations.version import Index

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
    # Has who would come to occupy the chain wait, if somebody is ahead of him; says whether he has to. Where nobody has
    # the turn, it is given at the commit: the first that waits may be a row of the very statement that is entering.
    f"""
    CREATE OR REPLACE FUNCTION {{schema}}.oban_chain_enter(relation oid, key text, entrant bigint) RETURNS boolean
    LANGUAGE plpgsql AS $oban$
    DECLARE
      ahead bigint;
      head record;
    BEGIN
      PERFORM pg_advisory_xact_lock({LOCK.format(key="key")});
      LOOP
        SELECT coalesce(
          (SELECT id FROM {{schema}}.oban_jobs WHERE chain_key = key AND id <> entrant AND {OF["occupies"]}),
          (SELECT id FROM {{schema}}.oban_jobs WHERE chain_key = key AND id <> entrant AND {OF["waits"]}
            ORDER BY id LIMIT 1)) INTO ahead;
        IF ahead IS NULL THEN
          RETURN false;
        END IF;
        SELECT queue, state, {OF["occupies"]} AS occupies INTO head FROM {{schema}}.oban_jobs
         WHERE id = ahead AND chain_key = key AND ({OF["occupies"]} OR {OF["waits"]}) FOR NO KEY UPDATE;
        EXIT WHEN FOUND;
      END LOOP;
      IF NOT head.occupies THEN
        PERFORM {{schema}}.oban_note(relation, entrant, NULL, key, NULL, NULL, NULL);
      ELSIF head.state = 'available' THEN
        PERFORM {{schema}}.oban_ring(head.queue);
      END IF;
      RETURN true;
    END
    $oban$
    """,  # noqa: S608 (constants of this file)
)

ENTRY = """
        NEW.chain_waits := nullif({schema}.oban_chain_enter(TG_RELID, NEW.chain_key, NEW.id), false);
        IF NEW.chain_waits THEN
          NEW.state := 'suspended';
        END IF;
"""
ENTER = f"""
      IF {NEW["occupies"]} THEN{ENTRY}
      END IF;
"""
CHANGE = f"""
      IF {NEW["occupies"]} AND OLD.chain_waits IS NOT DISTINCT FROM NEW.chain_waits
          AND ({OLD["occupies"]} AND OLD.chain_key IS NOT DISTINCT FROM NEW.chain_key) IS NOT TRUE THEN{ENTRY}
      END IF;
"""
"""Not for a release, which takes the mark away by itself."""
HAD_A_PLACE = f"({OLD['occupies']} OR {OLD['waits']})"
CHANGED = f"""
      IF {HAD_A_PLACE} AND (({NEW["occupies"]} OR {NEW["waits"]}) IS NOT TRUE
          OR OLD.chain_key IS DISTINCT FROM NEW.chain_key) THEN
        of_chain := OLD.chain_key;
      END IF;
"""
"""Whoever has waited and does so no longer may have been the one whom a release passed over because he was locked."""
DELETED = f"""
      IF {HAD_A_PLACE} THEN
        of_chain := OLD.chain_key;
      END IF;
"""

FUNCTIONS = ("oban_chain_lock", "oban_chain_release", "oban_chain_enter")

DOWNGRADE = """
      DROP FUNCTION {schema}.oban_chain_enter(oid, text, bigint);
      DROP FUNCTION {schema}.oban_chain_release(text);
      DROP FUNCTION {schema}.oban_chain_lock(text, bigint);
"""
"""Before the columns go."""
