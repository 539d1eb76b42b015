"""What a node asks of the database when there is nothing to do."""

import time
from collections.abc import Mapping, Sequence

from benchmarks.failure import Unmeasured
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours
from benchmarks.server import EXTENSION, OBSERVED
from benchmarks.units import Unit
from sqla_oban.testing.temporary_postgres import find_binaries

SETTLED = 3.0
"""Seconds from a node's start to when it counts as idle."""
COUNT = """
    SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = %s
"""
QUERIES = "queries"


class Idle(Scenario):
    """Statements a second."""

    name = "idle"
    title = "An idle node"
    about = (
        "Statements a second that one process at concurrency 10 sends to the server, by `pg_stat_statements`, when "
        "no job is there; BEGIN and COMMIT count as well."
    )
    settings = OBSERVED

    def columns(self) -> Mapping[str, Unit]:
        return {QUERIES: Unit.QUERIES_A_SECOND}

    def goals(self) -> Sequence[Goal]:
        return [Goal("idle node, queries/s", ours(QUERIES), at_most=1)]

    def set_up(self, lane: Lane) -> None:
        if not list(find_binaries().parent.rglob(f"{EXTENSION}.control")):
            raise Unmeasured(f"this PostgreSQL has no {EXTENSION}")
        lane.server.sql(f"CREATE EXTENSION IF NOT EXISTS {EXTENSION}")
        lane.refresh()

    def measure(self, lane: Lane) -> Mapping[str, float]:
        with lane.process() as node:
            node.ask("serve", concurrency=10)
            time.sleep(SETTLED)
            before = self._calls(lane)
            time.sleep(self.scale.window)
            return {QUERIES: (self._calls(lane) - before) / self.scale.window}

    def _calls(self, lane: Lane) -> float:
        return float(lane.server.sql(COUNT, lane.database)[0][0])
