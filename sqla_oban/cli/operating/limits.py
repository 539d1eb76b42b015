"""Limits as they are written on the command line."""

from typing import Literal

import click

from sqla_oban.errors import ConfigurationError
from sqla_oban.settings import RateLimit

LIFTED = "none"


def global_limit(text: str) -> int | Literal[False]:
    """A number of jobs; False for "none"."""
    if text == LIFTED:
        return False
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise click.BadParameter(f"{text!r} is no limit: write a number of jobs above 0, or {LIFTED}")
    return int(text)


def rate_limit(text: str) -> RateLimit | Literal[False]:
    """Jobs and seconds, as 100/60, perhaps with the algorithm, as 100/60/bucket; False for "none"."""
    if text == LIFTED:
        return False
    allowed, _, rest = text.partition("/")
    period, _, algorithm = rest.partition("/")
    try:
        return RateLimit(int(allowed), float(period), algorithm or "sliding")
    except (ConfigurationError, ValueError):
        raise click.BadParameter(
            f"{text!r} is no rate: write jobs/seconds, as 100/60 or 100/60/bucket, or {LIFTED}"
        ) from None


def written(rate: RateLimit | None) -> str | None:
    """A rate as it is written here.

    >>> written(RateLimit(100, 60)), written(RateLimit(5, 0.5, "bucket")), written(None)
    ('100/60', '5/0.5/bucket', None)
    """
    if rate is None:
        return None
    algorithm = "" if rate.algorithm == "sliding" else f"/{rate.algorithm}"
    return f"{rate.allowed}/{rate.seconds:g}{algorithm}"
