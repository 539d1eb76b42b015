import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from sqla_oban.cli.operating.listing import listing, summary
from sqla_oban.control.watch.browsing import JobSummary
from sqla_oban.states import JobState

NOW = datetime(2026, 11, 25, 14, 0, tzinfo=UTC).timestamp()


def job(**fields: Any) -> JobSummary:
    given = {"id": 12_345, "state": JobState.COMPLETED, "queue": "default", "worker": "shop.app.charge"}
    counted = {"attempt": 1, "max_attempts": 20, "priority": 0, "tags": ()}
    told = {"node": "web-1.example.com.4711", "args": '{"order": {"pk": [1], "$entity": "Order"}}', "error": None}
    return JobSummary(**{**given, **counted, **told, "moments": {"scheduled_at": NOW - 60}, "now": NOW, **fields})


def printed(*jobs: JobSummary, width: int = 80) -> list[str]:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(listing(jobs, width), crop=False)
    assert isinstance(console.file, io.StringIO)
    return [line for line in console.file.getvalue().splitlines() if line.strip()][2:]


@pytest.mark.parametrize("length", [15, 60, 120])
def test_a_job_takes_one_line_in_which_only_the_end_is_cut(length: int) -> None:
    worker = "w" * length
    [line] = printed(job(worker=worker))
    assert line.split()[:6] == ["12345", "completed", "default", worker, "1/20", "13:59:00"]
    assert line.rstrip().endswith("…")
    assert len(line) == max(80, length + 63)


def test_a_wide_line_has_the_node_the_whole_moment_and_the_arguments() -> None:
    [line] = printed(job(), width=160)
    assert '  2026-11-25 13:59:00  web-1.example.com.4711  {"order": {"pk": [1], "$entity": "Order"}} ' in line


@pytest.mark.parametrize(
    ("moment", "told"),
    [(NOW + 86_400, "11-26 14:00"), (NOW + 86_400 * 365, "2027-11-25"), (None, "-"), (1e20, "beyond the calendar")],
)
def test_a_moment_is_as_short_as_it_is_clear(moment: float | None, told: str) -> None:
    assert f" {told} " in printed(job(moments={} if moment is None else {"scheduled_at": moment}))[0]


@pytest.mark.parametrize("state", [JobState.RETRYABLE, JobState.DISCARDED, JobState.CANCELLED])
def test_a_job_that_failed_shows_what_its_last_error_says(state: JobState) -> None:
    error = "ValueError: no"
    assert printed(job(state=state, error=error))[0].rstrip().endswith(" ValueError: no")
    assert "ValueError" not in printed(job(error=error), width=160)[0], "it went well in the end"


def test_programs_get_objects_and_moments_with_their_zone() -> None:
    made = summary(job())
    assert made["args"] == {"order": {"pk": [1], "$entity": "Order"}}
    assert (made["scheduled_at"], made["completed_at"]) == ("2026-11-25T13:59:00+00:00", None)
    number = '{"n": ' + "9" * 5_000 + "}"
    assert (summary(job(args=None))["args"], summary(job(args=number))["args"]) == (None, number)
