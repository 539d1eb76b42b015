import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import URL, text

from tests.migrations.database import begun

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.py"


def run(**environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    done = subprocess.run(
        [sys.executable, "-W", "error", QUICKSTART],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_it_is_short_enough_to_be_read() -> None:
    lines = (line.strip() for line in QUICKSTART.read_text().splitlines())
    assert len([line for line in lines if line and not line.startswith("#")]) <= 30


def test_it_needs_nothing_but_python_and_pip() -> None:
    assert run() == "sent a receipt for ada@example.com\n"


def test_on_a_given_database_only_what_was_committed_is_left(url: URL) -> None:
    given = {"DATABASE_URL": url.render_as_string(hide_password=False)}

    assert run(**given) == "sent a receipt for ada@example.com\n"

    with begun(url) as connection:
        assert connection.scalars(text("SELECT email FROM orders")).all() == ["ada@example.com"]
        assert connection.execute(text("SELECT args, state FROM oban_jobs")).all() == [
            ({"email": "ada@example.com"}, "completed")
        ]


def test_it_can_be_run_again(url: URL) -> None:
    given = {"DATABASE_URL": url.render_as_string(hide_password=False)}

    assert run(**given) == run(**given)
