"""Wrong uses of the public surface: mypy and pyright must report each line that says so, and no other."""

from decimal import Decimal
from typing import assert_type

from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import Cancel, Job, QueueConfig, Snooze, SqlaOban, current_job, job, worker
from tests.typing.api import Export, Index, Order, Transcode, archive, send, ship, shrink


def arguments_of_a_call_and_of_new_are_those_of_the_function() -> None:
    send.new()  # wrong: an argument is missing
    send.new("1")  # wrong: it takes an int
    send.new(1, "de")  # wrong: keyword only
    send.new(1, language="de")  # wrong: no such argument
    shrink.new(path="a.png")  # wrong: positional only
    shrink("a.png", "wide")  # wrong: it takes an int
    shrink.new(1)  # wrong: it takes a str


def rows_and_what_is_provided_are_checked() -> None:
    ship.new(7, Decimal(1))  # wrong: it takes the row
    ship.new(Order(), "1.5")  # wrong: it takes a Decimal
    ship.new(None, Decimal(1))  # wrong: it may not be None
    archive.new("book")  # wrong: it takes the row


def options_are_checked_by_name_and_type() -> None:
    send.with_options(prioritty=1)  # wrong: no such option
    send.with_options(priority="high")  # wrong: it takes an int
    send.with_options(schedule_in="60")  # wrong: it takes seconds or a timedelta
    send.with_options(scheduled_at="2030-01-01")  # wrong: it takes a datetime
    send.with_options(backoff=lambda one: 5.0)  # wrong: an option of the declaration


def options_and_arguments_of_a_classs_jobs_are_checked() -> None:
    Transcode.new({"path": "a.mp4"}, prioritty=1)  # wrong: no such option
    Transcode.new({"path": "a.mp4"}, priority="high")  # wrong: it takes an int
    Transcode.new({"path": "a.mp4"}, schedule_in="60")  # wrong: it takes seconds or a timedelta
    Transcode.new({"path": "a.mp4"}, backoff=5.0)  # wrong: an option of the declaration
    Transcode.new([1])  # wrong: it takes a mapping
    Transcode.new(path="a.mp4")  # wrong: arguments are one object
    Transcode.new(args={})  # wrong: positional only
    Transcode().new([1])  # wrong: it takes a mapping
    Index.new({}, queue=5)  # wrong: it takes a str
    Export.new({}, prioritty=1)  # wrong: no such option
    assert_type(Index.new(), Index)  # wrong: it makes a job


def declarations_are_checked() -> None:
    @job(priority="high")  # wrong: it takes an int
    def wrong_priority() -> None: ...

    @job(schedule_in=60)  # wrong: an option of a job
    def wrong_moment() -> None: ...

    @worker(backof=1.0)  # wrong: no such option
    class Misspelt:
        def process(self, job: Job) -> None: ...

    @job(backoff=lambda one: "soon")  # wrong: it returns seconds
    def wrong_backoff() -> None: ...


def outcomes_and_settings_are_typed(engine: AsyncEngine) -> None:
    Snooze("60")  # wrong: it takes seconds or a timedelta
    Cancel()  # wrong: it takes a reason
    QueueConfig(limit="ten")  # wrong: it takes an int
    SqlaOban(engine, queues=["default"])  # wrong: it takes a mapping
    SqlaOban("postgresql://")  # wrong: it takes an engine
    current_job().attempt = "2"  # wrong: it is an int
    Job(args={})  # wrong: it needs a worker
