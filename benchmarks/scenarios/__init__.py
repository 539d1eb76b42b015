"""One file for each thing that is measured."""

from collections.abc import Mapping

from benchmarks.scenario import Scenario
from benchmarks.scenarios.backlog import Backlog
from benchmarks.scenarios.bloat import Bloat
from benchmarks.scenarios.committers import Committers
from benchmarks.scenarios.cpu import Cpu
from benchmarks.scenarios.drain import Drain
from benchmarks.scenarios.enqueue import Enqueue
from benchmarks.scenarios.features import Features
from benchmarks.scenarios.idle import Idle
from benchmarks.scenarios.kept import Kept
from benchmarks.scenarios.latency import Latency
from benchmarks.scenarios.limits import Limits
from benchmarks.scenarios.memory import Memory
from benchmarks.scenarios.nodes import Nodes
from benchmarks.scenarios.pgbench import Pgbench
from benchmarks.scenarios.schedule import Schedule
from benchmarks.scenarios.snapshot import Snapshot
from benchmarks.scenarios.workflow import Workflow
from benchmarks.scenarios.writes import Writes

IN_ORDER: tuple[type[Scenario], ...] = (
    Drain,
    Backlog,
    Kept,
    Snapshot,
    Nodes,
    Features,
    Limits,
    Workflow,
    Enqueue,
    Committers,
    Pgbench,
    Latency,
    Schedule,
    Cpu,
    Memory,
    Idle,
    Writes,
    Bloat,
)
SCENARIOS: Mapping[str, type[Scenario]] = {scenario.name: scenario for scenario in IN_ORDER}
