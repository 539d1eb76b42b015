"""The workers of an application that is tested."""

import asyncio
import os
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from sqla_oban import Cancel, Job, Record, Snooze, current_job, job, worker
from sqla_oban.workers.context import RunningJob


class Refused(Exception):
    """What a worker raises."""


DONE: ContextVar[list[object]] = ContextVar("testing_done")
"""What the workers of a test have done."""


def noted() -> list[object]:
    """What the workers of this test do from now on."""
    done: list[object] = []
    DONE.set(done)
    return done


SESSION: ContextVar[Callable[[], Any]] = ContextVar("testing_session")
"""How the application makes its sessions."""


@job(name="testing.note", tags=["noted"], meta={"by": "testing", "deep": {"a": 1, "b": 2}})
async def note(what: object = None) -> Record:
    DONE.get([]).append(what)
    return Record(what)


@job(name="testing.elsewhere", executor="process")
def elsewhere() -> int:
    return os.getpid()


@job(name="testing.in_thread")
def in_thread(what: object = None) -> str:
    DONE.get([]).append(what)
    return threading.current_thread().name


@job(name="testing.refuse", max_attempts=3, backoff=lambda _: 700.0)
async def refuse(what: object = None) -> None:
    raise Refused(what)


@job(name="testing.refuse_in_thread")
def refuse_in_thread() -> None:
    raise Refused


@job(name="testing.snooze")
async def snooze(seconds: float = 0) -> Snooze:
    return Snooze(seconds)


@job(name="testing.cancel")
async def cancel() -> Cancel:
    return Cancel("enough")


@job(name="testing.leave")
async def leave() -> None:
    raise SystemExit(3)


@job(name="testing.slow", timeout=0.01)
async def slow() -> None:
    await asyncio.Event().wait()


@job(name="testing.by_the_minute", deadline=60)
async def by_the_minute() -> str:
    return "in time"


@job(name="testing.wait_for_ever")
async def wait_for_ever() -> None:
    DONE.get([]).append("waiting")
    await asyncio.Event().wait()


@job(name="testing.who_am_i")
async def who_am_i() -> RunningJob:
    return current_job()


@job(name="testing.follow")
async def follow(times: int) -> None:
    """Enqueue the next, until `times` is used up."""
    DONE.get([]).append(times)
    if times:
        async with SESSION.get()() as session:
            session.add(follow.new(times - 1))
            await session.commit()


@job(name="testing.follow_in_thread")
def follow_in_thread(times: int) -> None:
    DONE.get([]).append(times)
    if times:
        with SESSION.get()() as session:
            session.add(follow_in_thread.new(times - 1))
            session.commit()


@worker(name="testing.Import", queue="imports")
class Import:
    async def process(self, job: Job) -> object:
        return job
