"""What it costs that jobs wait for each other."""

from collections.abc import Mapping, Sequence

from benchmarks.contenders import OURS
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours, rate
from benchmarks.units import Unit

CONCURRENCY = 100
PLAIN = "plain jobs"
WOVEN = "a workflow"


class Workflow(Scenario):
    """The jobs of a workflow, and as many others."""

    name = "workflow"
    title = "A workflow"
    about = (
        "One process at concurrency 100 drains no-op jobs until the last outcome is in the tables. In a workflow they "
        "stand in ten stages: all jobs of a stage but one run when the last of the stage before has ended, and that "
        "one when they all have ended."
    )
    contenders = (OURS,)

    @property
    def variants(self) -> Sequence[str]:
        return [PLAIN, WOVEN]

    def columns(self) -> Mapping[str, Unit]:
        return dict.fromkeys(self.variants, Unit.JOBS_A_SECOND)

    def goals(self) -> Sequence[Goal]:
        return [Goal(f"drain of a workflow of {self.scale.workflow:,}", ours(WOVEN), ours(PLAIN), at_least=0.5)]

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.refresh()
        jobs, budget = self.scale.workflow, self.scale.budget
        with lane.filled_process(jobs, *(["woven"] if lane.variant == WOVEN else [])) as process:
            asked = {"jobs": jobs, "concurrency": CONCURRENCY, "whole": True, "budget": budget}
            return {lane.variant: rate(process.ask("drain", within=budget, **asked))}
