"""Metrics for OpenTelemetry."""

from collections.abc import Callable, Iterable
from functools import partial

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from sqla_oban.observe.instruments import BUCKETS, INSTRUMENTS, Instrument, Kind
from sqla_oban.observe.measuring import Labels, Measuring
from sqla_oban.observe.otel.attributes import LABELS, SCOPE, SYSTEM


class OtelMetrics:
    """Tells a meter of OpenTelemetry's what happens in this process.

    Args:
        provider: of the meter; None for the global one.
    """

    def __init__(self, provider: MeterProvider | None) -> None:
        meter = get_meter(SCOPE, meter_provider=provider)
        self._measuring = Measuring(self)
        self._attached = False
        self._counters = {
            one: meter.create_counter(one.otel, one.unit, one.help) for one in INSTRUMENTS if one.kind is Kind.COUNTER
        }
        self._histograms = {
            one: meter.create_histogram(one.otel, one.unit, one.help, explicit_bucket_boundaries_advisory=BUCKETS)
            for one in INSTRUMENTS
            if one.kind is Kind.HISTOGRAM
        }
        for one in INSTRUMENTS:
            if one.kind is Kind.LEVEL:
                meter.create_observable_gauge(one.otel, [self._observing(one)], one.unit, one.help)

    def attach(self) -> None:
        """Measure from now on."""
        self._attached = True
        self._measuring.attach()

    def detach(self) -> None:
        """Measure no more; what was measured stays with the meter."""
        self._attached = False
        self._measuring.detach()

    def add(self, instrument: Instrument, amount: int, labels: Labels) -> None:
        """Count `amount` more."""
        self._counters[instrument].add(amount, _attributes(instrument, labels))

    def record(self, instrument: Instrument, value: float, labels: Labels) -> None:
        """Note one value of a distribution."""
        self._histograms[instrument].record(value, _attributes(instrument, labels))

    def _observing(self, instrument: Instrument) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return partial(self._observed, instrument)

    def _observed(self, instrument: Instrument, _: CallbackOptions) -> Iterable[Observation]:
        if not self._attached:
            return []
        values = self._measuring.level(instrument)
        return [Observation(value, _attributes(instrument, labels)) for labels, value in values.items()]


def _attributes(instrument: Instrument, labels: Labels) -> dict[str, str]:
    named = zip(instrument.labels, labels, strict=True)
    return {"messaging.system": SYSTEM, **{LABELS[name]: value for name, value in named}}
