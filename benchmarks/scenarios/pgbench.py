"""What waking workers costs, with no Python in the way."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.contenders import OURS
from benchmarks.failure import Unmeasured
from benchmarks.goal import Goal
from benchmarks.scenario import Lane, Scenario, ours
from benchmarks.units import Unit
from sqla_oban.testing.temporary_postgres import find_binaries

CLIENTS = 16
ON = "wake-ups on"
OFF = "wake-ups off"
STATES = {"a busy node": (1, 1), "an idle node": (0, 100)}
"""Of the node: how many jobs keep it busy for good, and its limit."""
INSERT = """INSERT INTO oban_jobs (queue, worker, args) VALUES ('bench', 'benchmarks.noop', '{"number": 1}');\n"""
FOR_EVER = 3600.0


class Pgbench(Scenario):
    """Sixteen clients of pgbench."""

    name = "pgbench"
    title = "Sixteen committers in pgbench"
    about = (
        "Sixteen clients of pgbench INSERT a job each, as fast as it goes. A busy node has no free slot and is never "
        "rung; an idle one runs what comes in. Off: with the setting that silences the trigger."
    )
    contenders = (OURS,)

    @property
    def variants(self) -> Sequence[str]:
        return [f"{state}, {switch}" for state in STATES for switch in (ON, OFF)]

    def columns(self) -> Mapping[str, Unit]:
        return dict.fromkeys(self.variants, Unit.COMMITS_A_SECOND)

    def goals(self) -> Sequence[Goal]:
        return [
            Goal(f"16 committers in pgbench, {state}", ours(f"{state}, {ON}"), ours(f"{state}, {OFF}"), at_least=0.75)
            for state in STATES
        ]

    def measure(self, lane: Lane) -> Mapping[str, float]:
        state, switch = lane.variant.rsplit(", ", 1)
        sleepers, limit = STATES[state]
        lane.refresh()
        lane.fill(sleepers, nap=FOR_EVER)
        with lane.process() as node:
            node.ask("serve", concurrency=limit)
            return {lane.variant: self._transactions(lane, quiet=switch == OFF)}

    def _transactions(self, lane: Lane, *, quiet: bool) -> float:
        environment = {**os.environ, "PGOPTIONS": "-c sqla_oban.notify=off" if quiet else ""}
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(INSERT)
            script.flush()
            options = ["-n", "-c", str(CLIENTS), "-j", "2", "-T", f"{self.scale.window:.0f}", "-f", script.name]
            command = [str(find_pgbench()), *options, lane.server.url(lane.database)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        found = re.search(r"tps = ([\d.]+)", done.stdout)
        if found is None:
            raise Unmeasured(f"pgbench failed: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
        return float(found[1])


def find_pgbench() -> Path:
    """The pgbench of the server's own release, else any.

    Raises:
        Unmeasured: there is none.
    """
    own = find_binaries() / "pgbench"
    if own.exists():
        return own
    found = shutil.which("pgbench")
    if found is None:
        raise Unmeasured("there is no pgbench here")
    return Path(found)
