"""What several tests share: recorded events, waiting without sleeping, and quick settings."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import Job, telemetry
from sqla_oban.settings import HeartbeatSettings, LeaderSettings, LifelineSettings, StagerSettings
from sqla_oban.telemetry.events import Event, JobsPruned

E = TypeVar("E", bound=Event)
T = TypeVar("T")

PATIENCE = 30.0
"""Seconds after which a wait has failed; how long it takes is never asserted."""

both_drivers = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"], indirect=True)


class Recorder:
    """Keeps all events, from all threads, and waits for those to come."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        telemetry.attach(self._record, Event)
        return self

    def __exit__(self, *_: object) -> None:
        telemetry.detach(self._record)

    def of(self, kind: type[E], **fields: Any) -> list[E]:
        """The events of one kind so far, with these fields."""
        with self._lock:
            return [one for one in self._events if isinstance(one, kind) and matches(one, fields)]

    async def wait_for(self, kind: type[E], *, count: int = 1, **fields: Any) -> list[E]:
        """The same, once there are `count`."""
        await eventually(lambda: len(self.of(kind, **fields)) >= count, f"{count} {kind.__name__} {fields}")
        return self.of(kind, **fields)

    def _record(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)


def matches(event: Event, fields: dict[str, Any]) -> bool:
    return all(getattr(event, name) == value for name, value in fields.items())


async def eventually(
    condition: Callable[[], bool | Awaitable[bool]], what: str = "the condition", patience: float = PATIENCE
) -> None:
    """Wait until `condition` holds; fail when it does not within `patience` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert loop.time() < deadline, f"waited {patience} s in vain for {what}"
        poll = asyncio.Event()
        loop.call_later(0.01, poll.set)
        await poll.wait()


async def pruned(events: Recorder, count: int) -> None:
    """Wait until `count` jobs are deleted, in however many turns: a lease may be lost in one."""
    await eventually(lambda: sum(event.count for event in events.of(JobsPruned)) >= count, f"{count} to be deleted")
    assert sum(event.count for event in events.of(JobsPruned)) == count


async def asleep(engine: AsyncEngine) -> bool:
    """Whether exactly one producer of the database holds the key by which it is rung."""
    held = (
        "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    async with engine.connect() as connection:
        return bool(await connection.scalar(text(held)))


async def jobs(engine: AsyncEngine) -> Sequence[Job]:
    """All jobs in the order of their ids."""
    async with AsyncSession(engine) as session:
        return (await session.scalars(select(Job).order_by(Job.id))).all()


async def enqueue(engine: AsyncEngine, *new: Job) -> list[int]:
    """Commit jobs and return their ids."""
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add_all(new)
    return [job.id for job in new]


def is_gone(pid: int) -> bool:
    """Whether a process has ended, all of it: its first thread is a zombie while others of its threads still end."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return "\nState:\tZ" in status and "\nThreads:\t1\n" in status


MORTAL = HeartbeatSettings(interval=0.2, ttl=9.0, margin=0.5)
"""For nodes that are to be found dead, or to count as dead. A statement of their pulse may take 2.8 s."""


def fast_settings() -> dict[str, Any]:
    """The runner's defaults in quick motion, but for how long a busy machine may leave it without a turn.

    A statement of the pulse may take ten seconds, and a leader be 3.6 s late, before anything comes of it.
    """
    return {
        "heartbeat": HeartbeatSettings(interval=0.2, ttl=60.0),
        "leader": LeaderSettings(ttl=6.0, margin=0.3),
        "lifeline": LifelineSettings(interval=0.2, grace=2.0),
        "stager": StagerSettings(interval=0.3, deaf_interval=0.1),
        "shutdown_grace_period": 5.0,
    }
