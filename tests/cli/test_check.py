import json
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import URL

from tests.cli.command import run

APP = """
import os

from sqlalchemy.ext.asyncio import create_async_engine

from sqla_oban import SqlaOban, job


@job(name="cli_check.mail", queue="mailers")
async def mail() -> None: ...


oban = SqlaOban(create_async_engine(os.environ["DATABASE"]), queues={"mailers": 5})
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with an application that is not installed."""
    (tmp_path / "cli_check_app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def migrated(url: str) -> str:
    """The address of a database with the tables."""
    assert run("migrate", "--url", url).returncode == 0
    return url


def test_a_database_as_it_should_be_is_well(migrated: str) -> None:
    done = run("check", "--url", migrated)
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"ok"}
    assert {"settings", "database", "server", "schema", "permissions", "notifications"} == {
        line.split()[1] for line in done.stdout.splitlines()
    }


def test_an_application_as_it_should_be_is_well(here: Path, migrated: str) -> None:
    done = check("--app", "cli_check_app:oban", cwd=here, DATABASE=with_driver(migrated))
    assert done.problems == []
    assert "declared: cli_check.mail" in done.messages
    assert "run here: mailers" in done.messages
    assert done.code == 0


def test_a_schema_of_its_own_can_be_checked(url: str) -> None:
    run("migrate", "--url", url, "--schema", "odd jobs: 100")
    assert check("--url", url, "--schema", "odd jobs: 100").problems == []


def test_a_database_that_is_behind_is_a_problem_with_the_way_out(url: str) -> None:
    done = check("--url", url)
    assert done.code == 1
    assert "the database has no sqla_oban tables" in done.problems[0]["message"]
    assert "sqla-oban migrate" in done.problems[0]["remedy"]


@pytest.mark.parametrize(
    ("harm", "message", "remedy"),
    [
        (
            "DROP INDEX oban_jobs_claim_index",
            "the index oban_jobs_claim_index is missing",
            "CREATE INDEX IF NOT EXISTS oban_jobs_c",
        ),
        (
            "DROP INDEX oban_jobs_claim_index; CREATE INDEX oban_jobs_claim_index ON oban_jobs (queue, id)",
            "the index oban_jobs_claim_index is on other columns: queue, id",
            "drop it, then CREATE INDEX",
        ),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'oban_jobs_claim_index'::regclass",
            "the index oban_jobs_claim_index is invalid",
            'REINDEX INDEX "public".oban_jobs_claim_index',
        ),
        ("DROP TABLE oban_crons", "the table oban_crons is missing", "migrate --sql --from 0"),
        ("ALTER TABLE oban_jobs DROP COLUMN meta CASCADE", "the column oban_jobs.meta is missing", "migrate --sql"),
        (
            "ALTER TABLE oban_crons ALTER COLUMN worker TYPE varchar(90)",
            "the column oban_crons.worker is of type character varying(90), not text",
            "migrate --sql",
        ),
        (
            "ALTER TABLE oban_peers ADD COLUMN mine text NOT NULL",
            "oban_peers has a column mine that is not ours and may not be NULL: inserts fail",
            "give it a default",
        ),
        ("DROP TRIGGER oban_jobs_wake ON oban_jobs", "the trigger oban_jobs_wake on oban_jobs is missing", "migrate"),
        (
            "ALTER TABLE oban_jobs DISABLE TRIGGER oban_jobs_wake",
            "the trigger oban_jobs_wake on oban_jobs is disabled",
            "ENABLE TRIGGER oban_jobs_wake",
        ),
        ("DROP FUNCTION oban_signal", "the function oban_signal is missing", "migrate --sql"),
        (
            "CREATE OR REPLACE FUNCTION oban_signal(notice jsonb) RETURNS void LANGUAGE sql AS 'SELECT'",
            "the function oban_signal was changed",
            "drop it",
        ),
        (
            "COMMENT ON CONSTRAINT oban_jobs_pkey ON oban_jobs IS 'sqla_oban:99'",
            "the database has version 99 of the sqla_oban tables",
            "pip install --upgrade sqla-oban",
        ),
        (
            "COMMENT ON CONSTRAINT oban_jobs_pkey ON oban_jobs IS NULL",
            "a table oban_jobs in schema public that is not of sqla_oban's making",
            "move it out of the way",
        ),
    ],
)
def test_a_part_that_is_missing_or_changed_is_a_problem_with_the_way_out(
    harm: str, message: str, remedy: str, migrated: str
) -> None:
    execute(migrated, harm)
    done = check("--url", migrated)
    assert done.code == 1
    assert any(message in one["message"] and remedy in one["remedy"] for one in done.problems), done.problems


