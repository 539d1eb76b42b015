"""What a runner was given, checked, and complete with the defaults of what was not."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import sessionmaker

from sqla_oban.control.runners import Runners
from sqla_oban.errors import ConfigurationError, InvalidJob, UnsupportedEngine, shown
from sqla_oban.models import Scope
from sqla_oban.models.checks import checked_name
from sqla_oban.process import process_name
from sqla_oban.settings import (
    AckerSettings,
    HeartbeatSettings,
    LeaderSettings,
    LifelineSettings,
    MenderSettings,
    NotifierSettings,
    ProcessSettings,
    PrunerSettings,
    QueueConfig,
    ReindexerSettings,
    SchedulerSettings,
    StagerSettings,
)
from sqla_oban.workers.crontab import CronJob
from sqla_oban.workers.providing import Provider

_instances = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a node is made from."""

    name: str
    node: str
    queues: Mapping[str, QueueConfig]
    scope: Scope
    listen_url: URL | None
    leadership: bool
    shutdown_grace_period: float
    notifier: NotifierSettings
    heartbeat: HeartbeatSettings
    leader: LeaderSettings
    stager: StagerSettings
    acker: AckerSettings
    lifeline: LifelineSettings
    mender: MenderSettings
    pruner: PrunerSettings
    scheduler: SchedulerSettings
    reindexer: ReindexerSettings | None
    process: ProcessSettings
    cron: Sequence[CronJob]
    provider: Provider

    @property
    def schema(self) -> str | None:
        """That of the tables; None for the search path's."""
        return self.scope.schema

    @property
    def runners(self) -> Runners:
        """Those that share its queues."""
        return Runners(self.name, self.schema)


def checked_engine(engine: Any) -> AsyncEngine:
    """An engine that a runner can run on.

    Raises:
        UnsupportedEngine: it is another.
    """
    if isinstance(engine, Engine):
        raise UnsupportedEngine(
            "SqlaOban runs on an AsyncEngine, got a sync Engine; make one with create_async_engine() for the runner, "
            "sync sessions can go on enqueueing"
        )
    if not isinstance(engine, AsyncEngine):
        raise UnsupportedEngine(f"SqlaOban runs on an AsyncEngine, got {type(engine).__qualname__}")
    if engine.dialect.name != "postgresql":
        raise UnsupportedEngine(f"SqlaOban needs PostgreSQL, the engine is for {engine.dialect.name}")
    if engine.dialect.driver not in ("asyncpg", "psycopg", "psycopg_async"):
        raise UnsupportedEngine(f"SqlaOban runs on asyncpg or psycopg, the engine uses {engine.dialect.driver}")
    return engine


def checked_factory(factory: Any) -> async_sessionmaker[AsyncSession]:
    """What makes sessions.

    Raises:
        ConfigurationError: it makes sync ones, or none.
    """
    if isinstance(factory, sessionmaker) or not callable(factory):
        raise ConfigurationError(f"session_factory must be an async_sessionmaker, got {shown(factory)}")
    return factory  # type: ignore[no-any-return]  # a function that makes AsyncSessions does as well


def checked_dependencies(dependencies: Any) -> Mapping[Any, Callable[[], Any]]:
    """What makes what workers ask for.

    Raises:
        ConfigurationError: something among it is no function.
    """
    for kind, factory in (dependencies or {}).items():
        if not callable(factory):
            raise ConfigurationError(f"dependencies[{shown(kind)}] must be a function, got {shown(factory)}")
    return dependencies or {}


def checked_queues(queues: Mapping[str, int | QueueConfig] | None) -> dict[str, QueueConfig]:
    """How each queue is to be run.

    Raises:
        ConfigurationError: a name or a number is none that a queue can have.
    """
    if not isinstance(queues, Mapping | None):
        raise ConfigurationError(
            f'queues must be a dict of names and limits, as {{"mailers": 10}}, got {shown(queues)}'
        )
    return {_queue_name(queue): _queue_config(queue, value) for queue, value in (queues or {}).items()}


def default_node() -> str:
    """Host and process, and for a second runner in the process its number."""
    number = next(_instances)
    return process_name() + (f".{number}" if number > 1 else "")


def _queue_name(queue: object) -> str:
    try:
        return checked_name("a queue's name", queue)
    except InvalidJob as error:
        raise ConfigurationError(str(error)) from None


def _queue_config(queue: str, value: object) -> QueueConfig:
    if isinstance(value, QueueConfig):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return QueueConfig(limit=value)
    raise ConfigurationError(f"queue {queue!r} takes a number of jobs or a QueueConfig, got {shown(value)}")
