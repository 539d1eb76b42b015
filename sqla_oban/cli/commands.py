"""The commands, gathered under one name."""

import click

from sqla_oban.cli.check import check
from sqla_oban.cli.demo.command import demo
from sqla_oban.cli.doctor import doctor
from sqla_oban.cli.migrate import migrate
from sqla_oban.cli.operating.completion import completion
from sqla_oban.cli.operating.cron import cron
from sqla_oban.cli.operating.jobs import jobs
from sqla_oban.cli.operating.queues import queues
from sqla_oban.cli.operating.top import top
from sqla_oban.cli.operating.workflows import workflows
from sqla_oban.cli.run import run
from sqla_oban.cli.web import web


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sqla-oban", prog_name="sqla-oban")
def commands() -> None:
    """Background jobs in your own PostgreSQL, through your own SQLAlchemy."""


for command in (check, completion, cron, demo, doctor, jobs, migrate, queues, run, top, web, workflows):
    commands.add_command(command)