def test_the_remedy_for_a_missing_index_is_one(migrated: str) -> None:
    execute(migrated, "DROP INDEX oban_jobs_staging_index")
    execute(migrated, check("--url", migrated).problems[0]["remedy"])
    assert check("--url", migrated).problems == []


def test_parts_of_others_are_noted_and_no_problem(migrated: str) -> None:
    execute(
        migrated,
        "ALTER TABLE oban_jobs ADD COLUMN mine text; CREATE TRIGGER theirs BEFORE UPDATE ON oban_jobs "
        "FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    )
    done = check("--url", migrated)
    assert done.code == 0
    assert {"oban_jobs has a column mine that is not ours", "oban_jobs has a trigger that is not ours, theirs"} <= set(
        done.messages
    )


def test_a_role_without_rights_is_told_which_and_how_it_gets_them(migrated: str, empty_database: URL) -> None:
    role = f"{empty_database.database}_role"
    address = empty_database.set(drivername="postgresql", username=role, password="secret")
    as_role = address.render_as_string(hide_password=False)
    execute(migrated, f"CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT SELECT ON oban_jobs TO {role}")
    execute(migrated, "REVOKE EXECUTE ON FUNCTION oban_ring FROM PUBLIC")
    try:
        done = check("--url", as_role)
        assert done.code == 1
        assert f"{role} may not INSERT, UPDATE, DELETE in oban_jobs" in done.messages
        assert f"{role} may not call oban_ring(text,boolean)" in done.messages

        for one in done.problems:
            execute(migrated, one["remedy"])

        assert check("--url", as_role).problems == []
        execute(as_role, "INSERT INTO oban_jobs (worker) VALUES ('w')")

        execute(migrated, "REVOKE USAGE ON SCHEMA public FROM PUBLIC")
        done = check("--url", as_role, "--schema", "public")
        assert [one["remedy"] for one in done.problems] == [f'GRANT USAGE ON SCHEMA "public" TO "{role}"']
    finally:
        execute(migrated, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_read_only_transactions_are_a_problem(migrated: str, empty_database: URL) -> None:
    execute(migrated, f"ALTER DATABASE {empty_database.database} SET default_transaction_read_only = on")
    done = check("--url", migrated)
    assert "transactions of" in done.problems[0]["message"]


def test_jobs_whose_worker_nobody_declares_are_a_problem(here: Path, migrated: str) -> None:
    execute(migrated, "INSERT INTO oban_jobs (worker, queue) VALUES ('gone', 'mailers'), ('else', 'elsewhere')")
    done = check("--app", "cli_check_app:oban", cwd=here, DATABASE=with_driver(migrated))
    assert done.code == 1
    assert [one["message"] for one in done.problems] == [
        "jobs wait for the worker gone, which nothing imported declares"
    ]


def test_entries_of_the_crontab_that_make_no_jobs_are_problems(here: Path, migrated: str) -> None:
    execute(
        migrated,
        "INSERT INTO oban_crons (name, expression, worker, paused, declared) VALUES "
        "('fine', '0 0 * * *', 'cli_check.mail', false, false), ('nightly', '0 0 * * *', 'lost', false, false), "
        "('never', 'nonsense', 'cli_check.mail', false, false), ('rests', 'nonsense', 'lost', true, false), "
        "('theirs', '0 0 * * *', 'other.mail', false, true)",
    )
    done = check("--app", "cli_check_app:oban", cwd=here, DATABASE=with_driver(migrated))
    assert done.code == 1
    never, nightly = [one["message"] for one in done.problems]
    assert never.startswith("the entry never makes no jobs: ")
    assert nightly == "the entry nightly is for the worker lost, which nothing imported declares"
    assert "the entry theirs stands in other code, or in none any more: it rests here" in done.messages


@pytest.mark.parametrize(
    ("entries", "verdict", "message"),
    [
        ("CronJob('@daily', mail.new())", "ok", "entries in code: cli_check.mail"),
        (
            "CronJob('@daily', Job(worker='lost'), name='daily')",
            "problem",
            "the entry daily is for the worker lost, which nothing imported declares",
        ),
    ],
)
def test_entries_of_the_crontab_in_code_are_looked_at(
    entries: str, verdict: str, message: str, here: Path, migrated: str
) -> None:
    app = "from cli_check_app import *\nfrom sqla_oban import Job\nfrom sqla_oban.workers.crontab import CronJob\n"
    (here / "cli_check_cron.py").write_text(f"{app}oban = oban.with_options(cron=[{entries}])\n")
    done = check("--app", "cli_check_cron:oban", cwd=here, DATABASE=with_driver(migrated))
    assert {"subject": "cron", "verdict": verdict, "message": message} in [
        {name: one[name] for name in ("subject", "verdict", "message")} for one in done.findings
    ]


def test_a_queue_of_a_worker_that_runs_elsewhere_is_noted(here: Path, migrated: str) -> None:
    done = check("--app", "cli_check_app:oban", "--queues", "other:1", cwd=here, DATABASE=with_driver(migrated))
    assert done.code == 0
    assert "jobs of cli_check.mail go to the queue mailers, which does not run here" in done.messages


def test_queues_without_any_worker_are_a_problem(migrated: str) -> None:
    done = check("--url", migrated, "--queues", "default:1")
    assert [one["message"] for one in done.problems] == ["no module that was imported declares a worker"]


def test_settings_that_cannot_be_read_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "sqla_oban.toml").write_text("quues = {}\n")
    done = check("--url", "postgresql://localhost/shop", cwd=tmp_path)
    assert [one["message"] for one in done.problems] == ["sqla_oban.toml has no option 'quues'; did you mean 'queues'?"]
    assert done.code == 1


def test_settings_that_do_not_fit_are_a_problem(here: Path, migrated: str) -> None:
    (here / "sqla_oban.toml").write_text("heartbeat.ttl = 1\n")
    done = check("--app", "cli_check_app:oban", cwd=here, DATABASE=with_driver(migrated))
    assert "the settings of heartbeat do not fit" in done.problems[0]["message"]


def test_an_application_that_is_not_to_be_had_is_a_problem(here: Path, migrated: str) -> None:
    done = check("--app", "cli_check_app:obna", cwd=here, DATABASE=with_driver(migrated))
    assert "did you mean 'oban'?" in done.problems[0]["message"]


@pytest.mark.parametrize("arguments", [("--url",), ("--app", "cli_check_app:oban")])
def test_a_database_that_is_not_there_is_a_problem_and_its_password_no_secret_lost(
    arguments: tuple[str, ...], here: Path
) -> None:
    address = "postgresql+asyncpg://me:secret@127.0.0.1:1/shop"
    given = (*arguments, address) if arguments == ("--url",) else arguments
    done = run("check", *given, cwd=here, DATABASE=address)
    assert done.returncode == 1
    assert "cannot connect to postgresql+asyncpg://me:***@127.0.0.1:1/shop" in done.stdout
    assert "secret" not in done.stdout + done.stderr


def test_what_an_application_prints_is_no_part_of_the_answer(here: Path, migrated: str) -> None:
    (here / "cli_check_chatty.py").write_text("print('hello')\nfrom cli_check_app import oban\n")
    done = check("--app", "cli_check_chatty:oban", cwd=here, DATABASE=with_driver(migrated))
    assert done.problems == []


def test_a_wrong_usage_is_told_from_a_problem(tmp_path: Path) -> None:
    for arguments in ((), ("--app", "shop"), ("--app", "a:b", "--url", "postgresql://localhost/shop"), ("--jsno",)):
        assert run("check", *arguments, cwd=tmp_path).returncode == 2


class Checked:
    """What a check said, as a program reads it."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        said = json.loads(done.stdout)
        self.code = done.returncode
        self.findings: list[dict[str, Any]] = said["findings"]
        self.messages = [one["message"] for one in self.findings]
        self.problems = [one for one in self.findings if one["verdict"] == "problem"]
        assert said["ok"] is (done.returncode == 0)


def check(*arguments: str, cwd: Path | None = None, **more: str) -> Checked:
    return Checked(run("check", "--json", *arguments, cwd=cwd, **more))


def with_driver(url: str) -> str:
    return url.replace("postgresql", "postgresql+asyncpg", 1)


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
