"""`SqlaOban`: the queue as a service beside or inside an application."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from sqla_oban.control.batches import Batches
from sqla_oban.control.crons import Crons
from sqla_oban.control.jobs import Jobs
from sqla_oban.control.queues import Queues
from sqla_oban.control.rates import RateLimits
from sqla_oban.control.sessions import Sessions
from sqla_oban.control.workflows import Workflows
from sqla_oban.engine.direct import check_direct, direct_url
from sqla_oban.engine.interrupts import handled
from sqla_oban.engine.relay import Relay, Relaying
from sqla_oban.errors import UnknownOption
from sqla_oban.given import (
    Settings,
    checked_dependencies,
    checked_engine,
    checked_factory,
    checked_queues,
    default_node,
)
from sqla_oban.lifespan import Lifespan
from sqla_oban.migrations import check_version, home_of
from sqla_oban.models import Models, Scope
from sqla_oban.node import Node
from sqla_oban.process import refuse_while_declaring
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
from sqla_oban.settings.checks import named, positive
from sqla_oban.workers.crontab import CronJob, declared
from sqla_oban.workers.providing import Provider


class SqlaOban(Relaying, Lifespan):
    """Runs jobs of the given queues on this node.

    Args:
        engine: the application's AsyncEngine on PostgreSQL, by asyncpg or psycopg. The runner makes three connections
            of its own from it and leaves the engine's pool to the application.
        queues: how many jobs of each queue to run here at the same time, as a number or a QueueConfig. Without
            queues this is a client: it starts nothing.
        name: runners of one name elect one leader among them.
        node: the name of this node; default: host name and process id. It should be unique.
        session_factory: makes the sessions that workers ask for, and those for what is asked of the runner outside of
            any, as by `jobs.cancel`; default: `async_sessionmaker(engine, expire_on_commit=False)`.
        schema: the schema of the tables; default: that of `models`, or the one to which the engine's
            `schema_translate_map` leads, else where its search path finds them.
        models: the mapped classes, as `make_models` made them: what `jobs.get` returns and workers are given as jobs;
            default: the library's own.
        listen_url: the same database past a pooler in transaction mode, as a str or a URL, for the one connection that
            listens and beats; the engine's `connect_args` do not hold for it. Without it jobs are polled for there.
        leadership: whether this node may lead; default: if it has queues.
        shutdown_grace_period: seconds that running jobs have to end when the runner stops.
        notifier, heartbeat, leader, stager, acker, lifeline, mender, pruner, scheduler: settings of the services.
        reindexer: settings of a service that is off without them.
        process: settings of the processes that run the jobs of workers and queues with `executor="process"`.
        cron: entries of the crontab, beside those that workers declare with `cron=`. The node that leads makes their
            jobs, so all nodes of a `name` that may lead should have the same.
        dependencies: what workers may ask for besides their arguments: functions without arguments, async or sync, by
            the type that they make. What a generator function yields, or a session, is closed after the execution. A
            sync worker that takes a `Session` needs `{Session: sessionmaker(sync_engine)}`.

    Raises:
        UnsupportedEngine: `engine` is no AsyncEngine on PostgreSQL.
        ConfigurationError: a queue or a setting is wrong.

    >>> await SqlaOban(engine, queues={"mailers": 10}).run()  # doctest: +SKIP
    """

    workflows: Workflows
    """What can be asked of and done to workflows: get, status, cancel, retry, put_context, to_mermaid."""
    batches: Batches
    """What can be done to batches: get, cancel, retry."""
    limits: RateLimits
    """Rate limits for other code than jobs: consume, acquire, available, reset."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        queues: Mapping[str, int | QueueConfig] | None = None,
        name: str = "Oban",
        node: str | None = None,
        session_factory: async_sessionmaker[AsyncSession] | None = None,
        schema: str | None = None,
        models: Models | None = None,
        listen_url: str | URL | None = None,
        leadership: bool | None = None,
        shutdown_grace_period: float = 15.0,
        notifier: NotifierSettings | None = None,
        heartbeat: HeartbeatSettings | None = None,
        leader: LeaderSettings | None = None,
        stager: StagerSettings | None = None,
        acker: AckerSettings | None = None,
        lifeline: LifelineSettings | None = None,
        mender: MenderSettings | None = None,
        pruner: PrunerSettings | None = None,
        scheduler: SchedulerSettings | None = None,
        reindexer: ReindexerSettings | None = None,
        process: ProcessSettings | None = None,
        cron: Sequence[CronJob] = (),
        dependencies: Mapping[Any, Callable[[], Any]] | None = None,
    ) -> None:
        self._options = {option: value for option, value in locals().items() if option not in ("self", "engine")}
        self._engine = checked_engine(engine)
        configs = checked_queues(queues)
        if shutdown_grace_period != 0:
            positive("shutdown_grace_period", shutdown_grace_period)
        scope = Scope.of(engine, None if schema is None else named("schema", schema), models)
        factory = checked_factory(session_factory or async_sessionmaker(engine, expire_on_commit=False))
        self._settings = Settings(
            name=named("name", name),
            node=default_node() if node is None else named("node", node),
            queues=configs,
            scope=scope,
            listen_url=None if listen_url is None else direct_url(listen_url, engine.dialect.driver),
            leadership=bool(configs) if leadership is None else leadership,
            shutdown_grace_period=shutdown_grace_period,
            notifier=notifier or NotifierSettings(),
            heartbeat=heartbeat or HeartbeatSettings(),
            leader=leader or LeaderSettings(),
            stager=stager or StagerSettings(),
            acker=acker or AckerSettings(),
            lifeline=lifeline or LifelineSettings(),
            mender=mender or MenderSettings(),
            pruner=pruner or PrunerSettings(),
            scheduler=scheduler or SchedulerSettings(),
            reindexer=reindexer,
            process=process or ProcessSettings(),
            cron=tuple(declared(cron, ()).values()),
            provider=Provider(factory, checked_dependencies(dependencies), schema=scope.schema, model=scope.model),
        )
        self._changing = asyncio.Lock()
        self._node: Node | None = None
        self._make_controls(Sessions(factory, scope))

    def _make_controls(self, sessions: Sessions) -> None:
        settings = self._settings
        self._jobs = Jobs(sessions, settings.scope)
        self._crons = Crons(sessions, schema=settings.schema)
        self._queues = Queues(
            sessions,
            runners=settings.runners,
            node=settings.node,
            here=lambda: None if self._node is None else self._node.queues,
        )
        self.batches = Batches(sessions, settings.scope)
        self.workflows = Workflows(sessions, settings.scope)
        self.limits = RateLimits(sessions, runners=settings.runners, queues=settings.queues)
        self._relay = self._make_relay(sessions)

    @property
    def engine(self) -> AsyncEngine:
        """The application's engine."""
        return self._engine

    @property
    def settings(self) -> Settings:
        """What the options came to, with the defaults of those that were not given."""
        return self._settings

    def with_options(self, **options: Any) -> Self:
        """Another runner on the same engine, with these options over those that this one was made with.

        Raises:
            UnknownOption: there is no such option.
            ConfigurationError: a queue or a setting is wrong.

        >>> await oban.with_options(queues={"media": 2}, node="media-1").run()  # doctest: +SKIP
        """
        for option in options:
            if option not in self._options:
                raise UnknownOption(option, self._options, type(self).__qualname__)
        return type(self)(self._engine, **{**self._options, **options})

    @property
    def name(self) -> str:
        """The name under which runners elect one leader."""
        return self._settings.name

    @property
    def node(self) -> str:
        """The name of this node."""
        return self._settings.node

    @property
    def is_leader(self) -> bool:
        """Whether this node does the upkeep at this moment."""
        return self._node is not None and self._node.is_leader

    @property
    def jobs(self) -> Jobs:
        """What can be done to stored jobs: get, cancel, retry, delete, update."""
        return self._jobs

    @property
    def crons(self) -> Crons:
        """What can be done to the crontab: create, update, pause, resume, delete, get."""
        return self._crons

    @property
    def queues(self) -> Queues:
        """What can be done to queues: pause, resume, scale, start, stop, check."""
        return self._queues

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, let running jobs end, and return. A second signal ends the grace period.

        Outside the main thread signals are left alone: cancel the task instead, to the same effect.

        Raises:
            SchemaMismatch: the database's tables are of another version than this library needs.
        """
        asked, hurry = asyncio.Event(), asyncio.Event()
        with handled(lambda: hurry.set() if asked.is_set() else asked.set()):
            await self.start()
            try:
                await asked.wait()
            finally:
                await self.stop(hurry=hurry)

    async def start(self) -> None:
        """Start to run jobs in the background; does nothing when started already. May follow a `stop`.

        Raises:
            SchemaMismatch: the database's tables are of another version than this library needs.
            ConfigurationError: `listen_url` leads elsewhere, or the engine does not suit its pooler.
        """
        refuse_while_declaring()
        async with self._changing:
            if self._node is not None:
                return
            async with self._engine.connect() as connection:
                await connection.run_sync(check_version, schema=self._settings.schema)
                home = await connection.run_sync(home_of, schema=self._settings.schema)
            if self._settings.queues or self._settings.leadership:
                if self._settings.listen_url is not None:
                    await check_direct(self._settings.listen_url, self._engine)
                node = Node(self._engine, self._settings, home=home)
                await node.start()
                self._node = node

    async def stop(self, *, hurry: asyncio.Event | None = None) -> None:
        """Stop claiming, let running jobs end, stop those that do not, hand back what is unfinished.

        Does nothing when not started.

        Args:
            hurry: when set, the grace period is over.
        """
        async with self._changing:
            await self._relay.close()
            if self._node is not None:
                node, self._node = self._node, None
                await asyncio.shield(node.stop(self._settings.shutdown_grace_period, hurry))

    def _make_relay(self, sessions: Sessions) -> Relay:
        settings = self._settings
        return Relay(
            self._engine,
            sessions,
            settings.scope,
            listen_url=settings.listen_url,
            node=settings.node,
            notifier=settings.notifier,
            stager=settings.stager,
        )
