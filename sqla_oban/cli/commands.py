"""The commands, gathered under one name."""

import click

from sqla_oban.cli.check import check
from sqla_oban.cli.demo.command import demo
from sqla_oban.cli.migrate import migrate
from sqla_oban.cli.run import run
from sqla_oban.cli.web import web


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sqla-oban", prog_name="sqla-oban")
def commands() -> None:
    """Background jobs in your own PostgreSQL, through your own SQLAlchemy."""


commands.add_command(check)
commands.add_command(demo)
commands.add_command(migrate)
commands.add_command(run)
commands.add_command(web)
