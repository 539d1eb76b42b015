"""Queues as one word says them: `mailers:10,media:2`."""

from collections.abc import Mapping

from sqla_oban.errors import ConfigurationError, InvalidJob, shown
from sqla_oban.models.checks import checked_name
from sqla_oban.settings import QueueConfig
from sqla_oban.settings.checks import whole

QueueSpec = Mapping[str, int | QueueConfig | None]
"""Queues by name, each with how it is run: a number of jobs, all of it, or None for as the application says."""

SYNTAX = "queues are written as name:number, or as name for the number that the application gives, between commas"


def parse_queues(written: str) -> QueueSpec:
    """The queues that `written` names.

    Raises:
        ConfigurationError: it does not follow the syntax.

    >>> parse_queues("mailers:10, media")
    {'mailers': 10, 'media': None}
    """
    queues: dict[str, int | QueueConfig | None] = {}
    for part in written.split(","):
        name, colon, number = part.rpartition(":") if ":" in part else (part, "", "")
        name = _name(name.strip(), part)
        if name in queues:
            raise ConfigurationError(f"the queue {name!r} is named twice in {shown(written)}")
        queues[name] = _limit(number.strip(), name) if colon else None
    return queues


def _name(name: str, part: str) -> str:
    if not name:
        raise ConfigurationError(f"{shown(part)} names no queue; {SYNTAX}, as in mailers:10,media:2")
    try:
        return checked_name("a queue's name", name)
    except InvalidJob as error:
        raise ConfigurationError(str(error)) from None


def _limit(number: str, name: str) -> int:
    if not (number.isascii() and number.isdecimal()):
        raise ConfigurationError(f"the queue {name!r} has no number of jobs but {shown(number)}; {SYNTAX}")
    limit = int(number) if len(number) < 20 else 10**20  # Python reads no number of 5,000 digits
    whole(f"the number of jobs of the queue {name!r}", limit)
    return limit
