"""Who is measured, and how each is started."""

import os
import sys
from dataclasses import dataclass
from enum import Enum, auto

from benchmarks.environment import ROOT, node_modules_with, python_with


class Home(Enum):
    """Where a contender's packages come from."""

    HERE = auto()
    PYPI = auto()
    NPM = auto()


@dataclass(frozen=True, slots=True)
class Entrant:
    """One that is measured.

    Args:
        name: what the tables call it.
        module: its file below `benchmarks/peers`.
        options: given to it.
        home: where its packages come from.
        requirements: which.
    """

    name: str
    module: str
    options: tuple[str, ...] = ()
    home: Home = Home.HERE
    requirements: tuple[str, ...] = ()

    def with_options(self, *options: str) -> "Entrant":
        """The same under other circumstances."""
        return Entrant(self.name, self.module, options, self.home, self.requirements)

    def command(self, url: str) -> tuple[list[str], dict[str, str]]:
        """The command that starts its process, and the environment for it.

        Raises:
            Unmeasured: its packages cannot be had.
        """
        if self.home is Home.NPM:
            modules = node_modules_with(*self.requirements)
            script = ROOT / "benchmarks" / "peers" / f"{self.module}.cjs"
            return ["node", str(script), url, *self.options], {**os.environ, "NODE_PATH": str(modules)}
        python = sys.executable if self.home is Home.HERE else str(python_with(*self.requirements))
        command = [python, "-P", "-m", "benchmarks.peers", self.module, url, *self.options]
        return command, {**os.environ, "PYTHONPATH": str(ROOT)}


PSYCOPG = "psycopg[binary,pool]~=3.2"

OURS = Entrant("sqla_oban", "sqla_oban", ("asyncpg",))
OURS_BY_PSYCOPG = Entrant("sqla_oban by psycopg", "sqla_oban", ("psycopg",))
BARE = Entrant("bare SQL", "bare")
OBAN = Entrant("oban", "oban", home=Home.PYPI, requirements=("oban~=0.7.0", PSYCOPG))
PGQUEUER = Entrant("pgqueuer", "pgqueuer", home=Home.PYPI, requirements=("pgqueuer[asyncpg]~=1.6.0", PSYCOPG))
PROCRASTINATE = Entrant("procrastinate", "procrastinate", home=Home.PYPI, requirements=("procrastinate~=3.10", PSYCOPG))
AWA = Entrant("awa", "awa", home=Home.PYPI, requirements=("awa-pg~=0.6.9", PSYCOPG))
GRAPHILE = Entrant("Graphile Worker", "graphile_worker", home=Home.NPM, requirements=("graphile-worker@~0.17.3",))

MAPPED = Entrant("a mapped row", "mapped")
PLAIN = Entrant("plain processes", "plain")

OUR_OWN = (OURS, BARE, MAPPED, PLAIN)
"""Ourselves, and what bounds us: the database, SQLAlchemy, the machine."""
PEERS = (OBAN, PGQUEUER, PROCRASTINATE, AWA, GRAPHILE)
EVERYONE = (OURS, OURS_BY_PSYCOPG, BARE, *PEERS)
ALL = (*EVERYONE, MAPPED, PLAIN)
