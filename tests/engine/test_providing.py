"""What workers are given besides their arguments: sessions, dependencies, rows."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import create_engine, delete, inspect
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from sqla_oban import Job, JobState, SqlaOban, inject, job, worker
from sqla_oban.errors import ConfigurationError, DeclarationError, InvalidArguments
from sqla_oban.telemetry.events import JobFailed, JobFinished
from sqla_oban.testing import Drained, drain, perform_job
from tests.shop import Order, make_orders
from tests.support import Recorder, both_drivers, enqueue, eventually, jobs


@dataclass
class Carrier:
    """Something of the application's."""

    closed: bool = False
    shipped: list[int] = field(default_factory=list)


SEEN: list[Any] = []


@pytest.fixture(autouse=True)
def seen() -> list[Any]:
    SEEN.clear()
    return SEEN


@job(name="providing.ship")
async def ship(order: Order, session: AsyncSession = inject()) -> None:
    assert order in session
    order.item += " shipped"
    await session.commit()
    SEEN.append(session)


@job(name="providing.note")
async def note(order: Order | None) -> None:
    SEEN.append(None if order is None else (order.item, inspect(order).detached))


@job(name="providing.archive")
def archive(order: Order, session: Session = inject()) -> None:
    assert order in session
    order.item += " archived"
    session.commit()


@job(name="providing.carry")
async def carry(number: int, carrier: Carrier = inject()) -> None:
    assert not carrier.closed
    carrier.shipped.append(number)
    SEEN.append(carrier)


@job(name="providing.carry_sync")
def carry_sync(number: int, carrier: Carrier = inject()) -> None:
    assert not carrier.closed
    carrier.shipped.append(number)
    SEEN.append(carrier)


@pytest.fixture
async def order(engine: AsyncEngine) -> Order:
    await make_orders(engine)
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add(made := Order(item="book"))
    return made


async def item(engine: AsyncEngine) -> str | None:
    async with AsyncSession(engine) as session:
        return await session.scalar(Order.__table__.select().with_only_columns(Order.item))


@both_drivers
async def test_a_worker_gets_a_session_and_the_row_loaded_in_it(
    engine: AsyncEngine, order: Order, start: Any, events: Recorder
) -> None:
    made: list[AsyncSession] = []

    class Own(AsyncSession):
        async def close(self) -> None:
            made.append(self)
            await super().close()

    await start(queues={"default": 5}, session_factory=async_sessionmaker(engine, class_=Own))
    await enqueue(engine, ship.new(order))
    [finished] = await events.wait_for(JobFinished)
    assert finished.state is JobState.COMPLETED
    assert made == SEEN  # of the user's factory, and closed
    assert await item(engine) == "book shipped"


async def test_a_worker_without_a_session_gets_the_row_detached(
    engine: AsyncEngine, order: Order, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 5})
    await enqueue(engine, note.new(order), note.new(None))
    await events.wait_for(JobFinished, count=2)
    assert sorted(SEEN, key=str) == [("book", True), None]


async def test_a_row_that_is_gone_cancels_the_job_or_is_none_where_that_may_be(
    engine: AsyncEngine, order: Order, start: Any, events: Recorder
) -> None:
    await enqueue(engine, ship.new(order), note.new(order))
    async with engine.begin() as connection:
        await connection.execute(delete(Order))
    await start(queues={"default": 5})
    await events.wait_for(JobFinished, count=2)
    await eventually_ended(engine)
    cancelled, completed = await jobs(engine)
    assert (cancelled.state, completed.state, SEEN) == (JobState.CANCELLED, JobState.COMPLETED, [None])
    assert cancelled.errors[0]["error"] == f"cancelled: the Order {order.id}, its argument 'order', no longer exists"


