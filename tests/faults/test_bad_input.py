"""Whatever is put in ends as a clear error at the call, or as a failed attempt with its reason; every loop goes on."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import Cancel, Job, JobState, Record, Snooze, SqlaOban, job
from sqla_oban.errors import ObanError
from sqla_oban.telemetry.events import AcksWritten, JobFinished, ServiceFailed
from tests.shop import noop
from tests.support import Recorder, both_drivers, enqueue, eventually, jobs

USABLE_NAMES = [
    "it's",
    'say "hi"',
    "\U0001f600",
    "a%sb",
    ":colon",
    "back\\slash",
    "{}",
    "a b",
    "new\nline",
    "*",
    "x" * 127,
]
UNUSABLE_NAMES: list[Any] = ["", "   ", "nul\x00", "x" * 128, "x" * 10_000, "\ud800", None, 7, b"bytes", ("tuple",)]

cyclic: list[Any] = []
cyclic.append(cyclic)
BAD_VALUES: dict[str, Any] = {
    "not a number": float("nan"),
    "infinity": float("-inf"),
    "a huge integer": 10**5_000,
    "a lone surrogate": "\ud800",
    "NUL": "a\x00b",
    "a cycle": cyclic,
    "deep nesting": None,
    "an object": object(),
    "a set": {1},
    "bytes": b"1",
    "a key that is no str": {1: 2},
}
deep: list[Any] = []
for _ in range(5_000):
    deep = [deep]
BAD_VALUES["deep nesting"] = deep

outcome: dict[str, Callable[[], Any]] = {}


def _raise(error: BaseException) -> Any:
    raise error


@job(name="bad_input.value", max_attempts=1)
async def value(of: str) -> Any:
    return outcome[of]()


@job(name="bad_input.take", max_attempts=1)
async def take(value: Any) -> None: ...


@job(name="bad_input.backoff", backoff=lambda one: outcome[one.args["of"]]())
async def backoff(of: str) -> None:
    raise ValueError("the error itself")


@pytest.fixture(autouse=True)
def fresh() -> None:
    outcome.clear()


@both_drivers
@pytest.mark.parametrize("name", USABLE_NAMES)
async def test_a_name_with_odd_characters_works_like_any_other(
    engine: AsyncEngine, start: Any, events: Recorder, name: str
) -> None:
    node = await start(queues={name: 2}, name=name, node=name)
    (job_id,) = await enqueue(engine, noop.with_options(queue=name, tags=[name], meta={name: name}).new())
    await events.wait_for(JobFinished, id=job_id)
    await events.wait_for(AcksWritten)
    assert (await node.jobs.update(job_id, queue=name)).queue == name
    assert await node.jobs.delete(job_id) == 1


@pytest.mark.parametrize("name", UNUSABLE_NAMES, ids=repr)
@pytest.mark.parametrize(
    "use",
    [
        lambda name, engine: Job(worker="w", queue=name),
        lambda name, engine: Job(worker=name),
        lambda name, engine: noop.with_options(queue=name),
        lambda name, engine: SqlaOban(engine, queues={name: 1}),
        lambda name, engine: job(name=name)(lambda: None),
    ],
    ids=["queue", "worker", "option", "runner", "declaration"],
)
async def test_an_unusable_name_is_refused_at_the_call(engine: AsyncEngine, use: Any, name: Any) -> None:
    with pytest.raises(ObanError) as refused:
        use(name, engine)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("bad", BAD_VALUES.values(), ids=BAD_VALUES)
async def test_args_that_are_no_json_are_refused_and_the_transaction_stays_usable(
    engine: AsyncEngine, bad: Any
) -> None:
    async with AsyncSession(engine) as session, session.begin():
        session.add(noop.new())
        await session.flush()
        for refuse in (
            lambda: take.new(bad),
            lambda: Job(worker="w", args={"value": bad}),
            lambda: Job(worker="w", meta={"value": bad}),
            lambda: noop.with_options(meta={"value": bad}),
        ):
            with pytest.raises(ObanError) as refused:
                refuse()
            assert len(str(refused.value)) < 400
        session.add(noop.new())
    assert len(await jobs(engine)) == 2


async def test_what_a_worker_returns_is_no_danger(engine: AsyncEngine, start: Any, events: Recorder) -> None:
    outcome.update(
        {
            **{f"Record {name}": lambda bad=bad: Record(bad) for name, bad in BAD_VALUES.items()},  # type: ignore[misc]
            **{f"Snooze {name}": lambda bad=bad: Snooze(1, meta={"a": bad}) for name, bad in BAD_VALUES.items()},  # type: ignore[misc]
            "Snooze for ever": lambda: Snooze(float("inf")),
            "Snooze a text": lambda: Snooze("soon"),  # type: ignore[arg-type]
            "Record too much": lambda: Record("x" * 100, limit=10),
            "an exception that is no Exception": lambda: _raise(SystemExit(3)),
            "an odd exception": lambda: _raise(ValueError("a\x00\ud800" + "x" * 200_000)),
        }
    )
    failing = list(outcome)
    outcome.update({"Cancel oddly": lambda: Cancel("a\x00\ud800"), "an object": object, "a class": lambda: Job})
    await start(queues={"default": 10})
    ids = await enqueue(engine, *(value.new(of) for of in outcome), noop.new())
    await events.wait_for(AcksWritten)
    await eventually(lambda: all_ended(engine), "every job to end")
    ended = dict(zip([*outcome, "noop"], await jobs(engine), strict=True))
    assert {name for name, one in ended.items() if one.state is JobState.DISCARDED} == set(failing)
    assert all(ended[name].errors[0]["error"] for name in failing)
    assert ended["Cancel oddly"].state is JobState.CANCELLED
    assert {ended[name].state for name in ("an object", "a class", "noop")} == {JobState.COMPLETED}
    assert len(events.of(JobFinished)) == len(ids)
    assert events.of(ServiceFailed) == []


@pytest.mark.parametrize("nonsense", ["soon", None, float("nan"), float("inf"), -1, True, object(), [1], 10**400])
async def test_a_backoff_that_returns_nonsense_is_replaced_and_told(
    engine: AsyncEngine, start: Any, nonsense: Any
) -> None:
    outcome["it"] = lambda: nonsense
    await start(queues={"default": 1})
    await enqueue(engine, backoff.new("it"))

    async def retried() -> bool:
        return {one.state for one in await jobs(engine)} == {JobState.RETRYABLE}

    await eventually(retried, "the failed attempt to be written")
    ((error,),) = [one.errors for one in await jobs(engine)]
    assert "the error itself" in error["error"]
    assert nonsense == 10**400 or "backoff failed too" in error["error"]


async def all_ended(engine: AsyncEngine) -> bool:
    waiting = {JobState.AVAILABLE, JobState.EXECUTING}
    return not {one.state for one in await jobs(engine)} & waiting
