"""What the tables tell of all nodes, for Prometheus, from `pip install 'sqla-oban[prometheus]'`."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sqla_oban.control.watch.depths import Depth
from sqla_oban.control.watch.fleet import Fleet
from sqla_oban.observe.answer import Answer
from sqla_oban.observe.instruments import DEPTH, LAG, LEADER, LIMIT, LISTENER, NODE, PAUSED, RUNNING, Instrument

Values: TypeAlias = Iterable[tuple[tuple[str, ...], float]]


class FleetMetrics:
    """What a dashboard tells Prometheus at `/metrics`: depth and lag of the queues, and every node, read when scraped.

    It needs no runner in its process, and has nothing of what only processes know: executions are counted and timed
    where they happen, by `PrometheusMetrics`. Depth and lag have the same names there, where a `Survey` runs: let
    Prometheus read one of the two.

    >>> app.mount("/oban", dashboard(oban, metrics=FleetMetrics()))  # doctest: +SKIP
    """

    def exposed(self, depths: Iterable[Depth], fleet: Fleet) -> Answer:
        """The answer to Prometheus."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Told({**_of_queues(list(depths)), **_of_nodes(fleet)}))
        return Answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))


class _Told(Collector):
    def __init__(self, told: dict[Instrument, Values]) -> None:
        self._told = told

    def collect(self) -> Iterator[Metric]:
        for instrument, values in self._told.items():
            family = GaugeMetricFamily(instrument.name, instrument.help, labels=instrument.labels)
            for labels, value in values:
                family.add_metric(labels, value)
            yield family


def _of_queues(depths: list[Depth]) -> dict[Instrument, Values]:
    return {
        DEPTH: [((one.queue, state.value), float(n.jobs)) for one in depths for state, n in sorted(one.counts.items())],
        LAG: [((one.queue,), one.lag) for one in depths],
    }


def _of_nodes(fleet: Fleet) -> dict[Instrument, Values]:
    """Of the nodes that beat; those that do not are told as such until their rows are gone."""
    alive = [one for one in fleet.stations if one.alive]
    nodes = sorted({(one.name, one.node) for one in fleet.stations})
    beating = {(one.name, one.node) for one in alive}
    hearing = {one.node: float(one.hearing) for one in alive if one.ours}
    leading = {one.node for one in fleet.leases if one.left > 0}
    stations = {(one.name, one.node, one.queue): one for one in alive}
    return {
        NODE: [(key, float(key in beating)) for key in nodes],
        LISTENER: [((node,), up) for node, up in sorted(hearing.items())],
        LEADER: [((node,), float(node in leading)) for node in sorted({node for _, node in beating})],
        RUNNING: [(key, float(one.running)) for key, one in stations.items() if one.running is not None],
        LIMIT: [(key, float(one.limit)) for key, one in stations.items() if one.limit is not None],
        PAUSED: [(key, float(one.paused)) for key, one in stations.items()],
    }
