"""Version 1 on tables that another Oban library made: oban.py 0.5 to 0.7, or Oban for Elixir from its version 14 on.

Two markers stand side by side and mean different things:

- the comment on the table `oban_jobs` is the other library's. Oban for Elixir keeps the number of its own migrations
  there (oban.py 0.5 and 0.6 wrote 1; 0.7 writes none). We neither set nor change nor go by it; the columns say whether
  a table can be adopted. It is read by name from all comments of that table, so no column of `oban_jobs` may ever
  have a comment: with two of them Oban for Elixir believes that there is no table.
- the comment on the primary key's constraint is ours: `sqla_oban:N` says that our version N was run in full, and
  `sqla_oban:0` that version 1 was begun. Without one, tables are another library's.

Each library migrates by its own marker, so both may go on to later versions. What we change is written down in
`oban_adopted` as the statement that takes it back, and the downgrade runs these, the last first. All that the others
need stays: every row, their indexes, `oban_leaders`, the types of their columns (`errors` is `jsonb[]` in Elixir's, and
`attempt` an integer), and their laxer checks. The exception is `tags` as `jsonb`, which oban.py has left behind
since 0.5; they become `text[]`, as its own upgrade to 0.6 makes them.
"""

from collections.abc import Iterable

FOREIGN_TABLES = frozenset({"oban_leaders", "oban_adopted"})
"""Beside our tables: oban.py's own, and what the downgrade needs."""

FOREIGN_NAMES = frozenset(
    {
        "oban_jobs_state_queue_priority_scheduled_at_id_index",
        "oban_jobs_args_index",
        "oban_jobs_meta_index",
        "oban_jobs_state_cancelled_at_index",
        "oban_jobs_state_discarded_at_index",
        "oban_jobs_staging_idx",
        "oban_jobs_unique_index",
    }
)
"""Indexes of other libraries on `oban_jobs`, as far as ours are called otherwise: they claim and look by them."""

MARKER = "sqla_oban:"
MARK = """(SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint
   WHERE contype = 'p' AND conrelid = to_regclass({jobs_literal}))"""
IS_OURS = f"coalesce(starts_with({MARK}, '{MARKER}'), false)"

OBSTACLE = f"""
SELECT 'the tables in schema ' || {{schema_literal}} || ' cannot be adopted: ' || string_agg(wrong, ', ')
    || ' (they must be as oban.py 0.5 to 0.7 or version 14 of Oban for Elixir makes them: run that library''s own '
    || 'migrations first, or let sqla_oban have another schema)'
  FROM (
    SELECT relname || ' has no column ' || wanted AS wrong
      FROM (VALUES
        ('oban_jobs', ARRAY['id', 'state', 'queue', 'worker', 'attempt', 'max_attempts', 'priority', 'args', 'meta',
          'tags', 'errors', 'attempted_by', 'inserted_at', 'scheduled_at', 'attempted_at', 'cancelled_at',
          'completed_at', 'discarded_at']),
        ('oban_peers', ARRAY['name', 'node', 'started_at', 'expires_at']),
        ('oban_producers', ARRAY['uuid', 'name', 'node', 'queue', 'meta', 'started_at', 'updated_at'])
      ) theirs (relname, columns)
      CROSS JOIN LATERAL unnest(columns) wanted
     WHERE to_regclass(quote_ident({{schema_literal}}) || '.' || relname) IS NOT NULL
       AND NOT EXISTS (
         SELECT FROM pg_attribute WHERE attrelid = to_regclass(quote_ident({{schema_literal}}) || '.' || relname)
            AND attname = wanted AND attnum > 0 AND NOT attisdropped)
    UNION ALL
    SELECT 'oban_jobs is not an ordinary table' FROM pg_class
     WHERE oid = to_regclass({{jobs_literal}}) AND relkind <> 'r'
    UNION ALL
    SELECT 'oban_jobs has no primary key oban_jobs_pkey'
     WHERE to_regclass({{jobs_literal}}) IS NOT NULL
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE contype = 'p' AND conname = 'oban_jobs_pkey'
                          AND conrelid = to_regclass({{jobs_literal}}))
    UNION ALL
    SELECT 'the type oban_job_state does not know the state suspended'
     WHERE to_regtype(quote_ident({{schema_literal}}) || '.oban_job_state') IS NOT NULL
       AND NOT EXISTS (SELECT FROM pg_enum WHERE enumlabel = 'suspended'
                          AND enumtypid = to_regtype(quote_ident({{schema_literal}}) || '.oban_job_state'))
    UNION ALL
    SELECT 'there is a table ' || name || ' that no marker of sqla_oban explains'
      FROM unnest(ARRAY['oban_queues', 'oban_crons', 'oban_rates', 'oban_workflows', 'oban_batches',
                        'oban_adopted']) name
     WHERE to_regclass(quote_ident({{schema_literal}}) || '.' || name) IS NOT NULL
  ) found
 WHERE NOT {IS_OURS}
HAVING count(*) > 0
"""  # noqa: S608  (all of it is ours)

BEGUN = f"""
DO $oban$ BEGIN
  IF NOT {IS_OURS} THEN
    COMMENT ON CONSTRAINT oban_jobs_pkey ON {{schema}}.oban_jobs IS '{MARKER}0';
  END IF;
END $oban$
"""


