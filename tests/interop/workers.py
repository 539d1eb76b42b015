"""The workers as we have them; `peer_workers.py` has oban.py's under the same names."""

import json
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_oban import Record, Snooze, current_job, inject, job
from tests.shop import GATES

RUNS = "CREATE TABLE runs (job_id bigint PRIMARY KEY, runner text NOT NULL, note jsonb)"
"""What ran where; a second run of a job is refused by its key."""


async def ran(session: AsyncSession, note: Any = None) -> None:
    await session.execute(
        text("INSERT INTO runs (job_id, runner, note) VALUES (:id, 'sqla_oban', CAST(:note AS jsonb))"),
        {"id": current_job().id, "note": json.dumps(note)},
    )
    await session.commit()


@job(name="peer_workers.Count")
async def count(session: AsyncSession = inject()) -> None:
    await ran(session)


@job(name="peer_workers.Echo")
async def echo(*, session: AsyncSession = inject(), text: Any, numbers: Any, nested: Any) -> None:
    await ran(session, {"text": text, "numbers": numbers, "nested": nested})


@job(name="peer_workers.Wait")
async def wait() -> None:
    await GATES["wait"].wait()


@job(name="peer_workers.Stubborn")
async def stubborn(session: AsyncSession = inject()) -> None:
    await ran(session)


@job(name="peer_workers.Fail")
async def fail(session: AsyncSession = inject()) -> None:
    await ran(session, {"attempt": current_job().attempt})


@job(name="peer_workers.Finish", backoff=lambda _: 3600)
async def finish() -> None:
    raise RuntimeError("failed in sqla_oban")


@job(name="peer_workers.Doze")
async def doze() -> Snooze:
    return Snooze(3600)


@job(name="peer_workers.Keep")
async def keep() -> Record:
    return Record({"pages": [1, 2]})