async def test_a_sync_worker_gets_a_session_of_the_factory_that_the_runner_was_given(
    engine: AsyncEngine, order: Order, start: Any, events: Recorder
) -> None:
    sync_engine = create_engine(engine.url.set(drivername="postgresql+psycopg"))
    await start(queues={"default": 5}, dependencies={Session: sessionmaker(sync_engine)})
    await enqueue(engine, archive.new(order))
    await events.wait_for(JobFinished, state=JobState.COMPLETED)
    assert await item(engine) == "book archived"
    assert sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    sync_engine.dispose()


async def eventually_ended(engine: AsyncEngine) -> None:
    async def holds() -> bool:
        return all(one.state is not JobState.EXECUTING for one in await jobs(engine))

    await eventually(holds, "the outcomes to be written")


def generated() -> Iterator[Carrier]:
    carrier = Carrier()
    yield carrier
    carrier.closed = True


async def generated_async() -> AsyncIterator[Carrier]:
    carrier = Carrier()
    yield carrier
    carrier.closed = True


async def awaited() -> Carrier:
    return Carrier()


@pytest.mark.parametrize(
    ("factory", "closed", "worker"),
    [
        pytest.param(Carrier, False, carry, id="plain"),
        pytest.param(awaited, False, carry, id="async"),
        pytest.param(generated, True, carry, id="generator"),
        pytest.param(generated_async, True, carry, id="async-generator"),
        pytest.param(contextmanager(generated), True, carry, id="contextmanager"),
        pytest.param(asynccontextmanager(generated_async), True, carry, id="asynccontextmanager"),
        pytest.param(Carrier, False, carry_sync, id="sync-plain"),
        pytest.param(generated, True, carry_sync, id="sync-generator"),
    ],
)
async def test_dependencies_are_made_for_each_execution_and_closed_after(
    factory: Any, closed: bool, worker: Any
) -> None:
    for number in (1, 2):
        await perform_job(worker.new(number), dependencies={Carrier: factory})
    assert [(one.shipped, one.closed) for one in SEEN] == [([1], closed), ([2], closed)]


def heedless() -> Iterator[Carrier]:
    with suppress(Exception):
        yield Carrier()


async def heedless_async() -> AsyncIterator[Carrier]:
    with suppress(Exception):
        yield Carrier()


@job(name="providing.drop")
async def drop(carrier: Carrier = inject()) -> None:
    raise ValueError("dropped it")


@job(name="providing.drop_sync")
def drop_sync(carrier: Carrier = inject()) -> None:
    raise ValueError("dropped it")


@pytest.mark.parametrize(("worker", "factory"), [(drop, heedless), (drop, heedless_async), (drop_sync, heedless)])
async def test_what_a_worker_raises_is_not_swallowed_by_what_it_was_given(worker: Any, factory: Any) -> None:
    with pytest.raises(ValueError, match="dropped it"):
        await perform_job(worker.new(), dependencies={Carrier: factory})


@worker(name="providing.Deliver")
class Deliver:
    async def process(
        self, job: Job, carrier: Carrier = inject(), *, session: AsyncSession = inject(), speed: int = 3
    ) -> None:
        order = await session.get_one(Order, job.args["order_id"])
        order.item += f" delivered at {speed}"
        carrier.shipped.append(order.id)
        SEEN.append(carrier)
        await session.commit()


@worker(name="providing.Carry")
class Carry:
    def process(self, job: Job, carrier: Carrier = inject()) -> None:
        carry_sync(job.args["number"], carrier)


async def test_a_class_worker_is_given_what_its_process_takes_besides_the_job(
    engine: AsyncEngine, order: Order, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 5}, dependencies={Carrier: generated})
    await enqueue(engine, Deliver.new({"order_id": order.id}), Carry.new({"number": 9}))
    await events.wait_for(JobFinished, count=2, state=JobState.COMPLETED)
    assert await item(engine) == "book delivered at 3"
    assert sorted((one.shipped, one.closed) for one in SEEN) == sorted([([order.id], True), ([9], True)])