def take_over(indexes: Iterable[str], columns: Iterable[str], storage: Iterable[str]) -> str:
    """Changes foreign tables to what we need, and writes down how to undo that; does nothing where there are none.

    Args:
        indexes: the names of the indexes that are made next; those that are there are and stay theirs.
        columns: those that are added next, with their types.
        storage: the table's storage parameters; those that are set already stay as they are.
    """
    return (
        TAKE_OVER.replace("{index_names}", _array(indexes))
        .replace("{column_names}", _array(column.split()[0] for column in columns))
        .replace("{storage}", _array(storage))
        .replace("{ours}", IS_OURS)
        .replace("{mark}", MARK)
    )


def _array(texts: Iterable[str]) -> str:
    quoted = ", ".join(f"'{one}'" for one in texts)
    return f"ARRAY[{quoted}]::text[]"


TAKE_OVER = """
DO $oban$
DECLARE
  home text := quote_ident({schema_literal}) || '.';
  jobs regclass := to_regclass({jobs_literal});
  one record;
BEGIN
  IF jobs IS NULL OR {ours} THEN
    RETURN;
  END IF;
  CREATE TABLE {schema}.oban_adopted (
    step integer GENERATED ALWAYS AS IDENTITY CONSTRAINT oban_adopted_pkey PRIMARY KEY,
    undo text NOT NULL
  );
  INSERT INTO {schema}.oban_adopted (undo)
    SELECT 'COMMENT ON CONSTRAINT oban_jobs_pkey ON ' || home || 'oban_jobs IS ' || quote_nullable({mark});
  INSERT INTO {schema}.oban_adopted (undo)
    SELECT 'DROP TABLE IF EXISTS ' || home || name FROM unnest(ARRAY['oban_peers', 'oban_producers']) name
     WHERE to_regclass(home || name) IS NULL;
  INSERT INTO {schema}.oban_adopted (undo)
    SELECT 'DROP INDEX IF EXISTS ' || home || name FROM unnest({index_names}) name
     WHERE NOT EXISTS (SELECT FROM pg_index WHERE indrelid = jobs AND indexrelid = to_regclass(home || name));

  INSERT INTO {schema}.oban_adopted (undo)
    SELECT 'ALTER TABLE ' || home || 'oban_jobs DROP COLUMN IF EXISTS ' || name FROM unnest({column_names}) name
     WHERE name NOT IN (SELECT attname FROM pg_attribute WHERE attrelid = jobs AND NOT attisdropped);

  FOR one IN SELECT split_part(parameter, '=', 1) AS name, parameter FROM unnest({storage}) parameter
    WHERE split_part(parameter, '=', 1) NOT IN (
      SELECT option_name FROM pg_class, pg_options_to_table(reloptions) WHERE pg_class.oid = jobs)
  LOOP
    INSERT INTO {schema}.oban_adopted (undo)
      VALUES ('ALTER TABLE ' || home || 'oban_jobs RESET (' || one.name || ')');
    EXECUTE 'ALTER TABLE ' || home || 'oban_jobs SET (' || one.parameter || ')';
  END LOOP;

  IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = jobs AND attname = 'tags' AND atttypid = 'jsonb'::regtype) THEN
    INSERT INTO {schema}.oban_adopted (undo)
      VALUES ('ALTER TABLE ' || home || 'oban_jobs ALTER tags DROP DEFAULT, ALTER tags TYPE jsonb '
        || 'USING to_jsonb(tags), ALTER tags SET DEFAULT ''[]''');
    CREATE FUNCTION {schema}.oban_tags(tags jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE AS $tags$
      SELECT ARRAY(SELECT jsonb_array_elements_text(CASE jsonb_typeof(tags) WHEN 'array' THEN tags ELSE '[]' END))
    $tags$;
    ALTER TABLE {schema}.oban_jobs ALTER tags DROP DEFAULT,
      ALTER tags TYPE text[] USING {schema}.oban_tags(tags), ALTER tags SET DEFAULT ARRAY[]::text[];
    DROP FUNCTION {schema}.oban_tags(jsonb);
  END IF;

  -- An INSERT of ours leaves out what is empty.
  FOR one IN SELECT attname FROM pg_attribute WHERE attrelid = jobs AND attname = 'attempted_by' AND NOT atthasdef LOOP
    INSERT INTO {schema}.oban_adopted (undo)
      VALUES ('ALTER TABLE ' || home || 'oban_jobs ALTER attempted_by DROP DEFAULT');
    ALTER TABLE {schema}.oban_jobs ALTER attempted_by SET DEFAULT ARRAY[]::text[];
  END LOOP;

  -- What Oban for Elixir never leaves empty, though it could: with a NULL in them the outcome would get lost.
  UPDATE {schema}.oban_jobs SET meta = coalesce(meta, '{{}}'), tags = coalesce(tags, ARRAY[]::text[])
   WHERE meta IS NULL OR tags IS NULL;
  FOR one IN SELECT attname FROM pg_attribute
    WHERE attrelid = jobs AND attname IN ('meta', 'tags') AND NOT attnotnull
  LOOP
    INSERT INTO {schema}.oban_adopted (undo)
      VALUES ('ALTER TABLE ' || home || 'oban_jobs ALTER ' || one.attname || ' DROP NOT NULL');
    EXECUTE 'ALTER TABLE ' || home || 'oban_jobs ALTER ' || one.attname || ' SET NOT NULL';
  END LOOP;
END $oban$
"""

GIVE_BACK = """
  IF to_regclass(quote_ident({schema_literal}) || '.oban_adopted') IS NOT NULL THEN
    FOR one IN SELECT undo FROM {schema}.oban_adopted ORDER BY step DESC LOOP
      EXECUTE one.undo;
    END LOOP;
    DROP TABLE {schema}.oban_adopted;
    RETURN;
  END IF;
"""
