"""The commands behind a real PgBouncer in transaction mode."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url

from tests import pgbouncer
from tests.cli.command import run, running


@pytest.fixture
def migrated(url: str) -> str:
    """The address of a database with the tables."""
    assert run("migrate", "--url", url).returncode == 0
    return url


@pytest.fixture
def pooled(migrated: str) -> Iterator[str]:
    """The same, through a pooler."""
    with pgbouncer.bouncing(make_url(migrated)) as url:
        yield url.render_as_string(hide_password=False)


def test_check_says_that_notifications_are_swallowed_and_is_content_with_a_way_past(pooled: str, url: str) -> None:
    alone = run("check", "--url", with_psycopg(pooled))
    assert alone.returncode == 1
    assert "give the runner an address past it as listen_url" in alone.stdout
    both = run("check", "--url", with_psycopg(pooled), SQLA_OBAN_LISTEN_URL=url)
    assert both.returncode == 0, both.stdout


def test_a_listen_url_that_leads_elsewhere_is_a_problem(pooled: str, server_url: URL) -> None:
    elsewhere = server_url.render_as_string(hide_password=False)
    done = run("check", "--url", with_psycopg(pooled), "--listen-url", elsewhere)
    assert done.returncode == 1
    assert "listen_url must lead to the engine's own database" in done.stdout


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_a_plain_runner_takes_its_jobs_through_the_pooler_and_listens_past_it(
    driver: str, pooled: str, url: str, tmp_path: Path
) -> None:
    (tmp_path / "sqla_oban.toml").write_text("heartbeat.ttl = 60\nnotifier.timeout = 60\n")  # or the slow are deaf too
    through = make_url(pooled).set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)
    run_it = ("run", "--url", through, "--queues", "default:1", "--node", "web-1")
    with running(*run_it, cwd=tmp_path, SQLA_OBAN_LISTEN_URL=url) as process:
        process.read_until(" runs as node web-1, queues: default:1\n")
        process.process.terminate()
        code, complaint = process.end()
    assert code == 0, complaint
    assert "notifications do not arrive" not in process.said + complaint


def with_psycopg(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")
