import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import job, telemetry
from sqla_oban.errors import ConfigurationError
from sqla_oban.states import JobState
from sqla_oban.telemetry import attach_logger, detach_logger, hidden, only, shown
from sqla_oban.telemetry.events import (
    AckReplaced,
    Beaten,
    CronTicked,
    Enqueued,
    JobFailed,
    JobFinished,
    JobsEnqueued,
    JobStarted,
    LeadershipGained,
    QueueStopped,
    RunnerStopped,
    SpanFinished,
)
from tests.support import Recorder, enqueue

STARTED: dict[str, Any] = {
    "node": "here",
    "id": 7,
    "queue": "mailers",
    "worker": "shop.send",
    "attempt": 1,
    "max_attempts": 20,
    "args": '{"user_id": 7, "token": "secret"}',
    "tags": ("a",),
    "waited": 0.25,
}
FAILED: dict[str, Any] = {
    "node": "here",
    "id": 7,
    "queue": "mailers",
    "worker": "shop.send",
    "attempt": 20,
    "max_attempts": 20,
    "seconds": 1.5,
    "kind": "ValueError",
    "message": "no such user",
    "traceback": "Traceback ...",
}


class Hostile:
    def __repr__(self) -> str:
        raise ValueError("no text")


ODD_VALUES: list[Any] = [
    Hostile(),
    object(),
    {1: {(2,): 3}},
    float("nan"),
    b"x",
    "\ud800",
    10**5_000,
    datetime(2026, 1, 1, tzinfo=UTC),
]


@job(name="log.work")
async def work(user_id: int) -> None:
    if user_id < 0:
        raise ValueError(f"no user {user_id}")


@pytest.fixture(autouse=True)
def detached(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    detach_logger()


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, Any]]]:
    """What was written: levels and the objects on the lines."""
    return [
        (record.levelname, json.loads(record.getMessage()))
        for record in caplog.records
        if record.name == "sqla_oban.telemetry"
    ]


def test_an_event_is_a_line_of_json(caplog: pytest.LogCaptureFixture) -> None:
    attach_logger()
    before = datetime.now(UTC)
    telemetry.emit(JobStarted(**STARTED))
    ((level, line),) = lines(caplog)
    assert level == "INFO"
    assert before <= datetime.fromisoformat(line.pop("time")) <= datetime.now(UTC)
    redacted = {"user_id": "[redacted]", "token": "[redacted]"}
    assert line == {"event": "job_started", **STARTED, "tags": ["a"], "args": redacted}


def test_an_event_is_a_line_of_text(caplog: pytest.LogCaptureFixture) -> None:
    attach_logger(format="text")
    telemetry.emit(JobStarted(**{**STARTED, "queue": "two words\n"}))
    (record,) = caplog.records
    assert record.getMessage() == (
        'job_started node=here id=7 queue="two words\\n" worker=shop.send attempt=1 max_attempts=20 '
        'args={"user_id": "[redacted]", "token": "[redacted]"} tags=["a"] waited=0.250'
    )


@pytest.mark.parametrize(
    ("args", "written"),
    [
        (hidden, {"user_id": "[redacted]", "token": "[redacted]"}),
        (shown, {"user_id": 7, "token": "secret"}),
        (only("user_id"), {"user_id": 7, "token": "[redacted]"}),
        (sorted, ["token", "user_id"]),
    ],
)
def test_of_arguments_is_written_what_was_asked_for(args: Any, written: Any, caplog: pytest.LogCaptureFixture) -> None:
    attach_logger(args=args)
    telemetry.emit(JobStarted(**STARTED))
    ((_, line),) = lines(caplog)
    assert line["args"] == written
    record: Any = caplog.records[0]
    assert record.sqla_oban["args"] == written  # and nothing else goes with the record


@pytest.mark.parametrize("stored", ["", "{", "[1]", '"secret"', "9" * 5000])
def test_arguments_that_are_no_object_are_not_shown(stored: str, caplog: pytest.LogCaptureFixture) -> None:
    attach_logger(args=shown)
    telemetry.emit(JobStarted(**{**STARTED, "args": stored}))
    ((_, line),) = lines(caplog)
    assert line["args"] == "[redacted]"


