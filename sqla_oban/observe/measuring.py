"""Makes measurements of events."""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from sqla_oban import telemetry
from sqla_oban.observe import instruments as one
from sqla_oban.observe.instruments import Instrument
from sqla_oban.telemetry import events as kinds
from sqla_oban.telemetry.events import Event

KINDS = (
    *(kinds.JobsEnqueued, kinds.JobStarted, kinds.JobFinished, kinds.JobAbandoned, kinds.AcksWritten),
    *(kinds.JobRescued, kinds.JobsPruned, kinds.ServiceFailed, kinds.QueuesMeasured),
    *(kinds.ListenerUp, kinds.ListenerDown, kinds.LeadershipGained, kinds.LeadershipLost, kinds.RunnerStopped),
)
MOST_NAMES = 1_000
"""Of workers and queues that are told apart: names come from rows, and anybody may write some."""
OTHERS = "(others)"

Labels = tuple[str, ...]


class Meter(Protocol):
    """Keeps what is added up; may be called on any thread."""

    def add(self, instrument: Instrument, amount: int, labels: Labels) -> None:
        """Count `amount` more."""

    def record(self, instrument: Instrument, value: float, labels: Labels) -> None:
        """Note one value of a distribution."""


class Measuring:
    """A telemetry handler that tells a meter, and keeps what has a level at every moment.

    Args:
        meter: is told what is counted.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._executing: dict[tuple[str, int], str] = {}
        self._levels: dict[Instrument, dict[Labels, float]] = {
            instrument: {} for instrument in one.INSTRUMENTS if instrument.kind is one.Kind.LEVEL
        }

    def attach(self) -> None:
        """Measure from now on."""
        telemetry.attach(self, *KINDS)

    def detach(self) -> None:
        """Measure no more."""
        telemetry.detach(self)

    def level(self, instrument: Instrument) -> Mapping[Labels, float]:
        """The values of a level now, by their labels."""
        with self._lock:
            if instrument is one.EXECUTING:
                return {(queue,): float(number) for queue, number in Counter(self._executing.values()).items()}
            return dict(self._levels[instrument])

    def __call__(self, event: Event) -> None:
        """Measure one event.

        The meter is not called under our lock: it has its own, and asks for levels under it.
        """
        self._of_jobs(event)
        self._of_nodes(event)
        with self._lock:
            self._keep(event)

    def _of_jobs(self, event: Event) -> None:
        add, record = self._meter.add, self._meter.record
        match event:
            case kinds.JobsEnqueued(jobs=jobs):
                for names, number in Counter((job.queue, job.worker) for job in jobs).items():
                    add(one.ENQUEUED, number, self._bounded(names))
            case kinds.JobStarted():
                record(one.WAIT, max(event.waited, 0.0), self._bounded((event.queue,)))
            case kinds.JobFinished():
                labels = self._bounded((event.queue, event.worker))
                add(one.FINISHED, 1, (*labels, event.state.value))
                record(one.DURATION, event.seconds, labels)
            case kinds.JobAbandoned():
                add(one.ABANDONED, 1, self._bounded((event.queue,)))
            case kinds.JobRescued():
                add(one.RESCUED, 1, (*self._bounded((event.queue,)), event.state.value))
            case kinds.JobsPruned(count=count):
                add(one.PRUNED, count, ())

    def _of_nodes(self, event: Event) -> None:
        match event:
            case kinds.AcksWritten(late=late) if late:
                self._meter.add(one.LATE, len(late), ())
            case kinds.ServiceFailed(service=service):
                self._meter.add(one.FAILURES, 1, (service,))

    def _keep(self, event: Event) -> None:
        match event:
            case kinds.JobStarted():
                self._executing[event.node, event.id] = event.queue
            case kinds.JobFinished() | kinds.JobAbandoned():
                self._executing.pop((event.node, event.id), None)
            case kinds.ListenerUp() | kinds.ListenerDown():
                self._levels[one.LISTENER][event.node,] = float(isinstance(event, kinds.ListenerUp))
            case kinds.LeadershipGained() | kinds.LeadershipLost():
                self._levels[one.LEADER][event.node,] = float(isinstance(event, kinds.LeadershipGained))
            case kinds.RunnerStopped():
                for instrument in (one.LISTENER, one.LEADER):
                    self._levels[instrument].pop((event.node,), None)
            case kinds.QueuesMeasured(depths=depths, lags=lags):
                self._levels[one.DEPTH] = {(depth.queue, depth.state): float(depth.number) for depth in depths}
                self._levels[one.LAG] = {(queue,): lag for queue, lag in lags.items()}

    def _bounded(self, names: Labels) -> Labels:
        if len(self._names) < MOST_NAMES:
            self._names.update(names)
        return tuple(name if name in self._names else OTHERS for name in names)
