"""Traces and metrics for OpenTelemetry, from `pip install 'sqla-oban[otel]'`.

>>> instrument(); uninstrument()
"""

import threading

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from sqla_oban.observe.otel.metrics import OtelMetrics
from sqla_oban.observe.otel.tracing import Tracing

_installed: list[tuple[Tracing, OtelMetrics]] = []
_changing = threading.Lock()


def instrument(*, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None) -> None:
    """Make spans and metrics of what happens in this process, from now on and instead of what was set up here before.

    A span of kind PRODUCER is made for each job that is enqueued by a session or `insert_all`, and one of kind CONSUMER
    for each execution, which goes on in the trace of the former: its `traceparent` travels in the job's `meta`. Where
    no tracer is set up nothing is written there. The code of an async or sync worker runs inside of its span; that of
    one in a process does not.

    Args:
        tracer_provider, meter_provider: of whom; default: the global ones.
    """
    uninstrument()
    with _changing:
        made = Tracing(tracer_provider), OtelMetrics(meter_provider)
        for part in made:
            part.attach()
        _installed.append(made)


def uninstrument() -> None:
    """Make none any longer; does nothing where none are made."""
    with _changing:
        while _installed:
            for part in _installed.pop():
                part.detach()


__all__ = ["instrument", "uninstrument"]
