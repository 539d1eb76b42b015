"""Whether what a job does not use costs it anything."""

from collections.abc import Mapping, Sequence

from benchmarks.contenders import OURS
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours, rate
from benchmarks.units import Unit
from sqla_oban.migrations import batches, chains, limits, unique, workflows

CONCURRENCY = 100
WITH = "the tables as they are"
WITHOUT = "without the features' triggers and indexes"
INDEXES = tuple(index.name for feature in (unique, limits, workflows, chains, batches) for index in feature.INDEXES)
"""Those that a plain job is never in."""
DROP_TRIGGERS = """
    DO $$
    DECLARE
      one name;
    BEGIN
      FOR one IN SELECT tgname FROM pg_trigger
          WHERE tgrelid = 'oban_jobs'::regclass AND NOT tgisinternal AND tgname <> 'oban_jobs_wake' LOOP
        EXECUTE format('DROP TRIGGER %I ON oban_jobs', one);
      END LOOP;
    END $$
"""


class Features(Scenario):
    """With the triggers and indexes of all features, and without."""

    name = "features"
    title = "Features that a job does not use"
    about = (
        "One process at concurrency 100 drains a queue without limits of no-op jobs that are neither unique nor part "
        "of a chain, batch or workflow, and whose end nobody waits for: until the last outcome is in the tables. "
        "Without: the same after all triggers of `oban_jobs` but the one that wakes workers, and all indexes of these "
        "features, were dropped; their columns stay."
    )
    contenders = (OURS,)

    @property
    def variants(self) -> Sequence[str]:
        return [WITH, WITHOUT]

    def columns(self) -> Mapping[str, Unit]:
        return dict.fromkeys(self.variants, Unit.JOBS_A_SECOND)

    def goals(self) -> Sequence[Goal]:
        return [Goal("drain of jobs that use no feature", ours(WITH), ours(WITHOUT), at_least=0.97)]

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.refresh()
        if lane.variant == WITHOUT:
            drop_features(lane)
        jobs, budget = self.scale.long, self.scale.budget
        with lane.filled_process(jobs) as process:
            asked = {"jobs": jobs, "concurrency": CONCURRENCY, "whole": True, "budget": budget}
            return {lane.variant: rate(process.ask("drain", within=budget, **asked))}


def drop_features(lane: Lane) -> None:
    """Drop what the features have the database do for every job."""
    lane.server.sql(DROP_TRIGGERS, database=lane.database)
    lane.server.sql(f"DROP INDEX {', '.join(INDEXES)}", database=lane.database)
