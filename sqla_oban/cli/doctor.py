"""`sqla-oban doctor`."""

import sys
from collections.abc import Collection
from dataclasses import replace

import click

from sqla_oban.cli.operating.client import operating
from sqla_oban.cli.operating.output import Output
from sqla_oban.cli.report import show, show_json
from sqla_oban.doctor.diagnosis import diagnosed
from sqla_oban.doctor.finding import all_well
from sqla_oban.doctor.thresholds import Thresholds
from sqla_oban.runner import SqlaOban
from sqla_oban.workers.registry import REGISTRY


@click.command()
@operating
@click.option(
    "--horizon",
    type=click.FloatRange(min=0),
    default=Thresholds().horizon,
    show_default=True,
    help="Seconds for which a transaction may keep dead rows.",
)
async def doctor(oban: SqlaOban, output: Output, *, horizon: float) -> None:
    """Look what harms the queue, and say what to do about it.

    Who keeps dead rows, bloat, autovacuum, indexes and schema, nodes and their versions, clocks and listeners, the
    leader, and jobs that nobody will run. Changes nothing. Exits with 1 if there is something to do.
    """
    declared: Collection[str] | None = list(REGISTRY) or None
    findings = await diagnosed(oban, declared=declared, thresholds=replace(Thresholds(), horizon=horizon))
    (show_json if output.as_json else show)(findings)
    sys.exit(0 if all_well(findings) else 1)
