"""Steering queues: pause, resume, scale, start, stop, check."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from sqla_oban.control.limit_words import limit_words
from sqla_oban.control.limits_told import limits_told
from sqla_oban.control.queue_info import QueueInfo, number_told
from sqla_oban.control.runners import DEFAULT, Runners
from sqla_oban.control.sessions import Sessions
from sqla_oban.control.watch.depths import Depth, depths
from sqla_oban.errors import ConfigurationError, InvalidJob, shown
from sqla_oban.models.checks import checked_name
from sqla_oban.queries.bounds import bounds
from sqla_oban.queries.queues import (
    CHECK,
    EVERY_NODE,
    EVERY_QUEUE,
    FOREIGN,
    FORGET,
    SERIALISE,
    say,
    signal,
    unsay,
)
from sqla_oban.settings import QueueConfig, RateLimit
from sqla_oban.settings.checks import named, whole


class LocalNode(Protocol):
    """The node of a started runner, as far as its queues are concerned."""

    async def settle(self) -> None:
        """Apply what was just committed."""

    def check(self) -> list[QueueInfo]:
        """The queues that run here."""


class Queues:
    """`oban.queues`: what can be done to queues while they run, on one node or on all of them.

    What is said is kept in the database: it holds over a restart, and for nodes that start later. The last word counts:
    one for every node also replaces what was said for single ones. A node that cannot be reached obeys when it can.
    Every command takes part in the transaction of `session` if one is given, and commits its own otherwise; then it has
    been applied on this node when the call returns.

    Args:
        here: the node of this runner while it is started.

    >>> await oban.queues.pause("mailers")  # doctest: +SKIP
    """

    def __init__(
        self, sessions: Sessions, *, runners: Runners, node: str, here: Callable[[], LocalNode | None]
    ) -> None:
        self._sessions = sessions
        self._runners = runners
        self._node = node
        self._here = here

    async def pause(self, queue: str, *, node: str | None = None, session: AsyncSession | None = None) -> None:
        """Claim no more jobs of `queue`; those that run go on.

        Args:
            queue: its name, or "*" for every queue, also those that are started later.
            node: the node that it is for; default: all of them.
            session: whose transaction to take part in.

        Raises:
            ConfigurationError: a queue or a node cannot have that name.
        """
        await self._command(partial(pause, queue=queue, node=node, runners=self._runners), session)

    async def resume(self, queue: str, *, node: str | None = None, session: AsyncSession | None = None) -> None:
        """Claim jobs of `queue` again; the arguments are those of `pause`.

        Raises:
            ConfigurationError: a queue or a node cannot have that name.
        """
        await self._command(partial(resume, queue=queue, node=node, runners=self._runners), session)

    async def scale(
        self,
        queue: str,
        *,
        limit: int | None = None,
        global_limit: int | None = None,
        rate_limit: RateLimit | Literal[False] | None = None,
        node: str | None = None,
        session: AsyncSession | None = None,
    ) -> None:
        """Change the limits of `queue` that are given; where more are running, they end.

        Args:
            queue: its name.
            limit: how many of its jobs run at the same time, on each node.
            global_limit: how many run on all nodes together; False for any number. Every claim from then on obeys, on
                nodes on which the queue had a limit before; others have to hear of it first.
            rate_limit: how many start within a time on all nodes together; False for any number.
            node: the node that `limit` is for; default: all of them.
            session: whose transaction to take part in.

        Raises:
            ConfigurationError: a limit is none, or is for all nodes and a node is given; or a queue or a node cannot
                have that name.
        """
        limits = partial(scale, limit=limit, global_limit=global_limit, rate_limit=rate_limit)
        await self._command(partial(limits, queue=queue, node=node, runners=self._runners), session)

    async def start(
        self,
        queue: str,
        *,
        limit: int | None = None,
        paused: bool = False,
        node: str | None = None,
        session: AsyncSession | None = None,
    ) -> None:
        """Run `queue`, on every node that was started with queues, or on `node`; where it runs already, this is so.

        Args:
            queue: its name.
            limit: how many of its jobs run at the same time; default: as said before, or as the node was started with,
                or 10.
            paused: whether it claims no jobs until it is resumed.
            node: the node that it is for; default: all of them that were started with queues.
            session: whose transaction to take part in.

        Raises:
            ConfigurationError: `limit` is no integer above zero, or a queue or a node cannot have that name.
        """
        command = partial(start, queue=queue, limit=limit, paused=paused, node=node, runners=self._runners)
        await self._command(command, session)

    async def stop(self, queue: str, *, node: str | None = None, session: AsyncSession | None = None) -> None:
        """Run `queue` no longer. Running jobs have the grace period to end, and are stopped and handed back then.

        Raises:
            ConfigurationError: a queue or a node cannot have that name.
        """
        await self._command(partial(stop, queue=queue, node=node, runners=self._runners), session)

    async def check(self, queue: str, *, node: str | None = None) -> QueueInfo | None:
        """What `queue` is doing on `node`, by default this one; None if it does not run there."""
        everywhere = node is not None and node != self._node
        for info in await self.check_all(everywhere=everywhere):
            if info.queue == queue and info.node == (node or self._node):
                return info
        return None

    async def check_all(self, *, everywhere: bool = False) -> list[QueueInfo]:
        """What the queues of this node are doing, or those of every node of this name, ordered by queue and node."""
        if everywhere:
            return await self._sessions.run(partial(check_all, runners=self._runners))
        here = self._here()
        return [] if here is None else here.check()

    async def depths(self) -> list[Depth]:
        """What there is to do in each queue, by its name, whoever runs it; numbers above 50,000 are estimates."""
        return await self._sessions.run(_bounded_depths)

    async def _command(self, command: Callable[[Session], None], session: AsyncSession | None) -> None:
        await self._sessions.run(command, session)
        if session is None and (here := self._here()) is not None:
            await here.settle()


def _bounded_depths(session: Session) -> list[Depth]:
    """In a savepoint that takes the bounds back: the transaction may go on, where a connection has its own."""
    with session.begin_nested() as savepoint:
        session.execute(bounds())
        found = depths(session)
        savepoint.rollback()
    return found


def pause(session: Session, queue: str, *, node: str | None = None, runners: Runners = DEFAULT) -> None:
    """Claim no more jobs of `queue`, or of every one if it is "*"."""
    _say(session, _place(queue, node, runners), {"paused": True}, {"action": "pause"})


def resume(session: Session, queue: str, *, node: str | None = None, runners: Runners = DEFAULT) -> None:
    """Claim jobs of `queue` again, or of every one if it is "*"."""
    _say(session, _place(queue, node, runners), {"paused": False}, {"action": "resume"})


def scale(
    session: Session,
    queue: str,
    *,
    limit: int | None = None,
    global_limit: int | None = None,
    rate_limit: RateLimit | Literal[False] | None = None,
    node: str | None = None,
    runners: Runners = DEFAULT,
) -> None:
    """Change the limits of `queue` that are given; False lifts one that is over all nodes."""
    place = _place(queue, node, runners, one=True)
    fields = limit_words(limit, global_limit, rate_limit, for_all=node is None)
    _say(session, place, fields, None if limit is None else {"action": "scale", "limit": limit})


def start(
    session: Session,
    queue: str,
    *,
    limit: int | None = None,
    paused: bool = False,
    node: str | None = None,
    runners: Runners = DEFAULT,
) -> None:
    """Run `queue`, where it does not run already."""
    place = _place(queue, node, runners, one=True)
    if not isinstance(paused, bool):
        raise ConfigurationError(f"paused must be True or False, got {shown(paused)}")
    fields: dict[str, Any] = {"running": True, "paused": paused}
    if limit is not None:
        whole("limit", limit)
        fields["local_limit"] = limit
    told = {"action": "start", "limit": limit or QueueConfig().limit, "paused": paused}
    _say(session, place, fields, told)


def stop(session: Session, queue: str, *, node: str | None = None, runners: Runners = DEFAULT) -> None:
    """Run `queue` no longer."""
    _say(session, _place(queue, node, runners, one=True), {"running": False}, {"action": "stop"})


def check_all(session: Session, *, runners: Runners = DEFAULT) -> list[QueueInfo]:
    """What the queues of every node are doing."""
    return [_info(row) for row in session.execute(CHECK, {"of_runners": runners.name}).mappings()]


@dataclass(frozen=True, slots=True)
class Place:
    """Which queue is meant, and where; the node is "" for all of them."""

    queue: str
    node: str
    runners: Runners


def _place(queue: object, node: object, runners: Runners, *, one: bool = False) -> Place:
    if one and queue == EVERY_QUEUE:
        raise ConfigurationError('only pause and resume take "*" for every queue; name one')
    try:
        return Place(
            checked_name("a queue's name", queue), EVERY_NODE if node is None else named("a node's name", node), runners
        )
    except InvalidJob as error:
        raise ConfigurationError(str(error)) from None


def _say(session: Session, place: Place, fields: Mapping[str, Any], told: Mapping[str, Any] | None) -> None:
    """Write the word down, take back what it replaces, and tell the nodes; `told` is for those of other libraries."""
    runners = place.runners
    ours = {"of_runners": runners.name}
    where = {**ours, "of_queue": place.queue, "on_node": place.node}
    session.execute(SERIALISE, ours)
    session.execute(say(fields), where)
    if place.node == EVERY_NODE:
        session.execute(unsay(fields), where)
        session.execute(FORGET, ours)
    notice: dict[str, Any] = {"action": "queues"}
    # A node of another library that runs no queue at the moment is not to be seen, and may be told to start one.
    if told is None or (told["action"] != "start" and not session.scalar(FOREIGN, ours)):
        _signal(session, notice, runners)
        return
    ident = "any" if place.node == EVERY_NODE else f"{runners.name}.{place.node}"
    said = {**told, "queue": place.queue, "ident": ident}
    _signal(session, {**notice, "said": said}, runners)  # first: our nodes shall know the next for an echo
    _signal(session, said, runners)


def _signal(session: Session, notice: Mapping[str, Any], runners: Runners) -> None:
    session.execute(signal(runners.schema), {"notice": json.dumps(notice)})


def _info(row: Mapping[Any, Any]) -> QueueInfo:
    return QueueInfo(
        queue=row["queue"],
        node=row["node"],
        name=row["name"],
        limit=number_told(row["limit"]),
        paused=bool(row["paused"]),
        running=tuple(row["running"]),
        started_at=row["started_at"],
        uuid=row["uuid"],
        **limits_told(row["limits"]),
    )
