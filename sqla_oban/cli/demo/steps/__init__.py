"""What the demonstration shows, one step a file, in the order in which it is shown."""

from collections.abc import Sequence
from typing import Final

from sqla_oban.cli.demo.steps.committed import Committed
from sqla_oban.cli.demo.steps.led import Led
from sqla_oban.cli.demo.steps.rescued import Rescued
from sqla_oban.cli.demo.steps.retried import Retried
from sqla_oban.cli.demo.steps.rolled_back import RolledBack
from sqla_oban.cli.demo.steps.scheduled import Scheduled
from sqla_oban.cli.demo.steps.step import Step

STEPS: Final[Sequence[type[Step]]] = (Committed, RolledBack, Retried, Scheduled, Led, Rescued)

__all__ = ["STEPS", "Step"]