def test_a_redaction_that_fails_writes_nothing_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    attach_logger(args=lambda args: args["missing"])
    telemetry.emit(JobStarted(**STARTED))
    assert lines(caplog) == []
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (JobStarted(**STARTED), "WARNING"),
        (LeadershipGained(node="here"), "WARNING"),
        (Beaten(node="here"), "DEBUG"),
        (JobFailed(**FAILED, state=JobState.RETRYABLE), "WARNING"),
        (JobFailed(**FAILED, state=JobState.DISCARDED), "ERROR"),
        (AckReplaced(node="here", id=1, error="x"), "ERROR"),
        (RunnerStopped(node="here", unfinished=0), "WARNING"),
        (QueueStopped(node="here", queue="q", unfinished=()), "WARNING"),
    ],
)
def test_a_level_fits_the_event(event: Any, level: str, caplog: pytest.LogCaptureFixture) -> None:
    attach_logger(level="warning")
    telemetry.emit(event)
    assert [one for one, _ in lines(caplog)] == [level]


@pytest.mark.parametrize(
    "event", [RunnerStopped(node="here", unfinished=1), QueueStopped(node="here", queue="q", unfinished=(1,))]
)
def test_jobs_that_did_not_end_deserve_a_warning(event: Any, caplog: pytest.LogCaptureFixture) -> None:
    attach_logger()
    telemetry.emit(event)
    assert [one for one, _ in lines(caplog)] == ["WARNING"]


@pytest.mark.parametrize("format_", ["json", "text"])
@pytest.mark.parametrize("value", ODD_VALUES, ids=range(len(ODD_VALUES)))
def test_no_value_keeps_an_event_from_being_written(
    value: object, format_: str, caplog: pytest.LogCaptureFixture
) -> None:
    attach_logger(format=format_)
    cyclic: list[Any] = [value]
    cyclic.append(cyclic)
    for one in (value, cyclic):
        telemetry.emit(SpanFinished(node="here", name="span", data={"value": one}, seconds=1.0))
    written = [record.getMessage() for record in caplog.records]
    assert len(written) == 2
    assert all("span_finished" in line and "\n" not in line for line in written)
    if format_ == "json":
        assert [json.loads(line)["name"] for line in written] == ["span"] * 2


def test_only_the_kinds_that_were_asked_for_are_written(caplog: pytest.LogCaptureFixture) -> None:
    attach_logger(LeadershipGained, CronTicked)
    telemetry.emit(JobStarted(**STARTED))
    telemetry.emit(CronTicked(node="n", name="e", worker="w", ticks=(datetime(2026, 1, 1, tzinfo=UTC),), ids=(1,)))
    ((_, line),) = lines(caplog)
    assert (line["event"], line["ticks"]) == ("cron_ticked", ["2026-01-01T00:00:00+00:00"])


def test_of_many_jobs_that_were_enqueued_together_the_first_are_named(caplog: pytest.LogCaptureFixture) -> None:
    attach_logger()
    telemetry.emit(JobsEnqueued(node="n", jobs=tuple(Enqueued(number, "q", "w") for number in range(10_000))))
    ((_, line),) = lines(caplog)
    assert (line["count"], line["jobs"]) == (10_000, [[number, "q", "w"] for number in range(20)])


def test_attaching_again_replaces_and_detaching_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    attach_logger()
    attach_logger(logger="sqla_oban.telemetry", level=logging.ERROR)
    telemetry.emit(LeadershipGained(node="here"))
    assert [level for level, _ in lines(caplog)] == ["ERROR"]
    detach_logger()
    detach_logger()
    telemetry.emit(LeadershipGained(node="here"))
    assert len(caplog.records) == 1


@pytest.mark.parametrize("options", [{"level": "loud"}, {"format": "xml"}])
def test_a_wrong_option_is_refused_and_leaves_what_was_attached(options: Any, caplog: pytest.LogCaptureFixture) -> None:
    attach_logger()
    with pytest.raises(ConfigurationError, match="must be one of"):
        attach_logger(**options)
    telemetry.emit(LeadershipGained(node="here"))
    assert len(lines(caplog)) == 1


async def test_a_job_writes_its_way(
    engine: AsyncEngine, start: Any, events: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    attach_logger()
    await start(queues={"default": 5}, node="here")
    good, bad = await enqueue(engine, work.new(1), work.new(-1))
    await events.wait_for(JobFinished, count=2)
    told = {(line["event"], line.get("id")): (level, line) for level, line in lines(caplog)}
    level, failed = told["job_failed", bad]
    assert (level, failed["kind"], failed["state"]) == ("WARNING", "ValueError", "retryable")
    assert failed["message"] == "ValueError: no user -1"
    assert "Traceback" in failed["traceback"]
    assert told["job_started", good][1]["args"] == {"user_id": "[redacted]"}
    assert 0 <= told["job_started", good][1]["waited"] < 60
    assert told["job_finished", good][1]["state"] == "completed"
    assert told["jobs_enqueued", None][1]["jobs"] == [[good, "default", "log.work"], [bad, "default", "log.work"]]
