"""What `oban.jobs.update` may change of a job."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypedDict

from sqlalchemy import cast, literal

from sqla_oban.errors import InvalidJob, UnknownOption
from sqla_oban.models.base import UTCDateTime
from sqla_oban.models.checks import checked_name
from sqla_oban.queries.expressions import now
from sqla_oban.workers.options import CHECKS, json_object


class JobFields(TypedDict, total=False):
    """What `update` may change."""

    worker: str
    args: Mapping[str, Any]
    queue: str
    priority: int
    max_attempts: int
    tags: Collection[str]
    meta: Mapping[str, Any]
    schedule_in: float | timedelta
    scheduled_at: datetime
    weight: int


def checked_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What to write into the columns for `fields`.

    Raises:
        UnknownOption: there is no such field, or it is none to be set.
        InvalidJob, UnserialisableValue: a value is out of range.
    """
    checks: dict[str, Callable[[Any], Any]] = {
        **{name: check for name, check in CHECKS.items() if name not in ("unique", "chain")},  # about the INSERT
        "worker": partial(checked_name, "worker"),
        "args": partial(json_object, "args"),
    }
    for name in fields:
        if name not in checks:
            raise UnknownOption(name, checks, "oban.jobs.update()")
    if {"schedule_in", "scheduled_at"} <= fields.keys():
        raise InvalidJob("oban.jobs.update() takes schedule_in or scheduled_at, not both")
    values = {name: checks[name](value) for name, value in fields.items()}
    if (delay := values.pop("schedule_in", None)) is not None:
        values["scheduled_at"] = now() + delay
    elif (due := values.get("scheduled_at")) is not None:
        values["scheduled_at"] = cast(literal(due, UTCDateTime()), UTCDateTime())
    return values
