"""Either library enqueues what the other runs, and carries on what the other began."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import Job, JobState
from sqla_oban.telemetry.events import JobFailed, JobFinished
from tests.interop.conftest import every_release, runs
from tests.interop.node import ObanPy
from tests.interop.workers import count, doze, echo, fail, finish, keep
from tests.support import Recorder, enqueue, eventually, jobs

ARGS: dict[str, Any] = {
    "text": 'Grüße, 世界 👋 \u2028 "quoted" \\ line\nfeed',
    "numbers": [0, -1, 2**53 + 1, 10**30, 1.5, 1e-9],
    "nested": {"empty": {}, "list": [[], [None, True, False]], "": 1},
}


@every_release
async def test_oban_py_enqueues_and_we_run(engine: AsyncEngine, start: Any, events: Recorder, peer: ObanPy) -> None:
    await peer.start()
    await start(queues={"default": 5})
    ids = await peer.enqueue(*({"tags": ["a b", "ü"], "meta": {"n": n}, "priority": n} for n in range(10)))
    await events.wait_for(JobFinished, count=10)
    assert {id_: runner for id_, (runner, _) in (await runs(engine)).items()} == dict.fromkeys(ids, "sqla_oban")
    await eventually(lambda: all_are(engine, JobState.COMPLETED), "the outcomes")
    assert [(job.tags, job.meta, job.priority) for job in await jobs(engine)] == [
        (["a b", "ü"], {"n": n}, n) for n in range(10)
    ]


@every_release
async def test_we_enqueue_and_oban_py_runs(engine: AsyncEngine, peer: ObanPy) -> None:
    await peer.start(queues={"default": 5})
    ids = await enqueue(engine, *(count.with_options(priority=n, tags=["x"]).new() for n in range(10)))
    await eventually(lambda: all_are(engine, JobState.COMPLETED), "the outcomes")
    assert {id_: runner for id_, (runner, _) in (await runs(engine)).items()} == dict.fromkeys(ids, "oban.py")
    assert {job.attempted_by[0] for job in await jobs(engine)} == {peer.name}


async def test_arguments_arrive_as_they_were_given(
    engine: AsyncEngine, start: Any, events: Recorder, peer: ObanPy
) -> None:
    await peer.start(queues={"theirs": 1})
    await start(queues={"ours": 1})
    (ours,) = await peer.enqueue({"worker": "peer_workers.Echo", "args": ARGS, "queue": "ours"})
    (theirs,) = await enqueue(engine, echo.with_options(queue="theirs").new(**ARGS))
    await eventually(lambda: all_are(engine, JobState.COMPLETED), "the outcomes")
    assert await runs(engine) == {ours: ("sqla_oban", ARGS), theirs: ("oban.py", ARGS)}


async def test_scheduled_jobs_run_when_they_are_due(engine: AsyncEngine, start: Any, peer: ObanPy) -> None:
    await peer.start(queues={"theirs": 1}, stager={"interval": 0.05})
    await start(queues={"ours": 1})
    (ours,) = await peer.enqueue({"scheduled_in": 0.2, "queue": "ours"})
    (theirs,) = await enqueue(engine, count.with_options(schedule_in=0.2, queue="theirs").new())
    await eventually(lambda: all_are(engine, JobState.COMPLETED), "the outcomes")
    assert {id_: runner for id_, (runner, _) in (await runs(engine)).items()} == {ours: "sqla_oban", theirs: "oban.py"}


async def test_we_finish_what_failed_in_oban_py(
    engine: AsyncEngine, start: Any, events: Recorder, peer: ObanPy
) -> None:
    await peer.start(queues={"default": 1})
    (id_,) = await enqueue(engine, fail.new())
    await eventually(lambda: all_are(engine, JobState.RETRYABLE), "the failure")
    await peer.do("stop")
    oban = await start(queues={"default": 1})
    assert await oban.jobs.retry(id_) == 1
    await events.wait_for(JobFinished, id=id_, state=JobState.COMPLETED)
    assert (await runs(engine))[id_] == ("sqla_oban", {"attempt": 2})
    (job,) = await jobs(engine)
    assert [one["attempt"] for one in job.errors] == [1]
    assert "failed in oban.py" in job.errors[0]["error"]


async def test_oban_py_finishes_what_failed_here(
    engine: AsyncEngine, start: Any, events: Recorder, peer: ObanPy
) -> None:
    oban = await start(queues={"default": 1})
    (id_,) = await enqueue(engine, finish.new())
    await events.wait_for(JobFailed, id=id_)
    await eventually(lambda: all_are(engine, JobState.RETRYABLE), "the failure")
    await oban.stop()
    await peer.start(queues={"default": 1})
    await peer.do("retry_job", job=id_)
    await peer.said("oban.job.stop", job=id_, state="completed")
    assert (await runs(engine))[id_] == ("oban.py", {"attempt": 2, "errors": 1})
    told = await peer.do("get_job", id=id_)
    assert "failed in sqla_oban" in told["errors"][0]["error"]


async def test_a_snooze_costs_no_attempt_and_is_counted_by_both(engine: AsyncEngine, start: Any, peer: ObanPy) -> None:
    await peer.start(queues={"default": 1})
    (id_,) = await enqueue(engine, doze.new())
    await eventually(lambda: all_are(engine, JobState.SCHEDULED), "the snooze")
    await peer.do("stop")
    oban = await start(queues={"default": 1})
    await oban.jobs.retry(id_)
    await eventually(lambda: snoozed(engine, 2), "the second snooze")
    (job,) = await jobs(engine)
    assert (job.state, job.attempt) == (JobState.SCHEDULED, 0)


async def test_what_one_library_recorded_is_no_riddle_for_the_other(
    engine: AsyncEngine, start: Any, peer: ObanPy
) -> None:
    """Theirs is an Erlang term, which ours does not read; ours must not look like one."""
    await peer.start(queues={"theirs": 1})
    await start(queues={"ours": 1})
    await enqueue(engine, *(keep.with_options(queue=queue).new() for queue in ("ours", "theirs")))
    await eventually(lambda: all_are(engine, JobState.COMPLETED), "the outcomes")
    ours, theirs = await jobs(engine)
    assert (ours.result, theirs.result) == ({"pages": [1, 2]}, None)
    assert (theirs.meta["recorded"], isinstance(theirs.meta["return"], str)) == (True, True)
    assert not ours.meta.keys() & {"recorded", "return"}


async def test_each_manages_the_jobs_of_the_other(engine: AsyncEngine, start: Any, peer: ObanPy) -> None:
    await peer.start()
    oban = await start()
    first, second, third = await enqueue(engine, *(count.new() for _ in range(3)))
    await peer.do("update_job", job=first, changes={"priority": 3, "queue": "other", "args": {"a": 1}})
    await peer.do("cancel_job", job=second)
    await peer.do("delete_job", job=third)
    changed, cancelled = await jobs(engine)
    assert (changed.priority, changed.queue, changed.args) == (3, "other", {"a": 1})
    assert cancelled.state is JobState.CANCELLED
    (fourth,) = await peer.enqueue({"queue": "none"})
    await oban.jobs.update(fourth, priority=4, meta={"b": 2})
    await oban.jobs.cancel(fourth)
    assert (await peer.do("get_job", id=fourth))["state"] == "cancelled"
    assert await oban.jobs.delete([first, second, fourth]) == 3


async def test_a_worker_that_one_library_does_not_know_fails_there_with_a_reason(
    engine: AsyncEngine, start: Any, peer: ObanPy
) -> None:
    await peer.start(queues={"theirs": 1})
    await start(queues={"ours": 1})
    await enqueue(engine, *(Job(worker="nobody.Knows", queue=queue) for queue in ("ours", "theirs")))
    await eventually(lambda: all_are(engine, JobState.RETRYABLE), "the failures")
    assert all("nobody" in job.errors[0]["error"] for job in await jobs(engine))


async def all_are(engine: AsyncEngine, state: JobState) -> bool:
    return {job.state for job in await jobs(engine)} == {state}


async def snoozed(engine: AsyncEngine, times: int) -> bool:
    return [job.meta.get("snoozed") for job in await jobs(engine)] == [times]
