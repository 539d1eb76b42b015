"""The services of one started runner, wired together; made anew for each start."""

import asyncio
import logging
from collections.abc import Awaitable

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_oban import telemetry
from sqla_oban.engine.acker import Acker
from sqla_oban.engine.database import Link
from sqla_oban.engine.executors import Executors
from sqla_oban.engine.heartbeat import Heartbeat
from sqla_oban.engine.hush import Hush
from sqla_oban.engine.leader import Leader
from sqla_oban.engine.notifier import Notifier
from sqla_oban.engine.producer import Producer
from sqla_oban.engine.producers import STOPPING, Producers
from sqla_oban.engine.pulse import Pulse
from sqla_oban.engine.queues import LocalQueues
from sqla_oban.engine.service import Service
from sqla_oban.engine.sleep import Sleep
from sqla_oban.engine.stager import Stager
from sqla_oban.engine.switchboard import Switchboard
from sqla_oban.given import Settings
from sqla_oban.maintenance.lifeline import Lifeline
from sqla_oban.maintenance.mender import Mender
from sqla_oban.maintenance.pruner import Pruner
from sqla_oban.maintenance.reindexer import PATIENCE, Reindexer
from sqla_oban.maintenance.scheduler import Scheduler
from sqla_oban.queries.producers import DEREGISTER, producer_id
from sqla_oban.telemetry.events import RunnerStarted, RunnerStopped, RunnerStopping
from sqla_oban.workers.crontab import declared
from sqla_oban.workers.registry import REGISTRY

log = logging.getLogger(__name__)

STATEMENT_TIMEOUT = 10.0
"""Seconds that a statement may take before its connection counts as broken."""


