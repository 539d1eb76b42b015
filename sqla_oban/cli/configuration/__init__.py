"""What the command line works with: its options, over the environment, over a file.

The keys, their types and the services' tables are those of the dataclasses: nothing is listed twice.
"""

from sqla_oban.cli.configuration.configuration import Configuration, configured
from sqla_oban.cli.configuration.levels import LogLevel
from sqla_oban.cli.configuration.queues import QueueSpec, parse_queues

__all__ = ["Configuration", "LogLevel", "QueueSpec", "configured", "parse_queues"]
