"""Lets carriers write into the `meta` of jobs that are about to be inserted.

While there are none it costs a call a job. A job that is inserted again, after its transaction was rolled back, is
asked about again.
"""

import logging
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.orm import Mapper

from sqla_oban.models import JobMixin
from sqla_oban.telemetry.carrier import carriers

log = logging.getLogger(__name__)


@event.listens_for(JobMixin, "before_insert", propagate=True)
def _before(_: Mapper[Any], __: Connection, job: JobMixin) -> None:
    if carriers():
        send((job,))


@event.listens_for(JobMixin, "after_insert", propagate=True)
def _after(_: Mapper[Any], __: Connection, job: JobMixin) -> None:
    if carriers():
        tell((job,))


def send(jobs: Iterable[JobMixin]) -> None:
    """Ask the carriers what is to go with jobs that are about to be inserted."""
    for carrier in carriers():
        for job in jobs:
            try:
                added = carrier.sending(job)
            except Exception:
                log.exception("the carrier %r failed on %r", carrier, job)
                continue
            meta: object = job.__dict__.get("meta")
            if added and isinstance(meta, dict | None):  # an SQL expression is nothing to add to
                job.meta = {**(meta or {}), **added}


def tell(jobs: Iterable[JobMixin]) -> None:
    """Tell the carriers that jobs were inserted."""
    for carrier in carriers():
        for job in jobs:
            try:
                carrier.sent(job)
            except Exception:
                log.exception("the carrier %r failed on %r", carrier, job)