class Node:
    """What runs between a start and a stop.

    Three connections: `pulse` in the pulse thread (LISTEN, beats, the lease, rescue, cron), `claim` for the producers,
    and `ack` for all else that writes, so that the acknowledgement of one batch overlaps with the claim of the next.
    `pulse` takes the address that is given for listening: a pooler that has no session to spare must not let a beat
    wait, either. The engine's session settings do not hold there, so it names the schema.

    Args:
        engine: the user's.
        home: the schema in which the tables were found.
    """

    def __init__(self, engine: AsyncEngine, settings: Settings, *, home: str) -> None:
        self._settings = settings
        self._home = home
        self._pulse = Pulse()
        self._direct = engine if settings.listen_url is None else create_async_engine(settings.listen_url)
        self._links = {
            "pulse": Link(self._direct, purpose="pulse", schema=home, timeout=settings.heartbeat.patience),
            "claim": Link(engine, purpose="claim", schema=settings.schema, timeout=STATEMENT_TIMEOUT),
            "ack": Link(engine, purpose="ack", schema=settings.schema, timeout=STATEMENT_TIMEOUT),
        }
        self._notifier = self._make_notifier()
        self._acker = Acker(
            self._links["ack"],
            node=settings.node,
            settings=settings.acker,
            on_put_off=lambda seconds: self._stager.expect(seconds),  # noqa: PLW0108 (it is made below)
        )
        self._producers = self._make_producers()
        self._stager = self._make_stager()
        self._executors = Executors(
            settings.process,
            settings.queues,
            self._producers.limits,
            node=settings.node,
            provider=settings.provider,
            link=self._links["claim"],
        )
        self._heartbeat = self._make_heartbeat()
        self.queues = self._make_queues()
        self._leader = self._make_leader() if settings.leadership else None
        self._guards = self._make_guards(self._leader) if self._leader is not None else []
        self._upkeep = self._make_upkeep()
        self._switchboard = Switchboard(
            self._notifier,
            self._producers,
            self.queues,
            on_due_soon=self._stager.wake,
            on_crons=self._wake_upkeep,
            on_hearing=self._ask_for_lease,
        )

    @property
    def is_leader(self) -> bool:
        """Whether this node leads at this moment."""
        return self._leader is not None and self._leader.is_leader

    async def start(self) -> None:
        """Start everything; if something fails, stop what was started and raise."""
        self._switchboard.connect()
        self._pulse.start()
        try:
            await self._executors.start()
            await self._pulse.run(self._heartbeat.start())
            await self._pulse.run(self._notifier.start())
            if self._leader is not None:
                await self._pulse.run(self._leader.start())
            for guard in self._guards:
                await self._pulse.run(guard.start())
            for service in (self._acker, self.queues, *self._upkeep):
                await service.start()
            self._executors.warm_up()
        except BaseException:
            await self.stop(grace=0)
            raise
        telemetry.emit(RunnerStarted(node=self._settings.node))

    async def stop(self, grace: float, hurry: asyncio.Event | None = None) -> None:
        """Stop claiming; let jobs end; stop those that do not; write outcomes; hand back the rest; say goodbye.

        Args:
            grace: seconds that running jobs have to end.
            hurry: when set, the grace period is over.
        """
        telemetry.emit(RunnerStopping(node=self._settings.node))
        services = (self.queues, *self._upkeep, *self._producers)
        await asyncio.gather(*(_quietly(service.stop()) for service in services))
        await asyncio.gather(*(_quietly(late.stop()) for late in self._producers))  # of queues started meanwhile
        await asyncio.gather(*(_quietly(producer.leave()) for producer in self._producers))
        for service in (*self._guards, *filter(None, [self._leader])):
            await _quietly(self._pulse.run(service.stop()))
        await self._drain(grace, hurry or asyncio.Event())
        unfinished = sum(len(producer.running.abandon()) for producer in self._producers)
        await asyncio.gather(*(producer.running.drain(STOPPING) for producer in self._producers))
        await _quietly(self._acker.stop())
        await _quietly(self._hand_back())
        await _quietly(self._pulse.run(self._heartbeat.stop()))
        await _quietly(self._deregister())
        await _quietly(self._pulse.run(self._notifier.stop()))
        await self._close()
        telemetry.emit(RunnerStopped(node=self._settings.node, unfinished=unfinished))

    async def _drain(self, grace: float, hurry: asyncio.Event) -> None:
        async def all_drained() -> None:
            await asyncio.gather(*(producer.running.drain(grace) for producer in self._producers))

        async def hurried() -> None:
            await hurry.wait()

        either = [asyncio.create_task(all_drained()), asyncio.create_task(hurried())]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        for task in either:
            task.cancel()
        await asyncio.gather(*either, return_exceptions=True)

    async def _hand_back(self) -> None:
        """The beats go on until the last job is handed back: until then it must not be rescued."""
        for producer in self._producers:
            await producer.release()

    async def _deregister(self) -> None:
        await self._links["claim"].execute(DEREGISTER, {"uuids": [producer.uuid for producer in self._producers]})

    async def _close(self) -> None:
        await _quietly(self._executors.close())
        await _quietly(self._links["claim"].close())
        await _quietly(self._links["ack"].close())
        await _quietly(self._pulse.run(self._links["pulse"].close()))
        await self._pulse.stop()

    def _make_notifier(self) -> Notifier:
        settings = self._settings
        return Notifier(self._links["pulse"], node=settings.node, home=self._home, settings=settings.notifier)

    def _make_producers(self) -> Producers:
        return Producers(
            self._make_producer,
            self._acker,
            register=lambda: self._pulse.run(self._heartbeat.prove()),
            forget=lambda uuid: self._pulse.run(self._heartbeat.forget(uuid)),
            grace=self._settings.shutdown_grace_period,
        )

    def _make_queues(self) -> LocalQueues:
        return LocalQueues(
            self._links["ack"],
            self._notifier,
            self._producers,
            name=self._settings.name,
            node=self._settings.node,
            configured=self._settings.queues,
        )

    def _make_producer(self, queue: str, limit: int) -> Producer:
        uuid, node = producer_id(), self._settings.node
        executor = self._executors.make(queue, holder=[node, str(uuid)])
        sleep = Sleep(self._notifier, self._pulse, queue, on_look=self._stager.wake)
        return Producer(
            self._links["claim"],
            executor,
            self._acker,
            sleep,
            Hush(self._notifier, self._pulse, queue, on_look=self._stager.wake, on_end=sleep.doubt),
            uuid=uuid,
            node=node,
            queue=queue,
            limit=limit,
            schema=self._settings.schema,
            runners=self._settings.name,
        )

    def _make_heartbeat(self) -> Heartbeat:
        return Heartbeat(
            self._links["pulse"],
            self._producers,
            name=self._settings.name,
            node=self._settings.node,
            settings=self._settings.heartbeat,
            hearing=lambda: self._notifier.hearing,
            on_lost=lambda: self._producers.tell(Producer.fence),
            on_restored=lambda: self._producers.tell(Producer.unfence),
        )

    def _make_leader(self) -> Leader:
        return Leader(
            self._links["pulse"],
            self._notifier,
            name=self._settings.name,
            node=self._settings.node,
            settings=self._settings.leader,
            on_gained=self._wake_upkeep,
        )

    def _make_stager(self) -> Stager:
        return Stager(
            self._links["ack"],
            self._notifier,
            self._producers,
            node=self._settings.node,
            schema=self._settings.schema,
            settings=self._settings.stager,
        )

    def _make_upkeep(self) -> list[Service]:
        settings = self._settings
        if self._leader is None:
            return [self._stager]
        pruner = Pruner(self._links["ack"], self._leader, node=settings.node, settings=settings.pruner)
        mender = Mender(
            self._links["ack"], self._leader, node=settings.node, schema=self._home, settings=settings.mender
        )
        return [self._stager, pruner, mender, *self._make_reindexer(self._leader)]

    def _make_reindexer(self, leader: Leader) -> list[Service]:
        settings = self._settings.reindexer
        if settings is None:
            return []
        link = Link(self._direct, purpose="reindex", schema=self._home, timeout=settings.timeout, lock_timeout=PATIENCE)
        return [Reindexer(link, leader, node=self._settings.node, home=self._home, settings=settings)]

    def _make_guards(self, leader: Leader) -> list[Service]:
        """The upkeep that works in the pulse: a job that blocks this node's loop must not hold it up."""
        settings, link = self._settings, self._links["pulse"]
        entries = declared(settings.cron, REGISTRY.definitions())
        return [
            Lifeline(link, leader, node=settings.node, schema=self._home, settings=settings.lifeline),
            Scheduler(link, leader, entries, node=settings.node, settings=settings.scheduler),
        ]

    def _ask_for_lease(self) -> None:
        """The leader may have given it back while we heard nothing."""
        if self._leader is not None:
            self._leader.wake()

    def _wake_upkeep(self) -> None:
        for service in (*self._guards, *self._upkeep):
            service.wake()


async def _quietly(ending: Awaitable[object]) -> None:
    """One service that fails to stop must not keep the others from stopping."""
    try:
        await ending
    except Exception as error:
        log.warning("while stopping: %s", error, exc_info=error)
