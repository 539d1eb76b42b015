"""Whether a long backlog slows the queue down."""

from collections.abc import Mapping, Sequence

from benchmarks.front import drain_front
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours
from benchmarks.units import Unit


class Backlog(Scenario):
    """The front of backlogs of several lengths."""

    name = "backlog"
    title = "The front of a backlog"
    about = (
        "So many jobs wait. One process at concurrency 100 drains a fixed number of them from the front, and the "
        "rate is that of these alone."
    )

    @property
    def variants(self) -> Sequence[str]:
        return [f"{size:,} wait" for size in self.scale.backlogs]

    def columns(self) -> Mapping[str, Unit]:
        return dict.fromkeys(self.variants, Unit.JOBS_A_SECOND)

    def goals(self) -> Sequence[Goal]:
        shortest, *_, longest = self.variants
        return [Goal(f"drain per job when {longest}", ours(longest), ours(shortest), at_least=0.9)]

    def set_up(self, lane: Lane) -> None:
        lane.refresh()
        rounds_to_come = (self.scale.rounds - 1) * self.scale.front  # so that each round finds at least this many
        lane.fill(self.scale.backlogs[self.variants.index(lane.variant)] + rounds_to_come)

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.server.settle(lane.database)
        with lane.process() as process:
            return {lane.variant: drain_front(process, self.scale.front, self.scale)}
