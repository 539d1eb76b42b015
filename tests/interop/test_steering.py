"""What an operator says in one library is obeyed in the other."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.telemetry.events import QueuePaused, QueueResumed, QueueScaled, QueueStarted, QueueStopped
from tests.interop.conftest import every_release
from tests.interop.node import ObanPy
from tests.interop.workers import count, stubborn, wait
from tests.shop import gate
from tests.support import Recorder, enqueue, eventually, jobs


@every_release
async def test_oban_py_steers_our_queues(start: Any, events: Recorder, peer: ObanPy) -> None:
    await start(queues={"mail": 2})
    await peer.start(queues={"mail": 2})
    await peer.do("pause_queue", queue="mail")
    await events.wait_for(QueuePaused, queue="mail")
    await peer.do("resume_queue", queue="mail")
    await events.wait_for(QueueResumed, queue="mail")
    await peer.do("scale_queue", queue="mail", limit=7)
    await events.wait_for(QueueScaled, queue="mail", limit=7)


async def test_oban_py_starts_and_stops_our_queues(start: Any, events: Recorder, peer: ObanPy) -> None:
    """Since 0.7: before, it stops its own and tells nobody."""
    await start(queues={"mail": 2})
    await peer.start(queues={"mail": 2})
    await peer.do("stop_queue", queue="mail")
    await events.wait_for(QueueStopped, queue="mail")
    await peer.do("start_queue", queue="new", limit=3)
    await events.wait_for(QueueStarted, queue="new", limit=3)


@every_release
async def test_we_steer_the_queues_of_oban_py(start: Any, peer: ObanPy) -> None:
    oban = await start(queues={"mail": 2})
    await peer.start(queues={"mail": 2})
    await oban.queues.pause("mail")
    await eventually(lambda: is_(peer, "mail", paused=True), "it to pause")
    await oban.queues.resume("mail")
    await eventually(lambda: is_(peer, "mail", paused=False), "it to resume")
    await oban.queues.pause("*")
    await eventually(lambda: is_(peer, "mail", paused=True), "all to pause")
    await oban.queues.resume("*")
    await eventually(lambda: is_(peer, "mail", paused=False), "all to resume")
    await oban.queues.scale("mail", limit=7)
    await eventually(lambda: is_(peer, "mail", limit=7), "it to scale")
    await oban.queues.stop("mail")
    await eventually(lambda: runs_not(peer, "mail"), "it to stop")
    await oban.queues.start("new", limit=3, paused=True)
    await eventually(lambda: is_(peer, "new", limit=3, paused=True), "it to start")


async def test_a_word_for_one_node_concerns_no_other(start: Any, peer: ObanPy) -> None:
    oban = await start(queues={"mail": 2})
    await peer.start(queues={"mail": 2})
    await oban.queues.pause("mail", node=oban.node)
    await oban.queues.scale("mail", limit=5, node=peer.name)
    await eventually(lambda: is_(peer, "mail", limit=5), "it to scale")
    assert await is_(peer, "mail", paused=False)
    ours = await oban.queues.check("mail")
    assert (ours.limit, ours.paused) == (2, True)


async def test_nor_does_one_of_oban_py(start: Any, events: Recorder, peer: ObanPy) -> None:
    oban = await start(queues={"mail": 2})
    await peer.start(queues={"mail": 2})
    await peer.do("pause_queue", queue="mail", node=oban.node)
    await events.wait_for(QueuePaused, queue="mail")
    assert await is_(peer, "mail", paused=False)
    await peer.do("scale_queue", queue="mail", limit=9, node=peer.name)
    await eventually(lambda: is_(peer, "mail", limit=9), "it to scale")
    assert (await oban.queues.check("mail")).limit == 2


async def test_queues_of_oban_py_are_seen_with_what_runs_there(engine: AsyncEngine, start: Any, peer: ObanPy) -> None:
    oban = await start(queues={"mail": 2})
    await peer.start(queues={"default": {"limit": 3}})
    (id_,) = await enqueue(engine, wait.new())
    await peer.said("oban.job.start", job=id_)
    theirs = await oban.queues.check("default", node=peer.name)
    assert theirs is not None
    assert (theirs.limit, theirs.paused, theirs.running) == (3, False, (id_,))
    assert {info.queue for info in await oban.queues.check_all(everywhere=True)} == {"mail", "default"}


@every_release
async def test_oban_py_cancels_a_job_that_runs_here(engine: AsyncEngine, start: Any, peer: ObanPy) -> None:
    await start(queues={"default": 1})
    await peer.start()
    with gate("wait") as here:
        (id_,) = await enqueue(engine, wait.new())
        await eventually(lambda: here.entered == [id_], "the job to run")
        await peer.do("cancel_job", job=id_)
        await eventually(lambda: are(engine, JobState.CANCELLED), "the outcome")
        assert here.cancelled == [id_]


@every_release
async def test_we_cancel_a_job_that_runs_in_oban_py(engine: AsyncEngine, start: Any, peer: ObanPy) -> None:
    oban = await start()
    await peer.start(queues={"default": 1})
    (id_,) = await enqueue(engine, wait.new())
    await peer.said("oban.job.start", job=id_)
    assert await oban.jobs.cancel(id_) == 1
    await peer.said("oban.job.stop", job=id_, state="cancelled")
    await eventually(lambda: are(engine, JobState.CANCELLED), "the outcome")


async def test_a_cancellation_that_a_worker_of_oban_py_ignored_is_void_for_the_next_attempt(
    engine: AsyncEngine, start: Any, peer: ObanPy
) -> None:
    """oban.py writes what became of the execution and knows no mark; the mark names that execution alone."""
    oban = await start(queues={"elsewhere": 1})
    await peer.start(queues={"default": 1})
    (id_,) = await enqueue(engine, stubborn.new())
    await peer.said("oban.job.start", job=id_)
    await oban.jobs.cancel(id_)
    await peer.do("release")
    await eventually(lambda: are(engine, JobState.RETRYABLE), "the failure")
    assert "cancel_requested" in (await jobs(engine))[0].meta
    await oban.jobs.update(id_, queue="elsewhere")
    await oban.jobs.retry(id_)
    await eventually(lambda: are(engine, JobState.COMPLETED), "the next attempt")


async def test_who_waits_is_cancelled_by_either(engine: AsyncEngine, start: Any, peer: ObanPy) -> None:
    oban = await start()
    await peer.start()
    (ours,) = await enqueue(engine, count.new())
    (theirs,) = await peer.enqueue({})
    await peer.do("cancel_job", job=ours)
    await oban.jobs.cancel(theirs)
    assert await are(engine, JobState.CANCELLED, JobState.CANCELLED)


async def is_(peer: ObanPy, queue: str, **expected: Any) -> bool:
    info = await peer.do("check_queue", queue=queue)
    return info is not None and expected.items() <= info.items()


async def runs_not(peer: ObanPy, queue: str) -> bool:
    return await peer.do("check_queue", queue=queue) is None


async def are(engine: AsyncEngine, *states: JobState) -> bool:
    return [job.state for job in await jobs(engine)] == list(states)
