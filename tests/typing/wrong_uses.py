"""Wrong uses of the public surface: mypy and pyright must report each line that says so, and no other."""

from decimal import Decimal
from typing import assert_type

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import Cancel, Job, JobState, QueueConfig, Snooze, SqlaOban, current_job, job, make_models, worker
from tests.typing.api import (
    Base,
    Export,
    Index,
    Order,
    Remind,
    TenantJob,
    Transcode,
    archive,
    bill,
    send,
    ship,
    shrink,
)


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


def models_are_checked(engine: AsyncEngine) -> None:
    @job(model=Order)  # wrong: it takes a class of jobs
    def wrong_model() -> None: ...

    @job(model=TenantJob, backoff=lambda one: one.tenantt)  # wrong: it has no such column
    def wrong_column() -> None: ...

    bill.new("1")  # wrong: it takes an int
    bill.with_options(model=Order)  # wrong: it takes a class of jobs
    bill.new(1).tenant = 5  # wrong: it is a str
    send.new(1).tenant = "acme"  # wrong: it is a Job
    Remind.new({}, model=Order)  # wrong: it takes a class of jobs
    Remind.new({}, prioritty=1)  # wrong: no such option
    assert_type(Remind.new({}), Job)  # wrong: it makes a TenantJob
    make_models("Base")  # wrong: it takes a base
    make_models(Base, prefix="x_")  # wrong: the tables' names are Oban's
    SqlaOban(engine, models=TenantJob)  # wrong: it takes Models
    select(Job).where(Job.stat == JobState.DISCARDED)  # wrong: no such column
    Job(worker="w").state = "lost"  # wrong: it is a JobState


def outcomes_and_settings_are_typed(engine: AsyncEngine) -> None:
    Snooze("60")  # wrong: it takes seconds or a timedelta
    Cancel()  # wrong: it takes a reason
    QueueConfig(limit="ten")  # wrong: it takes an int
    SqlaOban(engine, queues=["default"])  # wrong: it takes a mapping
    SqlaOban("postgresql://")  # wrong: it takes an engine
    current_job().attempt = "2"  # wrong: it is an int
    Job(args={})  # wrong: it needs a worker
