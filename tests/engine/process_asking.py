"""Workers that ask for a signal or for what is upstream of them, to run in processes and in transactions."""

import os
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from sqla_oban import Record, current_job, inject, job


@job(name="asking.there")
def ask() -> object:
    return Record([current_job().signal(), os.getpid()])


@job(name="asking.there_async")
async def ask_async() -> object:
    return Record([await current_job().signal(), os.getpid()])


@job(name="asking.transactional", transactional=True)
async def pay_when_told(session: AsyncSession = inject()) -> object:
    """Writes before it asks: that is to happen once, however often it runs."""
    await session.execute(text("INSERT INTO runs VALUES (:id, 1, 1, '')"), {"id": current_job().id})
    return Record(await current_job().signal())


@job(name="asking.transactional_in_thread", transactional=True)
def pay_when_told_in_thread(session: Session = inject()) -> object:
    session.execute(text("INSERT INTO runs VALUES (:id, 1, 1, '')"), {"id": current_job().id})
    return Record(current_job().signal())


@job(name="asking.make")
async def make(value: Any) -> object:
    return Record(value)


@job(name="asking.look", executor="process")
def look() -> object:
    running = current_job()
    assert running.part is not None
    seen = {name: [str(one.state), one.result] for name, one in running.upstream.items()}
    return Record([seen, dict(running.context), os.getpid()])
