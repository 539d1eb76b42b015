from sqlalchemy import URL, text

from tests.examples.programs import EXAMPLES, run
from tests.migrations.database import begun

PROGRAM = "quickstart.py"


def test_it_is_short_enough_to_be_read() -> None:
    lines = (line.strip() for line in (EXAMPLES / PROGRAM).read_text().splitlines())
    assert len([line for line in lines if line and not line.startswith("#")]) <= 30


def test_it_needs_nothing_but_python_and_pip() -> None:
    assert run(PROGRAM) == "sent a receipt for ada@example.com\n"


def test_on_a_given_database_only_what_was_committed_is_left(url: URL) -> None:
    given = {"DATABASE_URL": url.render_as_string(hide_password=False)}

    assert run(PROGRAM, **given) == "sent a receipt for ada@example.com\n"

    with begun(url) as connection:
        assert connection.scalars(text("SELECT email FROM orders")).all() == ["ada@example.com"]
        assert connection.execute(text("SELECT args, state FROM oban_jobs")).all() == [
            ({"email": "ada@example.com"}, "completed")
        ]


def test_it_can_be_run_again(url: URL) -> None:
    given = {"DATABASE_URL": url.render_as_string(hide_password=False)}

    assert run(PROGRAM, **given) == run(PROGRAM, **given)
