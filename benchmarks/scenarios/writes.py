"""What a job costs the server's disk."""

from collections.abc import Mapping

from benchmarks.scenario import Lane, Scenario
from benchmarks.server import OBSERVED
from benchmarks.units import Unit

CONCURRENCY = 100
WAL = "WAL"
COMMITS = "commits"
POSITION = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
COMMITTED = "SELECT xact_commit FROM pg_stat_database WHERE datname = %s"


class Writes(Scenario):
    """WAL and commits."""

    name = "writes"
    title = "WAL and commits a job"
    about = (
        "What the server writes to its log and how often it commits while one process at concurrency 100 drains a "
        "queue, by the number of its jobs. There is neither a checkpoint nor an autovacuum."
    )
    settings = OBSERVED

    def columns(self) -> Mapping[str, Unit]:
        return {WAL: Unit.BYTES_A_JOB, COMMITS: Unit.COMMITS_A_JOB}

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.refresh()
        asked = {"jobs": self.scale.jobs, "concurrency": CONCURRENCY, "whole": True, "budget": self.scale.budget}
        lane.fill(self.scale.jobs)
        lane.server.wait_until_left(lane.database)
        position, committed = self._position(lane), self._committed(lane)
        with lane.process() as process:
            jobs = process.ask("drain", within=self.scale.budget, **asked)["jobs"]
        lane.server.wait_until_left(lane.database)
        return {
            WAL: (self._position(lane) - position) / jobs,
            COMMITS: (self._committed(lane) - committed) / jobs,
        }

    def _position(self, lane: Lane) -> int:
        return int(lane.server.sql(POSITION)[0][0])

    def _committed(self, lane: Lane) -> int:
        return int(lane.server.sql(COMMITTED, lane.database)[0][0])
