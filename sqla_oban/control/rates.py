"""Using a rate limit outside of jobs."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from sqla_oban.control.runners import Runners
from sqla_oban.control.sessions import Sessions
from sqla_oban.errors import ConfigurationError, InvalidArguments, LimitTimeout, shown
from sqla_oban.payload import snapshot
from sqla_oban.queries.limits import RESET, SAID, available, consume, partition
from sqla_oban.settings import QueueConfig, RateLimit
from sqla_oban.settings.checks import named, positive, whole
from sqla_oban.settings.rate_limit import checked_rate

SHORTEST = 0.001
"""Seconds between two tries."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a rate.

    Args:
        name: of the rate.
        rate_limit: what it allows; None for what is known of the queue of that name.
        key: which of its partitions; None where it has none.
        config: how the queue of that name is configured here, if it is.
    """

    name: str
    rate_limit: RateLimit | None
    key: object
    config: QueueConfig | None


class RateLimits:
    """`oban.limits`: rates that are used by other code than jobs, by themselves or together with a queue.

    The name of a queue with a rate limit stands for that limit: what is used here cannot be used by its jobs. Any other
    name is a rate of its own, and is given with its `rate_limit`, always the same. A rate that is divided has a `key`
    for each of its parts: for a queue the value that its `partition` is about.

    Every method takes part in the transaction of `session` if one is given. What was used there is free again if it is
    rolled back; and until it ends, all who use that rate wait for it, the queue's claims too.

    >>> if await oban.limits.consume("stripe", rate_limit=RateLimit(100, 60)): ...  # doctest: +SKIP
    """

    def __init__(self, sessions: Sessions, *, runners: Runners, queues: Mapping[str, QueueConfig]) -> None:
        self._sessions = sessions
        self._runners = runners
        self._queues = queues

    async def consume(
        self,
        name: str,
        weight: int = 1,
        *,
        rate_limit: RateLimit | None = None,
        key: object = None,
        session: AsyncSession | None = None,
    ) -> bool:
        """Use `weight` of the rate, all of it or nothing, and say whether there was room for it.

        Raises:
            ConfigurationError: `name` is no queue with a rate limit, and no `rate_limit` is given.
            InvalidArguments: `weight` is more than the rate ever allows.
        """
        use = partial(_use, self._runners, self._asked(name, rate_limit, key), _weight(weight))
        return await self._sessions.run(use, session) == 0

    async def acquire(
        self,
        name: str,
        weight: int = 1,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 (as everywhere here)
        rate_limit: RateLimit | None = None,
        key: object = None,
    ) -> None:
        """Wait until there is room, and use it; for `timeout` seconds at most. No connection is held meanwhile.

        Raises:
            LimitTimeout: there was no room in time.
            ConfigurationError, InvalidArguments: as `consume`.

        >>> await oban.limits.acquire("stripe", timeout=10)  # doctest: +SKIP
        """
        if timeout is not None and timeout != 0:
            positive("timeout", timeout)
        use = partial(_use, self._runners, self._asked(name, rate_limit, key), _weight(weight))
        loop = asyncio.get_running_loop()
        began = loop.time()
        while wait := await self._sessions.run(use):
            pause = max(wait, SHORTEST)
            if timeout is not None and loop.time() + pause > began + timeout:
                raise LimitTimeout(
                    f"the rate {name!r} has room for {weight} in {pause:.3g} s, later than was asked for"
                )
            await asyncio.sleep(pause)

    async def available(
        self,
        name: str,
        *,
        rate_limit: RateLimit | None = None,
        key: object = None,
        session: AsyncSession | None = None,
    ) -> int:
        """How much of the rate is free at this moment.

        Raises:
            ConfigurationError: `name` is no queue with a rate limit, and no `rate_limit` is given.
        """
        return await self._sessions.run(partial(_free, self._runners, self._asked(name, rate_limit, key)), session)

    async def reset(self, name: str, *, session: AsyncSession | None = None) -> None:
        """Forget what was used of the rate, for all of its keys."""
        await self._sessions.run(partial(_forget, named("name", name)), session)

    def _asked(self, name: str, rate_limit: RateLimit | None, key: object) -> Asked:
        if rate_limit is not None:
            checked_rate("rate_limit", rate_limit)
        return Asked(named("name", name), rate_limit, key, self._queues.get(name))


def _weight(value: int) -> int:
    whole("weight", value)
    return value


def _use(runners: Runners, asked: Asked, weight: int, session: Session) -> float:
    """The seconds until there is room; 0 if there was."""
    rate = _rate(runners, asked, session)
    if weight > rate["allowed"]:
        raise InvalidArguments(f"the rate {asked.name!r} allows {rate['allowed']} at most, never {weight} at once")
    given = {**_which(runners, asked, session), "weight": weight, "rate": json.dumps(rate)}
    return float(session.scalar(consume(runners.schema), given) or 0)


def _free(runners: Runners, asked: Asked, session: Session) -> int:
    rate = _rate(runners, asked, session)
    given = {**_which(runners, asked, session), "rate": json.dumps(rate)}
    used = session.scalar(available(runners.schema), given) or 0.0
    return max(0, int(rate["allowed"] - used))


def _forget(name: str, session: Session) -> None:
    session.execute(RESET, {"of_name": name})


def _rate(runners: Runners, asked: Asked, session: Session) -> Mapping[str, Any]:
    if asked.rate_limit is not None:
        return asked.rate_limit.stored()
    said = session.scalar(SAID, {"of_runners": runners.name, "of_queue": asked.name})
    if isinstance(said, Mapping):
        return said
    if said is None and asked.config is not None and asked.config.rate_limit is not None:
        return asked.config.rate_limit.stored()
    raise ConfigurationError(
        f"{shown(asked.name)} is no queue with a rate limit here; say what it allows, as rate_limit=RateLimit(100, 60)"
    )


def _which(runners: Runners, asked: Asked, session: Session) -> dict[str, Any]:
    """The account: a queue's is named by its jobs' fields, another by its key."""
    spec = None if asked.config is None else asked.config.spec
    if spec is None:
        name = "" if asked.key is None else named("key", str(asked.key))
    else:
        value = json.dumps({spec[-1]: snapshot(asked.key, "key")} if asked.key is not None else {})
        fields = {"worker": str(asked.key or ""), "args": value, "meta": value, "spec": spec}
        name = session.scalar(partition(runners.schema), fields) or ""
    return {"of_name": asked.name, "of_partition": name}
