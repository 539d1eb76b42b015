import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import inspect

from sqla_oban import Job, JobState
from sqla_oban.errors import DeclarationError, InvalidJob, ObanError, UnknownOption, UnserialisableValue
from sqla_oban.models import JobMixin
from sqla_oban.settings import ExecutorKind
from sqla_oban.workers.options import DECLARABLE, JobDefaults, JobOptions, WorkerOptions, executor_kind

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
END_OF_THE_CALENDAR = datetime.max.replace(tzinfo=timezone(-timedelta(hours=5)))  # in UTC it has ended
OUT_OF_RANGE: dict[str, list[Any]] = {
    "priority": [-1, 10, 32_768, True, 1.0, "1", None],
    "max_attempts": [0, -1, 32_768, True, 2.5, "1", None],
    "queue": ["", " \t", "x" * 128, 5, None],
    "tags": ["text", 5, [5], [None], None],
    "meta": [[], "text", 5, None],
    "schedule_in": [-1, math.nan, math.inf, True, "60", None, timedelta(-1), timedelta.max],
    "weight": [0, -1, 1_000_001, True, 1.5, "1", None],
    "scheduled_at": [NOON.replace(tzinfo=None), "2030-01-01", 5, None, NOON.date(), END_OF_THE_CALENDAR],
}


def with_options(**options: Any) -> JobDefaults:
    return JobDefaults().with_options(options, "it")


def made(**options: Any) -> JobMixin:
    return with_options(**options).make("w", {})


def test_a_job_without_options_leaves_everything_to_the_table() -> None:
    job = JobDefaults().make("shop.send", {"a": 1})
    held = {column.key: vars(job)[column.key] for column in inspect(Job).column_attrs if column.key in vars(job)}
    assert held == {"worker": "shop.send", "args": {"a": 1}}


def test_options_become_fields_of_the_job() -> None:
    job = made(queue="q", priority=9, max_attempts=1, tags=[" A ", "a", "b", ""], meta={"k": (1,)})
    assert (job.queue, job.priority, job.max_attempts, job.tags, job.meta) == ("q", 9, 1, ["a", "b"], {"k": [1]})


@pytest.mark.parametrize("delay", [60, 60.0, timedelta(minutes=1)])
def test_a_relative_delay_makes_a_scheduled_job(delay: Any) -> None:
    job = made(schedule_in=delay)
    assert job.state is JobState.SCHEDULED
    assert with_options(schedule_in=delay).schedule_in == timedelta(minutes=1)


def test_an_absolute_moment_makes_a_scheduled_job() -> None:
    job = made(scheduled_at=NOON)
    assert (job.state, job.scheduled_at) == (JobState.SCHEDULED, NOON)


def test_a_moment_is_either_relative_or_absolute() -> None:
    with pytest.raises(InvalidJob, match="it takes schedule_in or scheduled_at, not both"):
        with_options(schedule_in=1, scheduled_at=NOON)


@pytest.mark.parametrize(
    ("first", "second"),
    [({"schedule_in": 1}, {"scheduled_at": NOON}), ({"scheduled_at": NOON}, {"schedule_in": 1})],
    ids=["absolute-last", "relative-last"],
)
def test_the_later_word_about_the_moment_counts(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert with_options(**first).with_options(second, "it") == with_options(**second)


def test_later_options_replace_earlier_ones_and_leave_the_rest() -> None:
    first = with_options(queue="a", tags=["x"], schedule_in=5)
    second = first.with_options({"queue": "b"}, "it")
    assert second == with_options(queue="b", tags=["x"], schedule_in=5)
    assert first.queue == "a"


@pytest.mark.parametrize(
    ("option", "value"),
    [(option, value) for option, values in OUT_OF_RANGE.items() for value in values],
    ids=repr,
)
def test_a_value_out_of_range_is_refused_by_the_name_of_its_option(option: str, value: object) -> None:
    with pytest.raises(InvalidJob, match=rf"^{option} m"):
        with_options(**{option: value})


@pytest.mark.parametrize("option", OUT_OF_RANGE)
def test_a_value_that_cannot_even_be_shown_is_refused_the_same(option: str) -> None:
    with pytest.raises(InvalidJob, match=rf"^{option} m.*, got a int that cannot be shown$"):
        with_options(**{option: 10**5_000})


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"queue": "a\x00"}, InvalidJob),
        ({"tags": ["\ud800"]}, InvalidJob),
        ({"meta": {"a": {1}}}, UnserialisableValue),
        ({"meta": {1: 2}}, UnserialisableValue),
        ({"meta": {"a": math.nan}}, UnserialisableValue),
    ],
    ids=ascii,
)
def test_what_cannot_be_stored_is_refused(options: dict[str, Any], error: type[ObanError]) -> None:
    with pytest.raises(error):
        with_options(**options)


@pytest.mark.parametrize(
    ("option", "value"), [("priority", 0), ("priority", 9), ("max_attempts", 32_767), ("queue", "x" * 127)]
)
def test_the_ends_of_a_range_are_accepted(option: str, value: object) -> None:
    assert getattr(with_options(**{option: value}), option) == value


def test_later_changes_to_meta_and_tags_do_not_leak_into_jobs() -> None:
    meta, tags = {"a": [1]}, ["x"]
    defaults = with_options(meta=meta, tags=tags)
    first = defaults.make("w", {})
    meta["a"].append(2)
    tags.append("y")
    first.meta["b"] = 3
    first.tags.append("z")
    second = defaults.make("w", {})
    assert (second.meta, second.tags) == ({"a": [1]}, ["x"])


def test_an_option_that_does_not_exist_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(UnknownOption, match="it has no option 'scheduled_in'; did you mean 'schedule"):
        with_options(scheduled_in=5)


def test_the_typed_options_are_those_that_are_checked() -> None:
    assert {*WorkerOptions.__annotations__, "model"} == DECLARABLE
    with pytest.raises(UnknownOption) as refused:
        with_options(qqqqqq=1)
    assert all(option in str(refused.value) for option in JobOptions.__annotations__)


@pytest.mark.parametrize(
    ("asked", "asynchronous", "kind"),
    [
        (None, True, ExecutorKind.ASYNC),
        (None, False, ExecutorKind.THREAD),
        ("async", True, ExecutorKind.ASYNC),
        ("thread", False, ExecutorKind.THREAD),
        ("process", True, ExecutorKind.PROCESS),
        ("process", False, ExecutorKind.PROCESS),
    ],
)
def test_a_worker_runs_where_its_kind_belongs(asked: str | None, asynchronous: bool, kind: ExecutorKind) -> None:
    assert executor_kind(asked, asynchronous=asynchronous, where="w") is kind


@pytest.mark.parametrize(
    ("asked", "asynchronous", "message"),
    [
        ("thread", True, "w is an async worker, which runs with executor='async'"),
        ("async", False, "w is a sync worker, which runs with executor='thread'"),
        ("fiber", False, "w: executor must be one of async, thread, process, got 'fiber'"),
        ("", True, "w: executor must be one of"),
    ],
)
def test_an_executor_that_does_not_suit_is_refused(asked: str, asynchronous: bool, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        executor_kind(asked, asynchronous=asynchronous, where="w")
