"""What waking workers costs those who commit side by side."""

from collections.abc import Mapping, Sequence

from benchmarks.contenders import BARE, EVERYONE, OURS
from benchmarks.failure import Unmeasured
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours
from benchmarks.units import Unit

COMMITTERS = 16
ON = "wake-ups on"
OFF = "wake-ups off"


class Committers(Scenario):
    """Sixteen at once, while a node works."""

    name = "committers"
    title = "Sixteen committers"
    about = (
        "Sixteen connections of one process commit a job each, as fast as it goes, while a node at concurrency 100 "
        "runs what comes in. Off: the same with what wakes workers switched off, where that can be; bare SQL sends a "
        "NOTIFY or none."
    )
    contenders = tuple(entrant for entrant in EVERYONE if entrant.options != ("psycopg",))

    @property
    def variants(self) -> Sequence[str]:
        return [ON, OFF]

    def columns(self) -> Mapping[str, Unit]:
        return {ON: Unit.COMMITS_A_SECOND, OFF: Unit.COMMITS_A_SECOND}

    def goals(self) -> Sequence[Goal]:
        return [Goal("16 committers from Python, wake-ups on", ours(ON), ours(OFF), at_least=0.9)]

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.refresh()
        jobs = self.scale.commits * 4
        with lane.process() as node, lane.process(*self._options(lane)) as process:
            node.ask("serve", concurrency=100)
            answer = process.ask("enqueue", within=self.scale.budget, jobs=jobs, committers=COMMITTERS)
            return {lane.variant: jobs / answer["seconds"]}

    def set_up(self, lane: Lane) -> None:
        super().set_up(lane)
        self._options(lane)

    def _options(self, lane: Lane) -> Sequence[str]:
        switches = {(OURS, OFF): ["quiet"], (OURS, ON): [], (BARE, ON): ["ring"], (BARE, OFF): []}
        if lane.variant == OFF and (lane.entrant, OFF) not in switches:
            raise Unmeasured("its wake-ups cannot be switched off")
        return switches.get((lane.entrant, lane.variant), [])
