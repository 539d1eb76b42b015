import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import URL, text

from sqla_oban.migrations import migrate
from tests.cli.command import TIMEOUT, environment
from tests.examples.server import ROOT, running
from tests.migrations.database import begun


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_script_enqueues_and_ends_and_what_it_left_is_run_elsewhere(driver: str, url: URL, tmp_path: Path) -> None:
    with begun(url) as connection:
        migrate(connection)
    given = {"DATABASE_URL": url.set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)}
    script = [sys.executable, "-W", "error", "examples/script.py", "ada@example.com", "bob@example.com"]
    done = subprocess.run(script, cwd=ROOT, env=environment(**given), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "enqueued 2 jobs\n", "")

    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    log = tmp_path / "log"
    run = ("sqla-oban", "run", "--url", plain, "--import", "examples.script", "--queues", "mailers:10")
    with running(*run, log=log, **given):
        deadline = time.monotonic() + TIMEOUT
        while log.read_text().count("a newsletter for") < 2:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
    with begun(url) as connection:
        assert connection.execute(text("SELECT DISTINCT worker, state FROM oban_jobs")).all() == [
            ("newsletter.send", "completed")
        ]
