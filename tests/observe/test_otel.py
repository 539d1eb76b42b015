"""Traces from who enqueues to who runs, and metrics."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, get_current_span, get_tracer
from sqlalchemy import URL, create_engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from sqla_oban import Job, Unique, insert_all, job, telemetry
from sqla_oban.observe.otel import instrument, uninstrument
from sqla_oban.telemetry.carrier import carriers
from sqla_oban.telemetry.events import AcksWritten, JobAbandoned, JobStarted, ListenerUp
from tests.queries.table import Table
from tests.support import Recorder, enqueue, jobs


@job(name="otel.work", queue="traced", max_attempts=1)
async def work(*, fail: bool = False) -> None:
    with get_tracer("test", tracer_provider=PROVIDERS[-1]).start_as_current_span("inside"):
        pass
    if fail:
        raise ValueError("no such order")


@job(name="otel.sync", queue="traced")
def sync_work() -> None:
    with get_tracer("test", tracer_provider=PROVIDERS[-1]).start_as_current_span("inside"):
        pass


PROVIDERS: list[TracerProvider] = []


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    PROVIDERS.append(provider)
    instrument(tracer_provider=provider)
    yield exporter
    uninstrument()
    assert carriers() == ()


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def context(span: ReadableSpan) -> SpanContext:
    found: SpanContext | None = span.context
    assert found is not None
    return found


def facts(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("worker", [work, sync_work], ids=["async", "thread"])
async def test_one_trace_leads_from_the_request_to_the_code_of_the_worker(
    worker: Any, engine: AsyncEngine, start: Any, events: Recorder, spans: InMemorySpanExporter
) -> None:
    await start(queues={"traced": 2}, node="n")
    with get_tracer("test", tracer_provider=PROVIDERS[-1]).start_as_current_span("request") as request:
        (id_,) = await enqueue(engine, worker.new())
    await events.wait_for(AcksWritten, written=1)
    (sent,), (processed,), (inside,) = (named(spans, name) for name in ("send traced", "process traced", "inside"))
    trace = request.get_span_context().trace_id
    assert {context(span).trace_id for span in (sent, processed, inside)} == {trace}
    assert sent.parent is not None
    assert sent.parent.span_id == request.get_span_context().span_id
    assert processed.parent is not None
    assert processed.parent.span_id == context(sent).span_id
    assert [link.context.span_id for link in processed.links] == [context(sent).span_id]
    assert inside.parent is not None
    assert inside.parent.span_id == context(processed).span_id
    assert (sent.kind, processed.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    common = {"messaging.system": "sqla_oban", "messaging.destination.name": "traced", "messaging.message.id": str(id_)}
    assert common.items() <= facts(sent).items()
    assert common.items() <= facts(processed).items()
    assert facts(processed)["messaging.operation.type"] == "process"
    assert facts(processed)["sqla_oban.job.state"] == "completed"
    assert processed.status.status_code is StatusCode.UNSET


async def test_what_a_worker_raises_is_recorded(
    engine: AsyncEngine, start: Any, events: Recorder, spans: InMemorySpanExporter
) -> None:
    await start(queues={"traced": 1})
    await enqueue(engine, work.new(fail=True))
    await events.wait_for(AcksWritten, written=1)
    (span,) = named(spans, "process traced")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError: no such order")
    assert facts(span)["error.type"] == "ValueError"
    (raised,) = span.events
    assert raised.attributes is not None
    assert raised.attributes["exception.type"] == "ValueError"
    assert "no such order" in str(raised.attributes["exception.stacktrace"])


async def test_the_next_job_on_the_same_node_has_a_trace_of_its_own(
    engine: AsyncEngine, start: Any, events: Recorder, spans: InMemorySpanExporter
) -> None:
    await start(queues={"traced": 1})
    await enqueue(engine, work.new())
    await enqueue(engine, work.new())
    while len(named(spans, "process traced")) < 2:
        await events.wait_for(AcksWritten, count=len(events.of(AcksWritten)) + 1)
    assert len({context(span).trace_id for span in named(spans, "process traced")}) == 2


async def test_a_task_that_goes_on_after_a_job_is_in_its_own_span_again(spans: InMemorySpanExporter) -> None:
    facts: dict[str, Any] = {"node": "n", "id": 1, "queue": "traced", "worker": "w", "attempt": 1}
    before = get_current_span()
    telemetry.emit(JobStarted(**facts, max_attempts=1, args="{}", tags=(), waited=0.0))
    assert get_current_span() is not before
    telemetry.emit(JobAbandoned(**facts))
    assert get_current_span() is before
    assert [span.attributes["sqla_oban.job.state"] for span in named(spans, "process traced") if span.attributes] == [
        "abandoned"
    ]


async def test_jobs_of_insert_all_are_traced_each(engine: AsyncEngine, spans: InMemorySpanExporter) -> None:
    unique = work.with_options(unique=Unique())
    async with AsyncSession(engine) as session, session.begin():
        made = await insert_all(session, [work.new(), Job(worker="otel.work", meta={"mine": 1}), unique.new()])
    stored = await jobs(engine)
    assert ["traceparent" in one.meta for one in stored] == [True, True, True]
    assert [one.meta for one in sorted(made, key=lambda one: one.id)] == [one.meta for one in stored]
    assert made[1].meta["mine"] == 1
    assert len({one.meta["traceparent"] for one in stored}) == 3
    sent = [span for span in spans.get_finished_spans() if span.name.startswith("send ")]
    assert {facts(span)["messaging.message.id"] for span in sent} == {str(one.id) for one in stored}


async def test_a_duplicate_is_not_sent(engine: AsyncEngine, spans: InMemorySpanExporter) -> None:
    for _ in range(2):
        async with AsyncSession(engine) as session, session.begin():
            session.add(work.with_options(unique=Unique()).new())
    assert len(named(spans, "send traced")) == 1


def test_sync_sessions_are_traced_and_an_insert_that_fails_is_not_told(
    database_url: URL, spans: InMemorySpanExporter
) -> None:
    engine = create_engine(database_url.set(drivername="postgresql+psycopg"))
    with Session(engine) as session:
        refused = work.new()
        refused.__dict__["max_attempts"] = 0
        session.add(refused)
        with pytest.raises(IntegrityError):
            session.flush()
        session.rollback()
        assert named(spans, "send traced") == []
        again = work.new()
        session.add(again)
        session.flush()
        first = again.meta["traceparent"]
        session.rollback()
        session.add(again)
        session.flush()
        assert again.meta["traceparent"] != first
        session.rollback()
    engine.dispose()


@pytest.mark.parametrize("meta", ['{"traceparent": 7}', '["traceparent"]', '{"traceparent": "00-nonsense"}', '"x"'])
async def test_whatever_somebody_wrote_as_meta_the_job_runs_in_a_trace_of_its_own(
    meta: str, table: Table, start: Any, events: Recorder, spans: InMemorySpanExporter
) -> None:
    await start(queues={"traced": 1})
    await table.add(worker="'otel.work'", queue="'traced'", meta=f"'{meta}'")
    await events.wait_for(AcksWritten, written=1)
    (span,) = named(spans, "process traced")
    assert (span.parent, facts(span)["sqla_oban.job.state"]) == (None, "completed")


async def test_where_no_tracer_is_set_up_nothing_is_written(engine: AsyncEngine) -> None:
    instrument()
    try:
        await enqueue(engine, Job(worker="w", meta={"mine": 1}), Job(worker="w"))
        async with AsyncSession(engine) as session, session.begin():
            await insert_all(session, [Job(worker="w")])
    finally:
        uninstrument()
    assert [one.meta for one in await jobs(engine)] == [{"mine": 1}, {}, {}]


async def test_metrics_follow_the_conventions(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    reader, provider = InMemoryMetricReader(), TracerProvider()
    PROVIDERS.append(provider)
    instrument(tracer_provider=provider, meter_provider=MeterProvider([reader]))
    try:
        await start(queues={"traced": 1}, node="n")
        await events.wait_for(ListenerUp)
        await enqueue(engine, work.new())
        await events.wait_for(AcksWritten, written=1)
        data: Any = reader.get_metrics_data()
    finally:
        uninstrument()
    found = {one.name: one for all_ in data.resource_metrics for scope in all_.scope_metrics for one in scope.metrics}
    (sent,) = found["messaging.client.sent.messages"].data.data_points
    assert (sent.value, sent.attributes["messaging.destination.name"]) == (1, "traced")
    (consumed,) = found["messaging.client.consumed.messages"].data.data_points
    assert consumed.attributes["sqla_oban.job.state"] == "completed"
    (duration,) = found["messaging.process.duration"].data.data_points
    assert (duration.count, found["messaging.process.duration"].unit) == (1, "s")
    assert {point.attributes["sqla_oban.node"] for point in found["sqla_oban.listener.up"].data.data_points} == {"n"}
