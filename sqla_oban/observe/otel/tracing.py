"""Spans: one for enqueueing a job, one for each of its executions, in one trace."""

import json
from collections.abc import Mapping
from contextvars import Token
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
    get_current_span,
    get_tracer,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy.orm import InstanceState
from sqlalchemy.orm.attributes import instance_state

from sqla_oban import telemetry
from sqla_oban.observe.otel.attributes import SCOPE, of_job
from sqla_oban.telemetry.carrier import attach_carrier, detach_carrier
from sqla_oban.telemetry.events import Event, JobAbandoned, JobFailed, JobFinished, JobStarted

KINDS = (JobStarted, JobFailed, JobFinished, JobAbandoned)
PROPAGATOR = TraceContextTextMapPropagator()
"""W3C's `traceparent` and `tracestate`, and no baggage: that may be anything, and is not for a table."""
KEYS = ("traceparent", "tracestate")


class Tracing:
    """A carrier that makes spans of jobs that are inserted, and a handler that makes spans of executions.

    An execution's events come on the task that runs it, so that its span is the current one for the worker's code.

    Args:
        provider: of the tracer; None for the global one.
    """

    def __init__(self, provider: TracerProvider | None) -> None:
        self._tracer = get_tracer(SCOPE, tracer_provider=provider)
        self._sending: WeakKeyDictionary[InstanceState[Any], Span] = WeakKeyDictionary()  # a job may have no hash
        self._running: dict[tuple[str, int], tuple[Span, Token[Context]]] = {}

    def attach(self) -> None:
        """Make spans from now on."""
        attach_carrier(self)
        telemetry.attach(self, *KINDS)

    def detach(self) -> None:
        """Make none any more."""
        detach_carrier(self)
        telemetry.detach(self)

    def sending(self, job: Any) -> Mapping[str, Any]:
        """Begin the span of an INSERT; returns what leads from the job to it.

        One whose INSERT fails is never ended, and so never told: what is around it says why.
        """
        queue = str(job.__dict__.get("queue", "default"))
        span = self._tracer.start_span(
            f"send {queue}", kind=SpanKind.PRODUCER, attributes=of_job("send", queue, job.worker)
        )
        if not span.get_span_context().is_valid:
            return {}
        self._sending[instance_state(job)] = span
        carried: dict[str, str] = {}
        PROPAGATOR.inject(carried, set_span_in_context(span))
        return carried

    def sent(self, job: Any) -> None:
        """End it."""
        span = self._sending.pop(instance_state(job), None)
        if span is not None:
            span.set_attribute("messaging.message.id", str(job.id))
            span.end()

    def __call__(self, event: Event) -> None:
        """Follow an execution."""
        match event:
            case JobStarted():
                self._begin(event)
            case JobFailed():
                self._fail(event)
            case JobFinished():
                self._end(event, event.state.value)
            case JobAbandoned():
                self._end(event, "abandoned")

    def _begin(self, event: JobStarted) -> None:
        origin = PROPAGATOR.extract(_carried(event.meta), Context())
        sender = get_current_span(origin).get_span_context()
        span = self._tracer.start_span(
            f"process {event.queue}",
            context=origin,
            kind=SpanKind.CONSUMER,
            links=[Link(sender)] if sender.is_valid else [],
            attributes={
                **of_job("process", event.queue, event.worker),
                "messaging.message.id": str(event.id),
                "sqla_oban.job.attempt": event.attempt,
                "sqla_oban.job.max_attempts": event.max_attempts,
                "sqla_oban.job.waited": event.waited,
                "sqla_oban.node": event.node,
            },
        )
        self._running[event.node, event.id] = span, contexts.attach(set_span_in_context(span))

    def _fail(self, event: JobFailed) -> None:
        if running := self._running.get((event.node, event.id)):
            said = {
                "exception.type": event.kind,
                "exception.message": event.message,
                "exception.stacktrace": event.traceback,
            }
            running[0].add_event("exception", said)
            running[0].set_attribute("error.type", event.kind)
            running[0].set_status(Status(StatusCode.ERROR, event.message))

    def _end(self, event: JobFinished | JobAbandoned, state: str) -> None:
        if running := self._running.pop((event.node, event.id), None):
            span, token = running
            span.set_attribute("sqla_oban.job.state", state)
            span.end()
            contexts.detach(token)


def _carried(meta: str) -> dict[str, str]:
    """What a job's meta carries; anybody may have written it."""
    if "traceparent" not in meta:
        return {}
    try:
        stored = json.loads(meta)
    except ValueError:
        return {}
    if not isinstance(stored, dict):
        return {}
    return {key: stored[key] for key in KEYS if isinstance(stored.get(key), str)}
