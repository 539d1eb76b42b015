"""The contract of `engine.listeners.Listener`, for each driver, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sqla_oban.engine.listeners import Listener, listener
from tests.support import both_drivers, eventually

pytestmark = both_drivers

CHANNELS = ["plain", 'With "quotes"', "it's", "public.oban_insert", "Ünïcödé", "a b;--", "%s %(x)s :y"]


class Ears:
    """A connection that listens, and what it has heard."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self.heard: list[tuple[str, str]] = []
        self.lost = 0
        self.listener: Listener

    async def listen(self, *channels: str) -> None:
        self.listener = await listener(self.connection, lambda *heard: self.heard.append(heard), self._on_lost)
        await self.listener.listen(channels)

    async def execute(self, statement: str) -> object:
        """As the link does it: after each statement the listener goes on."""
        result = (await self.connection.execute(text(statement))).scalar()
        self.listener.resume()
        return result

    async def wait_for(self, count: int) -> None:
        await eventually(lambda: len(self.heard) >= count, f"{count} notifications, not {len(self.heard)}")

    def _on_lost(self) -> None:
        self.lost += 1


async def autocommitting(engine: AsyncEngine) -> AsyncConnection:
    return await (await engine.connect()).execution_options(isolation_level="AUTOCOMMIT")


@pytest.fixture
async def ears(engine: AsyncEngine) -> AsyncIterator[Ears]:
    connection = await autocommitting(engine)
    yield Ears(connection)
    await connection.invalidate()
    await connection.close()


@pytest.fixture
async def mouth(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Another connection, which speaks."""
    connection = await autocommitting(engine)
    yield connection
    await connection.close()


async def say(mouth: AsyncConnection, channel: str, *payloads: str) -> None:
    statement = text("SELECT pg_notify(:channel, payload) FROM unnest(CAST(:payloads AS text[])) AS payload")
    await mouth.execute(statement, {"channel": channel, "payloads": list(payloads)})


async def test_notifications_are_heard_once_and_in_order(ears: Ears, mouth: AsyncConnection) -> None:
    await ears.listen("a", "b")
    said = [(channel, str(number)) for number in range(50) for channel in ("a", "b")]
    for channel, payload in said:
        await say(mouth, channel, payload)
    await say(mouth, "a", "end")
    await ears.wait_for(101)
    assert ears.heard == [*said, ("a", "end")]


async def test_many_notifications_at_once_are_heard_once_and_in_order(ears: Ears, mouth: AsyncConnection) -> None:
    await ears.listen("a")
    payloads = [str(number) for number in range(5_000)]
    await say(mouth, "a", *payloads)
    await ears.wait_for(5_000)
    assert [payload for _, payload in ears.heard] == payloads


async def test_notifications_are_heard_between_and_during_and_after_statements(
    ears: Ears, mouth: AsyncConnection
) -> None:
    await ears.listen("a")
    await ears.execute("SELECT 1")
    await say(mouth, "a", "between")
    await ears.wait_for(1)
    await mouth.execute(text("SELECT pg_advisory_lock(7)"))
    running = asyncio.create_task(ears.execute("SELECT pg_advisory_lock(7)"))
    await eventually(lambda: is_waiting(mouth))
    await say(mouth, "a", "during", "during too")
    await mouth.execute(text("SELECT pg_advisory_unlock(7)"))
    await running
    await ears.wait_for(3)
    await say(mouth, "a", "after")
    await ears.wait_for(4)
    assert [payload for _, payload in ears.heard] == ["between", "during", "during too", "after"]


async def is_waiting(mouth: AsyncConnection) -> bool:
    asked = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return bool(await mouth.scalar(asked))


async def test_notifications_and_statements_do_not_disturb_each_other(ears: Ears, mouth: AsyncConnection) -> None:
    await ears.listen("a")

    async def talk() -> None:
        for number in range(100):
            await say(mouth, "a", str(number))

    async def work() -> list[object]:
        return [await ears.execute(f"SELECT {number}") for number in range(100)]

    _, results = await asyncio.gather(talk(), work())
    await ears.wait_for(100)
    assert results == list(range(100))
    assert [payload for _, payload in ears.heard] == [str(number) for number in range(100)]


async def test_a_connection_hears_itself(ears: Ears) -> None:
    await ears.listen("a")
    for number in range(3):
        await ears.execute(f"SELECT pg_notify('a', '{number}')")
    await ears.wait_for(3)
    assert ears.heard == [("a", "0"), ("a", "1"), ("a", "2")]


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_channel_may_have_any_name(channel: str, ears: Ears, mouth: AsyncConnection) -> None:
    await ears.listen(channel)
    await say(mouth, channel.upper() + "x", "not for us")
    await say(mouth, channel, "for us")
    await ears.wait_for(1)
    assert ears.heard == [(channel, "for us")]


async def test_a_payload_may_be_any_text(ears: Ears, mouth: AsyncConnection) -> None:
    await ears.listen("a")
    payloads = ["", " ", "Ünïcödé \U0001f600", "'; DROP TABLE oban_jobs; --", "%s", ":x", "\\x00", "\n\t", "x" * 7_999]
    await say(mouth, "a", *payloads)
    await ears.wait_for(len(payloads))
    assert [payload for _, payload in ears.heard] == payloads


async def test_listening_twice_does_not_hear_twice(ears: Ears, mouth: AsyncConnection) -> None:
    await ears.listen("a", "a")
    await say(mouth, "a", "once", "end")
    await ears.wait_for(2)
    await ears.execute("SELECT 1")
    assert [payload for _, payload in ears.heard] == ["once", "end"]


@pytest.mark.parametrize("before", [0, 2], ids=["at once", "after statements"])
async def test_the_end_of_the_connection_is_reported(before: int, ears: Ears, mouth: AsyncConnection) -> None:
    await ears.listen("a")
    for _ in range(before):
        await ears.execute("SELECT 1")
    process = await ears.execute("SELECT pg_backend_pid()")
    assert ears.lost == 0
    await mouth.execute(text("SELECT pg_terminate_backend(:process)"), {"process": process})
    await eventually(lambda: ears.lost > 0)


async def test_what_was_said_before_the_end_is_still_heard(ears: Ears, mouth: AsyncConnection) -> None:
    await ears.listen("a")
    process = await ears.execute("SELECT pg_backend_pid()")
    await say(mouth, "a", "last words")
    await ears.wait_for(1)
    await mouth.execute(text("SELECT pg_terminate_backend(:process)"), {"process": process})
    await eventually(lambda: ears.lost > 0)
    assert ears.heard == [("a", "last words")]


async def test_after_a_loss_a_new_connection_hears_again(engine: AsyncEngine, mouth: AsyncConnection) -> None:
    for _ in range(5):  # the new socket often has the number of the old one
        connection = await autocommitting(engine)
        ears = Ears(connection)
        await ears.listen("a")
        process = await ears.execute("SELECT pg_backend_pid()")
        await say(mouth, "a", "hello")
        await ears.wait_for(1)
        await mouth.execute(text("SELECT pg_terminate_backend(:process)"), {"process": process})
        await eventually(lambda ears=ears: ears.lost > 0)  # type: ignore[misc]
        await connection.invalidate()
        await connection.close()


async def test_after_a_close_a_new_connection_hears_again(engine: AsyncEngine, mouth: AsyncConnection) -> None:
    for _ in range(5):
        connection = await autocommitting(engine)
        ears = Ears(connection)
        await ears.listen("a")
        await ears.execute("SELECT 1")
        await say(mouth, "a", "hello")
        await ears.wait_for(1)
        await connection.invalidate()
        await connection.close()
