"""The command line of alembic, on the host environment in `alembic/`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import URL, inspect, text

from sqla_oban.migrations import current_version
from tests.migrations.database import begun, things_in

ROOT = Path(__file__).parents[2]


def alembic(*arguments: str, url: URL | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    given = () if url is None else ("-x", f"url={url.render_as_string(hide_password=False)}")
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "alembic", *given, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def run(url: URL | None, *arguments: str) -> str:
    done = alembic(*arguments, url=url)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_history_goes_up_is_in_agreement_with_the_models_goes_down_without_trace_and_up_again(url: URL) -> None:
    run(url, "upgrade", "head")
    assert "No new upgrade operations detected" in run(url, "check")
    with begun(url) as connection:
        assert current_version(connection) == 1
        assert {"orders", "oban_jobs", "oban_peers", "oban_producers"} < set(inspect(connection).get_table_names())

    run(url, "downgrade", "base")
    with begun(url) as connection:
        assert {"alembic_version"} == set(inspect(connection).get_table_names())
        connection.execute(text("DROP TABLE alembic_version"))
        assert things_in(connection) == []

    run(url, "upgrade", "head")
    assert "No new upgrade operations detected" in run(url, "check")


def test_the_host_says_that_it_needs_an_address() -> None:
    done = alembic("upgrade", "head", url=None)

    assert done.returncode != 0
    assert "alembic -x url=" in done.stdout + done.stderr


@pytest.mark.parametrize("direction", ["upgrade", "downgrade"])
def test_a_script_without_a_database_does_the_same(url: URL, direction: str) -> None:
    up, down = (run(None, *way, "--sql") for way in (("upgrade", "head"), ("downgrade", "head:base")))
    with begun(url) as connection:
        connection.exec_driver_sql(up)
        assert current_version(connection) == 1
        if direction == "downgrade":
            connection.exec_driver_sql(down)
            connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
            assert things_in(connection) == []
