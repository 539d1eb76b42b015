"""How fast jobs are put in."""

from collections.abc import Mapping, Sequence

from benchmarks.contenders import BARE, EVERYONE, MAPPED
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours
from benchmarks.table import Cell
from benchmarks.units import Unit

ONE = "one by one"
MANY = "in bulk"
WARM = 20
"""Jobs that are not counted."""


class Enqueue(Scenario):
    """One job a commit, and thousands."""

    name = "enqueue"
    title = "Putting jobs in"
    about = (
        "One by one: a job and a commit, again and again, by `session.add` or what the peer has for it, against "
        "INSERT and COMMIT on the driver. In bulk: thousands of jobs at once, which are made already, by "
        "`insert_all` or what the peer has for it, against one INSERT from unnest. Nobody works meanwhile. "
        "A mapped row is what SQLAlchemy itself does, with a class of four columns."
    )
    contenders = (*EVERYONE, MAPPED)

    @property
    def variants(self) -> Sequence[str]:
        return [ONE, MANY]

    def columns(self) -> Mapping[str, Unit]:
        return {ONE: Unit.COMMITS_A_SECOND, MANY: Unit.JOBS_A_SECOND}

    def goals(self) -> Sequence[Goal]:
        return [
            Goal("one `session.add` + commit", ours(ONE), Cell(BARE.name, ONE), at_least=0.5),
            Goal(f"`insert_all` of {self.scale.bulk:,}, jobs/s", ours(MANY), at_least=100_000),
            Goal(f"`insert_all` of {self.scale.bulk:,}", ours(MANY), Cell(BARE.name, MANY), at_least=0.6),
        ]

    def measure(self, lane: Lane) -> Mapping[str, float]:
        lane.refresh()
        with lane.process() as process:
            if lane.variant == ONE:
                jobs = self.scale.commits
                return {ONE: jobs / process.ask("enqueue", jobs=jobs, committers=1, warm=WARM)["seconds"]}
            return {MANY: self.scale.bulk / process.ask("insert", jobs=self.scale.bulk, warm=WARM)["seconds"]}
