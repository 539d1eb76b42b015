"""Metrics of a runner at work, as Prometheus reads them."""

from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState, SqlaOban, job, telemetry
from sqla_oban.observe import Survey, asgi
from sqla_oban.observe.measuring import MOST_NAMES, OTHERS
from sqla_oban.observe.prometheus import PrometheusMetrics
from sqla_oban.settings import LeaderSettings
from sqla_oban.telemetry.events import (
    AcksWritten,
    JobAbandoned,
    JobRescued,
    JobsPruned,
    JobStarted,
    LeadershipGained,
    LeadershipLost,
    ListenerUp,
    QueuesMeasured,
    RunnerStopped,
    ServiceFailed,
)
from tests.support import Recorder, enqueue


@job(name="metrics.fine", queue="metrics", max_attempts=1)
async def fine() -> None: ...


@job(name="metrics.broken", queue="metrics", max_attempts=1)
async def broken() -> None:
    raise ValueError("no")


def values(metrics: PrometheusMetrics) -> dict[tuple[Any, ...], float]:
    text = metrics.exposed().body.decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_what_a_runner_does_is_measured(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    with PrometheusMetrics() as metrics:
        oban = await start(queues={"metrics": 2}, node="measured", leader=LeaderSettings())  # as slow as by default
        await events.wait_for(LeadershipGained)
        await events.wait_for(ListenerUp)
        await enqueue(engine, fine.new(), fine.new(), broken.new(), fine.with_options(queue="later").new())
        await events.wait_for(AcksWritten, count=1)
        async with Survey(oban):
            await events.wait_for(QueuesMeasured)
        while sum(one.written for one in events.of(AcksWritten)) < 3:
            await events.wait_for(AcksWritten, count=len(events.of(AcksWritten)) + 1)
        found = values(metrics)
    assert found["sqla_oban_jobs_enqueued_total", "metrics", "metrics.fine"] == 2
    assert found["sqla_oban_jobs_enqueued_total", "later", "metrics.fine"] == 1
    assert found["sqla_oban_jobs_finished_total", "metrics", "completed", "metrics.fine"] == 2
    assert found["sqla_oban_jobs_finished_total", "metrics", "discarded", "metrics.broken"] == 1
    assert found["sqla_oban_job_duration_seconds_count", "metrics", "metrics.fine"] == 2
    assert found["sqla_oban_job_wait_seconds_count", "metrics"] == 3
    assert found["sqla_oban_listener_up", "measured"] == 1
    assert found["sqla_oban_leader", "measured"] == 1
    assert found["sqla_oban_queue_depth", "later", "available"] == 1
    assert found["sqla_oban_queue_lag_seconds", "later"] >= 0
    assert ("sqla_oban_jobs_executing", "metrics") not in found


def test_each_event_is_measured() -> None:
    facts: dict[str, Any] = {"node": "n", "id": 1, "queue": "q", "worker": "w", "attempt": 1}
    with PrometheusMetrics() as metrics:
        telemetry.emit(JobStarted(**facts, max_attempts=2, args="{}", tags=(), waited=-1.0))
        assert values(metrics)["sqla_oban_jobs_executing", "q"] == 1
        telemetry.emit(JobAbandoned(**facts))
        telemetry.emit(AcksWritten(node="n", written=0, late=(1, 2)))
        telemetry.emit(JobRescued(node="n", id=1, queue="q", state=JobState.AVAILABLE))
        telemetry.emit(JobsPruned(node="n", count=5))
        telemetry.emit(ServiceFailed(node="n", service="Stager", error="no", retry_in=1.0))
        telemetry.emit(LeadershipGained(node="n"))
        telemetry.emit(LeadershipLost(node="n"))
        found = values(metrics)
        telemetry.emit(RunnerStopped(node="n", unfinished=0))
        assert ("sqla_oban_leader", "n") not in values(metrics)
    telemetry.emit(JobsPruned(node="n", count=5))
    assert values(metrics)["sqla_oban_jobs_pruned_total",] == 5
    assert ("sqla_oban_jobs_executing", "q") not in found
    assert found["sqla_oban_jobs_abandoned_total", "q"] == 1
    assert found["sqla_oban_outcomes_late_total",] == 2
    assert found["sqla_oban_jobs_rescued_total", "q", "available"] == 1
    assert found["sqla_oban_service_failures_total", "Stager"] == 1
    assert found["sqla_oban_leader", "n"] == 0


def test_names_that_anybody_may_write_are_bounded() -> None:
    with PrometheusMetrics() as metrics:
        for number in range(MOST_NAMES + 50):
            telemetry.emit(JobRescued(node="n", id=1, queue=f"q{number}", state=JobState.AVAILABLE))
        found = values(metrics)
    assert found["sqla_oban_jobs_rescued_total", OTHERS, "available"] == 50


async def test_only_who_leads_looks_at_the_queues_and_takes_it_back_when_it_does_not(
    engine: AsyncEngine, events: Recorder
) -> None:
    await enqueue(engine, fine.new())
    oban = SqlaOban(engine)
    with PrometheusMetrics() as metrics:
        survey = Survey(oban)
        await survey.tick()
        assert events.of(QueuesMeasured) == []
        survey._always = True
        await survey.tick()
        assert values(metrics)["sqla_oban_queue_depth", "metrics", "available"] == 1
        survey._always = False
        await survey.tick()
        assert ("sqla_oban_queue_depth", "metrics", "available") not in values(metrics)


async def test_metrics_are_mounted_in_another_application() -> None:
    with PrometheusMetrics() as metrics:
        transport = httpx.ASGITransport(app=asgi(metrics.endpoints), root_path="/metrics")
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.get("/metrics/")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "# TYPE sqla_oban_queue_depth gauge" in answer.text
