import re

from sqlalchemy import URL

from tests.examples.programs import run

PROGRAM = "workflow.py"


def check(told: str) -> None:
    assert told.startswith("30 rows on 2026-11-25\n")
    assert len(re.findall(r"<br/>completed", told)) == 5


def test_it_reports_on_all_pages_of_a_database_that_it_makes_itself() -> None:
    check(run(PROGRAM))


def test_it_does_so_on_a_given_database_as_often_as_it_is_run(url: URL) -> None:
    given = {"DATABASE_URL": url.render_as_string(hide_password=False)}
    check(run(PROGRAM, **given))
    check(run(PROGRAM, **given))
