"""Metrics for Prometheus, from `pip install 'sqla-oban[prometheus]'`."""

from collections.abc import Iterator
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sqla_oban.observe.answer import Answer, Endpoints
from sqla_oban.observe.instruments import BUCKETS, INSTRUMENTS, Instrument, Kind
from sqla_oban.observe.measuring import Labels, Measuring


class PrometheusMetrics(Collector):
    """What happens in this process, from the start of the block to its end, as Prometheus reads it.

    Depth and lag of the queues come from a `Survey`, where one runs.

    Args:
        registry: where the metrics are registered; default: one of their own.

    >>> with PrometheusMetrics() as metrics:  # doctest: +SKIP
    ...     app.mount("/metrics", asgi(metrics.endpoints))
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry or CollectorRegistry()
        self._measuring = Measuring(self)
        self._counters = {
            one: Counter(one.name, one.help, one.labels, registry=self._registry)
            for one in INSTRUMENTS
            if one.kind is Kind.COUNTER
        }
        self._histograms = {
            one: Histogram(one.name, one.help, one.labels, registry=self._registry, buckets=BUCKETS)
            for one in INSTRUMENTS
            if one.kind is Kind.HISTOGRAM
        }
        self._registry.register(self)

    @property
    def endpoints(self) -> Endpoints:
        """What is served, by its path: at `/metrics`, and where it is mounted."""
        return {"/metrics": self.exposed, "/": self.exposed}

    def exposed(self) -> Answer:
        """All metrics as text."""
        return Answer(200, CONTENT_TYPE_LATEST, generate_latest(self._registry))

    def add(self, instrument: Instrument, amount: int, labels: Labels) -> None:
        """Count `amount` more."""
        counter = self._counters[instrument]
        (counter.labels(*labels) if labels else counter).inc(amount)

    def record(self, instrument: Instrument, value: float, labels: Labels) -> None:
        """Note one value of a distribution."""
        self._histograms[instrument].labels(*labels).observe(value)

    def collect(self) -> Iterator[Metric]:
        """The levels as they are at this moment; called by the registry."""
        for one in INSTRUMENTS:
            if one.kind is Kind.LEVEL:
                family = GaugeMetricFamily(one.name, one.help, labels=one.labels)
                for labels, value in sorted(self._measuring.level(one).items()):
                    family.add_metric(labels, value)
                yield family

    def __enter__(self) -> Self:
        self._measuring.attach()
        return self

    def __exit__(self, *_: object) -> None:
        self._measuring.detach()
