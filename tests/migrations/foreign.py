"""Tables that other Oban libraries made, and all that can be told of a database."""

import subprocess
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text

from tests.interop.environment import python_with

ELIXIR = """
CREATE TYPE oban_job_state AS ENUM
  ('available', 'suspended', 'scheduled', 'executing', 'retryable', 'completed', 'discarded', 'cancelled');
CREATE TABLE oban_jobs (
  id bigserial PRIMARY KEY,
  state oban_job_state NOT NULL DEFAULT 'available',
  queue text NOT NULL DEFAULT 'default',
  worker text NOT NULL,
  args jsonb NOT NULL DEFAULT '{}',
  errors jsonb[] NOT NULL DEFAULT ARRAY[]::jsonb[],
  attempt integer NOT NULL DEFAULT 0,
  max_attempts integer NOT NULL DEFAULT 20,
  inserted_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
  scheduled_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
  attempted_at timestamp,
  completed_at timestamp,
  attempted_by text[],
  discarded_at timestamp,
  priority integer NOT NULL DEFAULT 0,
  tags text[] DEFAULT ARRAY[]::text[],
  meta jsonb DEFAULT '{}',
  cancelled_at timestamp,
  CONSTRAINT attempt_range CHECK (attempt >= 0 AND attempt <= max_attempts),
  CONSTRAINT positive_max_attempts CHECK (max_attempts > 0),
  CONSTRAINT queue_length CHECK (char_length(queue) > 0 AND char_length(queue) < 128),
  CONSTRAINT worker_length CHECK (char_length(worker) > 0 AND char_length(worker) < 128)
);
ALTER TABLE oban_jobs ADD CONSTRAINT non_negative_priority CHECK (priority >= 0) NOT VALID;
CREATE INDEX oban_jobs_state_queue_priority_scheduled_at_id_index
  ON oban_jobs (state, queue, priority, scheduled_at, id);
CREATE INDEX oban_jobs_args_index ON oban_jobs USING gin (args);
CREATE INDEX oban_jobs_meta_index ON oban_jobs USING gin (meta);
CREATE INDEX oban_jobs_state_cancelled_at_index ON oban_jobs (state, cancelled_at);
CREATE INDEX oban_jobs_state_discarded_at_index ON oban_jobs (state, discarded_at);
CREATE UNLOGGED TABLE oban_peers (
  name text PRIMARY KEY,
  node text NOT NULL,
  started_at timestamp NOT NULL,
  expires_at timestamp NOT NULL
);
COMMENT ON TABLE oban_jobs IS '14';
INSERT INTO oban_peers VALUES ('Oban', 'app@host', now(), now());
INSERT INTO oban_jobs (worker, tags, meta, errors, attempted_by) VALUES
  ('App.Mailer', '{a,b}', '{"n": 1}', ARRAY['{"at": "2026-01-01T00:00:00Z", "error": "e", "attempt": 1}'::jsonb],
    '{n}'),
  ('App.Other', NULL, NULL, DEFAULT, NULL);
"""
"""As version 14 of Oban for Elixir leaves it, with the odd NULLs that its columns allow."""

JOBS_OF_OBAN_PY = """
INSERT INTO oban_jobs (worker, queue, tags, state) VALUES
  ('app.mail', 'default', '{tags}', 'available'), ('app.old', repeat('q', 200), DEFAULT, 'completed');
INSERT INTO oban_producers (uuid, node, queue) VALUES (gen_random_uuid(), 'n', 'default');
INSERT INTO oban_leaders (name, node, elected_at, expires_at) VALUES ('Oban', 'n', now(), now());
"""
"""With a queue whose name is longer than ours may be."""


def made_by_elixir(connection: Connection) -> None:
    _run(connection, ELIXIR)


def made_by_oban_py(release: str, tags: str) -> Callable[[Connection], None]:
    """What makes the tables by oban.py's own SQL, and jobs with two tags, written in the release's own way."""

    def make(connection: Connection) -> None:
        ask = "from oban.schema import install_sql; print(install_sql())"
        python = python_with(f"oban=={release}.*")
        sql = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout
        _run(connection, sql + JOBS_OF_OBAN_PY.replace("{tags}", tags))

    return make


FOREIGN: dict[str, Callable[[Connection], None]] = {
    "elixir": made_by_elixir,
    "oban.py 0.5": made_by_oban_py("0.5", '["a [1]", "b\\n\\"c\\""]'),
    "oban.py 0.6": made_by_oban_py("0.6", '{a,"b c"}'),
    "oban.py 0.7": made_by_oban_py("0.7", '{a,"b c"}'),
}
TAGS = {"elixir": ["a", "b"], "oban.py 0.5": ["a [1]", 'b\n"c"']}

PARTS = """
    WITH home AS (SELECT 'public'::regnamespace::oid)
    SELECT 'column' AS kind, attrelid::regclass::text AS a, attname AS b, format_type(atttypid, atttypmod) AS c,
           attnotnull || attidentity::text AS d, pg_get_expr(adbin, adrelid) AS e
      FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
      LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE relnamespace = (TABLE home) AND attnum > 0 AND NOT attisdropped
    UNION ALL SELECT 'relation', relname, relkind::text, relpersistence::text, reloptions::text,
           obj_description(oid, 'pg_class')
      FROM pg_class WHERE relnamespace = (TABLE home)
    UNION ALL SELECT 'index', pg_get_indexdef(indexrelid), indisvalid::text, '', '', ''
      FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relnamespace = (TABLE home)
    UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint'), '', ''
      FROM pg_constraint WHERE connamespace = (TABLE home)
    UNION ALL SELECT 'function', pg_get_functiondef(oid), '', '', '', '' FROM pg_proc WHERE pronamespace = (TABLE home)
    UNION ALL SELECT 'trigger', pg_get_triggerdef(t.oid), '', '', '', ''
      FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE relnamespace = (TABLE home)
    UNION ALL SELECT 'label', typname, enumlabel, enumsortorder::text, '', ''
      FROM pg_enum JOIN pg_type t ON t.oid = enumtypid WHERE typnamespace = (TABLE home)
    ORDER BY 1, 2, 3, 4, 5, 6
"""


def everything_in(connection: Connection) -> list[Any]:
    """Every part of the schema `public`, with comments and options, and every row of the Oban libraries."""
    parts: list[Any] = list(connection.execute(text(PARTS.replace(":", r"\:"))))
    for table in ("oban_jobs", "oban_peers", "oban_producers", "oban_leaders"):
        if connection.scalar(text("SELECT to_regclass(:table)"), {"table": table}):
            rows = f"SELECT to_jsonb(one) FROM {table} one ORDER BY one::text"
            parts += [(table, *row) for row in connection.execute(text(rows.replace(":", r"\:")))]
    return parts


def _run(connection: Connection, sql: str) -> None:
    cursor = connection.connection.cursor()
    cursor.execute(sql)  # as it is: no parameters, no escapes
