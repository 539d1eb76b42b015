"""Whether jobs that have ended and are kept slow the queue down."""

from collections.abc import Mapping, Sequence

from benchmarks.front import ONE_MORE, drain_front
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours
from benchmarks.units import Unit

NONE = "nothing kept"


class Kept(Scenario):
    """Drains beside finished rows."""

    name = "kept"
    title = "Finished jobs that are kept"
    about = (
        "The tables hold so many jobs that have ended. One process at concurrency 100 drains a fixed number of jobs "
        "that were put in after them."
    )

    @property
    def variants(self) -> Sequence[str]:
        return [NONE, f"{self.scale.kept:,} kept"]

    def columns(self) -> Mapping[str, Unit]:
        return dict.fromkeys(self.variants, Unit.JOBS_A_SECOND)

    def goals(self) -> Sequence[Goal]:
        none, many = self.variants
        return [Goal(f"drain per job with {many}", ours(many), ours(none), at_least=0.9)]

    def set_up(self, lane: Lane) -> None:
        lane.refresh()
        if lane.variant != NONE:
            with lane.process() as process:
                process.ask("keep", within=900, jobs=self.scale.kept)

    def measure(self, lane: Lane) -> Mapping[str, float]:
        if lane.variant == NONE:
            lane.refresh()
        with lane.filled_process(self.scale.front + ONE_MORE) as process:
            return {lane.variant: drain_front(process, self.scale.front, self.scale)}
