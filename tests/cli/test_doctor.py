import json
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from tests.cli.operating.conftest import Command, cli, connection

__all__ = ["cli", "connection"]  # fixtures

WORKER = """
from sqla_oban import job

@job(name="cli_doctor.known")
async def known() -> None: ...
"""


def test_a_quiet_database_is_well(cli: Command) -> None:
    done = cli("doctor", "--horizon", "86400")
    assert done.code == 0, done.out
    assert "nobody leads, since no node runs" in done.out


def test_what_is_wrong_is_told_with_its_remedy_and_by_the_exit_code(cli: Command, connection: Connection) -> None:
    connection.execute(text("INSERT INTO oban_jobs (worker, queue) VALUES ('w', 'lonely')"))
    done = cli("doctor", "--json")
    assert done.code == 1
    assert done.data["ok"] is False
    (found,) = [one for one in done.data["findings"] if one["ailment"] == "queue_without_node"]
    assert (found["verdict"], found["facts"]) == ("problem", {"queue": "lonely"})
    assert "-> add it to the queues of a node" in cli("doctor").out


def test_the_workers_of_an_application_are_known(
    cli: Command, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cli_doctor_workers.py").write_text(WORKER)
    monkeypatch.chdir(tmp_path)
    errors = json.dumps([{"error": "sqla_oban.errors.UnknownWorker: no worker is named 'cli_doctor.known' in this"}])
    connection.execute(
        text("INSERT INTO oban_jobs (worker, state, errors) VALUES ('cli_doctor.known', 'retryable', :errors)"),
        {"errors": errors},
    )
    done = cli("doctor", "--json", "--import", "cli_doctor_workers")
    (found,) = [one for one in done.data["findings"] if one["ailment"] == "unknown_worker"]
    assert "this application declares it" in found["remedy"]
