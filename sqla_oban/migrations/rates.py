"""What was used of a rate, and when it has room again."""

RATES = (
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_limit_lock(name text) RETURNS void LANGUAGE sql AS $oban$
      SELECT pg_advisory_xact_lock(hashtextextended('limits ' || name, {jobs_literal}::regclass::oid::bigint))
    $oban$
    """,
    # What of a rate is in use at a moment, and how long until `weight` more will fit. A moment that is yet to come was
    # written by a clock that has been put back since: it counts as this one.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_rate(moments timestamp[], units double precision[], moment timestamp,
      weight double precision, rate jsonb, OUT used double precision, OUT wait double precision)
    LANGUAGE plpgsql IMMUTABLE AS $oban$
    DECLARE
      allowed double precision := (rate ->> 'allowed')::double precision;
      period double precision := (rate ->> 'period')::double precision;
      epoch double precision := extract(epoch FROM moment);
      start double precision := CASE rate ->> 'algorithm' WHEN 'fixed' THEN floor(epoch / period) * period END;
      last double precision;
      at double precision;
      freed double precision := 0;
    BEGIN
      used := 0;
      wait := 0;
      IF rate ->> 'algorithm' = 'bucket' THEN
        FOR i IN 1 .. coalesce(cardinality(moments), 0) LOOP
          at := least(extract(epoch FROM moments[i]), epoch);
          used := greatest(0, used - (at - last) * allowed / period) + units[i];
          last := at;
        END LOOP;
        used := greatest(0, used - (epoch - last) * allowed / period);
        wait := greatest(0, (used + weight - allowed) * period / allowed);
        RETURN;
      END IF;
      FOR i IN 1 .. coalesce(cardinality(moments), 0) LOOP
        at := least(extract(epoch FROM moments[i]), epoch);
        used := used + CASE WHEN at >= start OR (start IS NULL AND at > epoch - period) THEN units[i] ELSE 0 END;
      END LOOP;
      IF used + weight > allowed THEN
        wait := start + period - epoch;
        FOR i IN 1 .. coalesce(cardinality(moments), 0) LOOP
          EXIT WHEN wait IS NOT NULL;
          at := least(extract(epoch FROM moments[i]), epoch);
          freed := freed + CASE WHEN at > epoch - period THEN units[i] ELSE 0 END;
          wait := CASE WHEN used - freed + weight <= allowed THEN at + period - epoch END;
        END LOOP;
      END IF;
    END
    $oban$
    """,
    # Writes down what was used until now. To be called with the lock, after what it was used for. Moments of the same
    # 64th of the period are kept as one, the latest of them: no row grows, and nothing is forgotten early.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_rate_spend(of_name text, of_partition text, spent double precision,
      before double precision, rate jsonb) RETURNS void LANGUAGE plpgsql AS $oban$
    DECLARE
      moment timestamp := timezone('UTC', clock_timestamp());
      period double precision := (rate ->> 'period')::double precision;
      held {schema}.oban_rates;
      kept timestamp[] := ARRAY[]::timestamp[];
      used double precision[] := ARRAY[]::double precision[];
      at timestamp;
      n integer;
    BEGIN
      IF rate ->> 'algorithm' = 'bucket' THEN
        kept := ARRAY[moment];
        used := ARRAY[before + spent];
      ELSE
        SELECT * INTO held FROM {schema}.oban_rates WHERE name = of_name AND partition = of_partition;
        FOR i IN 1 .. coalesce(cardinality(held.moments), 0) + 1 LOOP
          at := least(coalesce(held.moments[i], moment), moment);
          CONTINUE WHEN at <= moment - period * interval '1 second';
          n := cardinality(kept);
          IF n > 0 AND floor(extract(epoch FROM kept[n]) * 64 / period) = floor(extract(epoch FROM at) * 64 / period)
          THEN
            kept[n] := at;
            used[n] := used[n] + coalesce(held.units[i], spent);
          ELSE
            kept := kept || at;
            used := used || coalesce(held.units[i], spent);
          END IF;
        END LOOP;
      END IF;
      DELETE FROM {schema}.oban_rates WHERE (name, partition) IN (
        SELECT name, partition FROM {schema}.oban_rates WHERE expires_at < moment ORDER BY expires_at LIMIT 5
           FOR UPDATE SKIP LOCKED);
      INSERT INTO {schema}.oban_rates AS r (name, partition, moments, units, expires_at)
        VALUES (of_name, of_partition, kept, used, moment + period * interval '1 second')
        ON CONFLICT (name, partition) DO UPDATE
          SET moments = excluded.moments, units = excluded.units, expires_at = excluded.expires_at;
    END
    $oban$
    """,
    # The same of a stored rate; to be called with the lock. Where the clock was put back, so is the account: what was
    # used counts as used now, and not until the clock has caught up.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_rate_of(of_name text, of_partition text, weight double precision,
      rate jsonb, OUT used double precision, OUT wait double precision) LANGUAGE plpgsql AS $oban$
    DECLARE
      held {schema}.oban_rates;
      moment timestamp := timezone('UTC', clock_timestamp());
    BEGIN
      SELECT * INTO held FROM {schema}.oban_rates WHERE name = of_name AND partition = of_partition;
      SELECT r.used, r.wait INTO used, wait FROM {schema}.oban_rate(held.moments, held.units, moment, weight, rate) r;
      IF held.moments[cardinality(held.moments)] > moment + interval '1 second' THEN
        PERFORM {schema}.oban_rate_spend(of_name, of_partition, 0, used, rate);
      END IF;
    END
    $oban$
    """,
    # Uses `weight` if it is free, all or nothing; returns the seconds until it will be, 0 if it was.
    """
    CREATE OR REPLACE FUNCTION {schema}.oban_consume(of_name text, of_partition text, weight double precision,
      rate jsonb) RETURNS double precision LANGUAGE plpgsql AS $oban$
    DECLARE
      found record;
    BEGIN
      PERFORM {schema}.oban_limit_lock(of_name);
      SELECT * INTO found FROM {schema}.oban_rate_of(of_name, of_partition, weight, rate);
      IF found.wait = 0 THEN
        PERFORM {schema}.oban_rate_spend(of_name, of_partition, weight, found.used, rate);
      END IF;
      RETURN found.wait;
    END
    $oban$
    """,
)