class Late:
    async def process(self, job: "Nowhere", carrier: "Carrier" = inject()) -> str:  # type: ignore[name-defined]  # noqa: F821
        return type(carrier).__name__


async def test_what_a_class_workers_job_is_called_need_not_be_known() -> None:
    """As where `Job` is imported for type checkers only."""
    assert await perform_job(worker(name="providing.Late")(Late), dependencies={Carrier: Carrier}) == "Carrier"


async def test_what_nobody_gives_to_a_class_worker_fails_the_attempt() -> None:
    @worker(name="providing.Greedy")
    class Greedy:
        def process(self, job: Job, number: int) -> None: ...

    with pytest.raises(DeclarationError, match=r"Greedy.process takes the job and what inject\(\) marks, .* 'number'"):
        await perform_job(Greedy)


@pytest.mark.parametrize("factory", [awaited, generated_async])
async def test_a_sync_worker_cannot_be_given_what_is_made_asynchronously(factory: Any) -> None:
    with pytest.raises(LookupError, match="a sync worker cannot be given Carrier"):
        await perform_job(carry_sync.new(1), dependencies={Carrier: factory})


async def test_what_nothing_makes_fails_the_attempt_and_says_so(
    engine: AsyncEngine, start: Any, events: Recorder
) -> None:
    await start(queues={"default": 5})
    await enqueue(engine, carry.new(1))
    [failed] = await events.wait_for(JobFailed)
    assert failed.message == (
        "sqla_oban.errors.NotProvided: the worker asks for Carrier, which this runner cannot make; give it "
        "SqlaOban(dependencies={Carrier: ...})"
    )


def test_what_is_provided_is_no_argument() -> None:
    assert carry.new(1).args == {"number": 1}
    with pytest.raises(InvalidArguments, match="unexpected keyword argument 'carrier'"):
        carry.new(1, carrier=Carrier())


async def test_called_directly_a_worker_takes_what_it_is_given() -> None:
    await carry(1, Carrier())
    assert SEEN[0].shipped == [1]


async def test_called_directly_without_it_a_worker_says_what_is_missing() -> None:
    with pytest.raises(LookupError, match=r"called directly, a worker must be given it \(for 'closed'\)"):
        await carry(1)


async def test_in_a_test_a_workers_session_shares_the_tests_transaction(engine: AsyncEngine, order: Order) -> None:
    async with AsyncSession(engine) as session:
        session.add(ship.new(order))
        assert await drain(session) == Drained(completed=1)
        await session.rollback()
    assert await item(engine) == "book"


def test_a_factory_must_be_callable(engine: AsyncEngine) -> None:
    with pytest.raises(ConfigurationError, match=r"dependencies\[.*Carrier.*\] must be a function"):
        SqlaOban(engine, dependencies={Carrier: Carrier()})  # type: ignore[dict-item]


async def sync_session(session: Session = inject()) -> None: ...


def async_session(session: AsyncSession = inject()) -> None: ...


async def nameless(thing=inject()) -> None: ...  # type: ignore[no-untyped-def]


async def positional(carrier: Carrier = inject(), /) -> None: ...


async def several(orders: list[Order]) -> None: ...


async def unresolved(thing: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (sync_session, "'session' is a Session; an async worker takes an AsyncSession"),
        (async_session, "'session' is a AsyncSession; an async worker takes an AsyncSession, a sync one a Session"),
        (nameless, "'thing' is to be injected and has no annotation"),
        (several, "'orders' takes rows inside .*; take a single row, or the keys of several"),
        (unresolved, "the annotation of 'thing', 'Nowhere', cannot be resolved"),
        (positional, "'carrier' is provided by the runner, which passes it by its name"),
    ],
)
def test_what_could_not_be_provided_is_refused(function: Any, reason: str) -> None:
    with pytest.raises(DeclarationError, match=reason):
        job(name=f"providing.{function.__name__}")(function).new()
