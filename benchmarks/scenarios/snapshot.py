"""Whether a snapshot that somebody holds open slows the queue down."""

import contextlib
from collections.abc import Mapping, Sequence

from benchmarks.front import ONE_MORE, drain_front
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours
from benchmarks.units import Unit

NONE = "no snapshot"
OPEN = "snapshot open"


class Snapshot(Scenario):
    """Drains with and without an old snapshot."""

    name = "snapshot"
    title = "A snapshot held open"
    about = (
        "A transaction elsewhere in the database holds a snapshot from before the first job ran, so that no dead row "
        "can be removed. One process at concurrency 100 drains the queue."
    )

    @property
    def variants(self) -> Sequence[str]:
        return [NONE, OPEN]

    def columns(self) -> Mapping[str, Unit]:
        return dict.fromkeys(self.variants, Unit.JOBS_A_SECOND)

    def goals(self) -> Sequence[Goal]:
        return [Goal("drain with a snapshot held open", ours(OPEN), ours(NONE), at_least=0.85)]

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.refresh()
        held = lane.server.snapshot(lane.database) if lane.variant == OPEN else contextlib.nullcontext()
        with lane.filled_process(self.scale.long + ONE_MORE) as process, held:
            return {lane.variant: drain_front(process, self.scale.long, self.scale)}
