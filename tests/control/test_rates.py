"""`oban.limits`: rates used outside of jobs, alone and together with a queue."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from sqla_oban import QueueConfig, RateLimit, SqlaOban
from sqla_oban.errors import ConfigurationError, InvalidArguments, LimitTimeout, ObanError
from sqla_oban.telemetry.events import JobFinished
from tests.shop import noop
from tests.support import Recorder, both_drivers, enqueue

THREE = RateLimit(3, 600)
FOR_LONG = 3_000_000_000
"""Seconds of a period that ends in 2065, also where periods are counted from 1970."""
MAIL = {"mail": QueueConfig(rate_limit=THREE)}


@both_drivers
@pytest.mark.parametrize("algorithm", ["sliding", "fixed", "bucket"])
async def test_a_rate_of_its_own_is_used_all_or_nothing(algorithm: str, engine: AsyncEngine) -> None:
    limits, rate = SqlaOban(engine).limits, RateLimit(5, FOR_LONG, algorithm)
    assert await limits.available("stripe", rate_limit=rate) == 5
    assert await limits.consume("stripe", 3, rate_limit=rate)
    assert not await limits.consume("stripe", 3, rate_limit=rate)
    assert await limits.available("stripe", rate_limit=rate) == 2
    assert await limits.consume("stripe", 2, rate_limit=rate)
    assert await limits.consume("paypal", rate_limit=rate)
    assert await limits.consume("stripe", rate_limit=rate, key="another account")
    await limits.reset("stripe")
    assert await limits.consume("stripe", 5, rate_limit=rate)


async def test_many_at_once_never_get_more_than_there_is(engine: AsyncEngine) -> None:
    limits = SqlaOban(engine).limits
    got = await asyncio.gather(*(limits.consume("stripe", rate_limit=RateLimit(7, 600)) for _ in range(20)))
    assert sum(got) == 7


async def test_the_rate_of_a_queue_is_shared_with_its_jobs(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    oban = await start(queues=MAIL)
    assert await oban.limits.consume("mail", 2)
    await enqueue(engine, *(noop.with_options(queue="mail").new() for _ in range(2)))
    await events.wait_for(JobFinished, count=1)
    assert await oban.limits.available("mail") == 0
    assert not await oban.limits.consume("mail")


async def test_what_operators_said_of_the_queue_counts_also_where_it_does_not_run(engine: AsyncEngine) -> None:
    oban = SqlaOban(engine)
    with pytest.raises(ConfigurationError, match="'mail' is no queue with a rate limit here"):
        await oban.limits.consume("mail")
    await oban.queues.scale("mail", rate_limit=THREE)
    assert await oban.limits.available("mail") == 3
    await oban.queues.scale("mail", rate_limit=False)
    with pytest.raises(ConfigurationError, match="is no queue with a rate limit"):
        await oban.limits.available("mail")


@pytest.mark.parametrize("partition", ["worker", ("args", "account"), ("meta", "account")])
async def test_the_key_of_a_divided_queue_is_what_its_jobs_are_divided_by(
    partition: Any, engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    config = QueueConfig(rate_limit=RateLimit(1, 600), partition=partition)
    oban = await start(queues={"mail": config})
    key = "shop.noop" if partition == "worker" else 7
    assert await oban.limits.consume("mail", key=8)
    job = noop.with_options(queue="mail", meta={"account": 7}).new()
    job.args = {"account": 7} if partition == ("args", "account") else {}
    (id_,) = await enqueue(engine, job)
    await events.wait_for(JobFinished, id=id_)
    assert not await oban.limits.consume("mail", key=key)
    assert not await oban.limits.consume("mail", key=8)
    assert await oban.limits.consume("mail", key=9)


async def test_what_was_used_in_a_transaction_is_free_again_if_it_is_rolled_back(
    engine: AsyncEngine, sessions: async_sessionmaker[AsyncSession]
) -> None:
    limits = SqlaOban(engine, queues=MAIL).limits
    async with sessions() as session:
        assert await limits.consume("mail", 3, session=session)
        assert await limits.available("mail", session=session) == 0
        await session.execute(text("SELECT 1"))
        await session.rollback()
    assert await limits.available("mail") == 3


async def test_who_acquires_waits_until_there_is_room(engine: AsyncEngine) -> None:
    limits, rate = SqlaOban(engine).limits, RateLimit(2, 0.1, "bucket")
    for _ in range(5):
        await limits.acquire("stripe", rate_limit=rate)
    with pytest.raises(LimitTimeout, match=r"the rate 'slow' has room for 1 in (600|5\d\d) s"):
        for _ in range(4):
            await limits.acquire("slow", rate_limit=THREE, timeout=5)
    with pytest.raises(LimitTimeout):
        await limits.acquire("slow", rate_limit=THREE, timeout=0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weight": 4}, InvalidArguments, "the rate 'mail' allows 3 at most, never 4 at once"),
        ({"weight": 0}, ConfigurationError, "weight must be at least 1"),
        ({"weight": 1.5}, ConfigurationError, "weight must be an integer"),
        ({"rate_limit": 7}, ConfigurationError, r"rate_limit must be a RateLimit, as RateLimit\(100, 60\), got 7"),
        ({"name": ""}, ConfigurationError, "name must be a non-blank str"),
        ({"name": "x"}, ConfigurationError, "'x' is no queue with a rate limit here"),
    ],
)
async def test_what_cannot_be_is_refused(
    options: dict[str, Any], error: type[ObanError], message: str, engine: AsyncEngine
) -> None:
    with pytest.raises(error, match=message):
        await SqlaOban(engine, queues=MAIL).limits.consume(**{"name": "mail", **options})
