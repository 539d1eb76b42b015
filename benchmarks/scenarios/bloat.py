"""How many dead rows a steady load leaves."""

import time
from collections.abc import Mapping

from benchmarks.scenario import Lane, Scenario
from benchmarks.units import Unit

LOOK = 1.0
"""Seconds between two looks."""
DEAD = "SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables"
SIZE = "SELECT pg_database_size(current_database()) / 2.0 ^ 20"
MOST, LAST, GROWN = "most", "at the end", "grown by"


class Bloat(Scenario):
    """Dead rows over time."""

    name = "bloat"
    title = "Dead rows under a steady load"
    about = (
        "Jobs are put in at a steady pace and run at concurrency 100. Each second: the dead rows of all tables of "
        "the database, as autovacuum, which looks every 5 seconds, leaves them; and by how much the database has "
        "grown."
    )
    settings = {"autovacuum_naptime": "5s"}  # noqa: RUF012 (a class variable of the base)

    def columns(self) -> Mapping[str, Unit]:
        return {MOST: Unit.DEAD_TUPLES, LAST: Unit.DEAD_TUPLES, GROWN: Unit.MEGABYTES}

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.refresh()
        lane.server.settle(lane.database)
        before, curve = self._ask(lane, SIZE), []
        jobs = int(self.scale.soak * self.scale.rate)
        with lane.process() as node, lane.process() as process:
            node.ask("serve", concurrency=100)
            process.request("enqueue", jobs=jobs, committers=4, every=1 / self.scale.rate)
            began = time.monotonic()
            for number in range(int(self.scale.soak / LOOK)):
                curve.append((time.monotonic() - began, self._ask(lane, DEAD)))
                time.sleep(max(0.0, began + (number + 1) * LOOK - time.monotonic()))
            process.answer(self.scale.budget)
            last = self._ask(lane, DEAD)
        self.curves[lane.entrant.name] = curve
        return {MOST: max(dead for _, dead in curve), LAST: last, GROWN: self._ask(lane, SIZE) - before}

    def _ask(self, lane: Lane, query: str) -> float:
        return float(lane.server.sql(query, database=lane.database)[0][0])
