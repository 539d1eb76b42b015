"""The claim that keeps within limits.

`oban_claim_within` is a function and not a statement of `queries`, because it has to look after it has the lock: a
statement sees what was committed before it began, and that was before it waited. As one call it never holds the lock
while it waits for a client, who may be stopped, cut off, or busy.

The invariants, of which the rows themselves are the proof:

1. Who claims from a queue with a limit holds the queue's advisory lock from before it counts until it has committed.
   The count is of the rows that execute, so nothing has to be given back, and nothing can leak: what ends, is rescued
   or deleted is not counted any more.
2. A rate's row is written in the same transaction as the claim that it is for. It is checked by a clock read before the
   claim (`began`) and written by one read after it: all `attempted_at` of the claim lie between the two. So two starts
   lie at least as far apart as their accounts say.
3. Who claims may complete jobs of his in the same statement (`freed` says how many); they no longer count. Their rows
   are locked before the queue's lock is waited for, and nobody who has that lock waits for a row.
4. The partition of a job that executes is taken from its own fields, not from a mark that may be out of date.
"""

CLAIM = (
    # As `queries.claim`, within the limits of the queue. The last row is no job: where the next claim goes on among the
    # partitions (`lane`, `wrapped`), whether it should at once (`more`), and in how many seconds a rate has room.
    #
    # Partitions are looked at in turn, from the one where the last claim ended, and a few hundred at a time: so each
    # has its turn, however many there are, and those that are full cost one probe of the index each.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_claim_within(of_runners text, of_queue text, demand bigint, holder text[],
      after_priorities smallint[], after_moments text[], after_ids bigint[], below integer[],
      spec text[], burst boolean, most integer, rate jsonb, lane_from text, lane_origin text, has_wrapped boolean,
      freed bigint)
    RETURNS TABLE (id bigint, state text, worker text, attempt integer, max_attempts integer, priority integer,
      attempted_at timestamp, scheduled_at text, inserted_at text, args text, meta text, errors text, tags text[],
      lane text, wrapped boolean, more boolean, wait double precision)
    LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off AS $oban$
    #variable_conflict use_column
    DECLARE
      visits CONSTANT integer := 300;
      allowed double precision;
      busy jsonb;
      chosen bigint[] := ARRAY[]::bigint[];
      seen text[] := ARRAY[]::text[];
      used double precision[] := ARRAY[]::double precision[];
      spent double precision[] := ARRAY[]::double precision[];
      blocked double precision[] := ARRAY[]::double precision[];
      picked bigint[];
      at_lane text := lane_from;
      next_lane text;
      pass integer := 1;
      n integer := 0;
      room bigint;
      one record;
      soonest double precision;
      unfinished boolean := false;
    BEGIN
      -- Who finds the queue full need not queue up for the lock to see it again: whoever frees a slot rings.
      IF spec IS NULL AND nullif(coalesce((SELECT said.global_limit FROM {schema}.oban_queues said
            WHERE said.name = of_runners AND said.queue = of_queue AND said.node = ''), most), 0)
          <= (SELECT count(*) FROM {schema}.oban_jobs j WHERE j.state = 'executing' AND j.queue = of_queue)
      THEN
        IF freed > 0 THEN
          PERFORM {schema}.oban_ring(of_queue);
        END IF;
        RETURN QUERY SELECT NULL::bigint, NULL::text, NULL::text, NULL::integer, NULL::integer,
          NULL::integer, NULL::timestamp, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text[],
          lane_from, has_wrapped, false, NULL::double precision;
        RETURN;
      END IF;
      PERFORM {schema}.oban_limit_lock(of_queue);
      SELECT coalesce(said.global_limit, most), coalesce(said.rate_limit, rate) INTO most, rate FROM (SELECT) here
        LEFT JOIN {schema}.oban_queues said ON said.name = of_runners AND said.queue = of_queue AND said.node = '';
      most := nullif(most, 0);
      rate := CASE WHEN jsonb_typeof(rate -> 'allowed') = 'number' AND jsonb_typeof(rate -> 'period') = 'number' THEN
                CASE WHEN (rate ->> 'allowed')::numeric >= 1 AND (rate ->> 'period')::numeric > 0 THEN rate END END;
      allowed := (rate ->> 'allowed')::double precision;
      unfinished := {schema}.oban_sort(of_queue, spec, 1000) >= 1000;
      IF most IS NOT NULL THEN
        SELECT jsonb_object_agg(counted.partition, counted.n) INTO busy FROM (
          SELECT CASE WHEN spec IS NULL THEN ''
                      ELSE coalesce({schema}.oban_partition(spec, j.worker, j.args, j.meta), '') END AS partition,
                 count(*) AS n
            FROM {schema}.oban_jobs j WHERE j.state = 'executing' AND j.queue = of_queue GROUP BY 1) counted;
      END IF;

      WHILE cardinality(chosen) < demand LOOP
        -- The next lane: first those of the index, each once; then, in a burst, the same again.
        IF pass = 1 THEN
          IF spec IS NULL THEN
            EXIT WHEN n > 0;
            next_lane := '';
          ELSE
            IF n >= visits THEN
              unfinished := true;
              EXIT;
            END IF;
            SELECT j.partition INTO next_lane FROM {schema}.oban_jobs j
             WHERE j.state = 'available' AND j.queue = of_queue AND j.partition IS NOT NULL AND j.partition > at_lane
             ORDER BY j.partition LIMIT 1;
            IF next_lane IS NULL AND NOT has_wrapped THEN
              has_wrapped := true;
              at_lane := '';
              CONTINUE;
            END IF;
            IF next_lane IS NULL OR has_wrapped AND next_lane > lane_origin THEN
              EXIT WHEN unfinished OR NOT burst OR n = 0;
              pass := 2;
              n := 0;
              CONTINUE;
            END IF;
            at_lane := next_lane;
          END IF;
          n := n + 1;
          seen := seen || next_lane;
          used := used || 0::double precision;
          spent := spent || 0::double precision;
          blocked := blocked || 0::double precision;
          room := coalesce(most - coalesce((busy ->> next_lane)::bigint, 0), demand);
          IF rate IS NOT NULL THEN
            used[n] := (SELECT r.used FROM {schema}.oban_rate_of(of_queue, next_lane, 0, rate) r);
          END IF;
        ELSE
          n := n + 1;
          IF n > cardinality(seen) THEN
            EXIT WHEN pass = 3;
            pass := 3;
            n := 1;
          END IF;
          next_lane := seen[n];
          -- Evenly at first; what some do not need is then anybody's.
          room := CASE WHEN pass = 3 THEN demand
                       ELSE ceil((demand - cardinality(chosen))::numeric / (cardinality(seen) - n + 1)) END;
        END IF;
        room := least(room, demand - cardinality(chosen));
        CONTINUE WHEN room <= 0;

        IF used[n] + spent[n] >= allowed THEN
          blocked[n] := 1;
          CONTINUE;
        END IF;
        IF spec IS NULL THEN
          picked := ARRAY(
            SELECT front.id FROM unnest(after_priorities, after_moments, after_ids, below)
                AS part(priority, moment, id, below)
              CROSS JOIN LATERAL (
                SELECT j.id FROM {schema}.oban_jobs j
                 WHERE j.state = 'available' AND j.queue = of_queue AND j.partition IS NULL
                   AND (j.priority, j.scheduled_at, j.id) > (part.priority, part.moment::timestamp, part.id)
                   AND j.priority < part.below
                 ORDER BY j.priority, j.scheduled_at, j.id LIMIT room FOR UPDATE OF j SKIP LOCKED) front
             LIMIT room);
        ELSE
          picked := ARRAY(
            SELECT j.id FROM {schema}.oban_jobs j
             WHERE j.state = 'available' AND j.queue = of_queue AND j.partition IS NOT NULL AND j.partition = next_lane
               AND j.id <> ALL(chosen)
             ORDER BY j.priority, j.scheduled_at, j.id LIMIT room FOR UPDATE SKIP LOCKED);
        END IF;
        IF rate IS NULL THEN
          chosen := chosen || picked;
          CONTINUE;
        END IF;
        -- In their order, and the first that does not fit keeps the others back: or the heavy would wait for ever.
        FOR one IN
          SELECT j.id, CASE WHEN j.attempt >= j.max_attempts THEN 0
                            ELSE least(greatest(coalesce(j.weight, 1), 1), allowed) END AS weight
            FROM unnest(picked) WITH ORDINALITY AS pick(id, place) JOIN {schema}.oban_jobs j ON j.id = pick.id
           ORDER BY pick.place
        LOOP
          IF used[n] + spent[n] + one.weight > allowed THEN
            blocked[n] := one.weight;
            EXIT;
          END IF;
          chosen := chosen || one.id;
          spent[n] := spent[n] + one.weight;
        END LOOP;
        IF used[n] + spent[n] >= allowed THEN
          blocked[n] := greatest(blocked[n], 1);
        END IF;
      END LOOP;

      RETURN QUERY
        UPDATE {schema}.oban_jobs j
           SET state = (CASE WHEN j.attempt >= j.max_attempts THEN 'discarded' ELSE 'executing'
                        END)::{schema}.oban_job_state,
               attempt = CASE WHEN j.attempt >= j.max_attempts THEN j.attempt ELSE j.attempt + 1 END,
               discarded_at = CASE WHEN j.attempt >= j.max_attempts THEN timezone('UTC', clock_timestamp())
                                   ELSE j.discarded_at END,
               attempted_at = timezone('UTC', clock_timestamp()),
               attempted_by = holder,
               partition = coalesce(j.partition, ''),
               featured = true
         WHERE j.id = ANY(chosen)
        RETURNING j.id, j.state::text, j.worker, j.attempt::integer, j.max_attempts::integer, j.priority::integer,
          j.attempted_at::timestamp, j.scheduled_at::text, j.inserted_at::text, j.args::text, j.meta::text,
          to_jsonb(j.errors)::text, j.tags, NULL::text, NULL::boolean, NULL::boolean, NULL::double precision;
      FOR i IN 1 .. cardinality(seen) LOOP
        IF spent[i] > 0 THEN
          PERFORM {schema}.oban_rate_spend(of_queue, seen[i], spent[i], used[i], rate);
        END IF;
        IF blocked[i] > 0 THEN
          soonest := least(soonest,
            (SELECT r.wait FROM {schema}.oban_rate_of(of_queue, seen[i], blocked[i], rate) r));
        END IF;
      END LOOP;
      -- Nobody was rung for slots that the statement itself has freed, if they are in use again. With partitions they
      -- may be those of another, which somebody waits for.
      IF freed > 0 AND (spec IS NOT NULL OR cardinality(chosen) < freed) THEN
        PERFORM {schema}.oban_ring(of_queue);
      END IF;
      lane := at_lane;
      wrapped := has_wrapped;
      more := unfinished;
      wait := soonest;
      id := NULL;
      RETURN NEXT;
    END
    $oban$
    """,
)
