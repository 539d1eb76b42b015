"""Each library's upkeep beside the other's: what is left alone, what is cleared up, and what oban.py takes from us."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import JobState
from sqla_oban.settings import LeaderSettings, LifelineSettings, PrunerSettings
from sqla_oban.telemetry.events import AcksWritten, Beaten, JobFinished, JobRescued, JobsPruned
from tests.interop.conftest import every_release
from tests.interop.node import ObanPy
from tests.interop.workers import count, wait
from tests.shop import gate
from tests.support import Recorder, enqueue, eventually, jobs

RESTLESS = {
    "lifeline": {"interval": 0.1},
    "pruner": {"interval": 0.1},
    "refresher": {"interval": 0.1},
    "stager": {"interval": 0.1},
}
"""The upkeep of oban.py at its own ages, but all the time."""


@every_release
async def test_our_upkeep_leaves_the_live_jobs_of_oban_py_alone(
    engine: AsyncEngine, start: Any, events: Recorder, peer: ObanPy
) -> None:
    await peer.start(queues={"default": 2})
    (id_,) = await enqueue(engine, wait.new())
    await peer.said("oban.job.start", job=id_)
    await age(engine, seconds=40)  # it says that it lives every 15 s, and counts as alive for 60
    pruner = PrunerSettings(interval=0.05, max_age={JobState.COMPLETED: 0.001})
    oban = await start(queues={"ours": 1}, lifeline=LifelineSettings(interval=0.05), pruner=pruner)
    await eventually(lambda: oban.is_leader, "us to lead")
    await events.wait_for(Beaten, count=20)
    (job,) = await jobs(engine)
    assert (job.state, job.attempt, events.of(JobRescued)) == (JobState.EXECUTING, 1, [])
    assert await producers(engine) == {peer.name, oban.node}
    await peer.do("release")
    await peer.said("oban.job.stop", job=id_, state="completed")
    await events.wait_for(JobsPruned, count=1)


async def test_the_upkeep_of_oban_py_leaves_our_live_jobs_and_producers_alone(
    engine: AsyncEngine, start: Any, events: Recorder, peer: ObanPy
) -> None:
    oban = await start(queues={"default": 2})
    with gate("wait") as here:
        (id_,) = await enqueue(engine, wait.new())
        await eventually(lambda: here.entered == [id_], "the job to run")
        await peer.start(queues={"theirs": 1}, **RESTLESS)
        for round_ in ("lifeline.rescue", "pruner.prune", "refresher.refresh", "refresher.cleanup"):
            await peer.said(f"oban.{round_}.stop", count=5)
        (job,) = await jobs(engine)
        assert (job.state, job.attempt) == (JobState.EXECUTING, 1)
        assert await producers(engine) == {peer.name, oban.node}
        here.open()
        await events.wait_for(JobFinished, id=id_, state=JobState.COMPLETED)


async def test_jobs_of_an_oban_py_that_died_are_rescued_when_its_producer_has_been_silent_for_a_minute(
    engine: AsyncEngine, start: Any, events: Recorder, peer: ObanPy
) -> None:
    await peer.start(queues={"default": 1})
    (id_,) = await enqueue(engine, wait.new())
    await peer.said("oban.job.start", job=id_)
    await peer.kill()
    oban = await start(queues={"default": 1}, lifeline=LifelineSettings(interval=0.05))
    await eventually(lambda: oban.is_leader, "us to lead")
    await events.wait_for(Beaten, count=5)
    assert events.of(JobRescued) == []
    with gate("wait") as here:
        here.open()
        await age(engine, seconds=61)
        await events.wait_for(JobRescued, id=id_, state=JobState.AVAILABLE)
        await events.wait_for(JobFinished, id=id_, attempt=2, state=JobState.COMPLETED)
    await eventually(lambda: only(engine, oban.node), "its producer to be forgotten")


async def test_the_lifeline_of_oban_py_takes_what_runs_longer_than_it_allows_and_our_late_outcome_changes_nothing(
    engine: AsyncEngine, start: Any, events: Recorder, peer: ObanPy
) -> None:
    """It knows no heartbeats: so whoever shares a table has it allow enough, or turns its leadership off."""
    await start(queues={"default": 2})
    with gate("wait") as here:
        (id_,) = await enqueue(engine, wait.new())
        await eventually(lambda: here.entered == [id_], "the job to run")
        await peer.start(queues={"theirs": 1}, lifeline={"interval": 0.2, "rescue_after": 0.2})
        await peer.said("oban.lifeline.rescue.stop", rescued_count=1)
        await peer.kill()
        await eventually(lambda: len(here.entered) >= 2, "the job to run beside itself")
        here.open()
        await eventually(lambda: all_are(engine, JobState.COMPLETED), "the outcome")
        await eventually(lambda: any(id_ in event.late for event in events.of(AcksWritten)), "the late outcome")
    (job,) = await jobs(engine)
    assert (job.state, job.errors) == (JobState.COMPLETED, [])
    assert job.attempt == job.meta["rescued"] + 1


async def test_without_leadership_oban_py_leaves_the_upkeep_to_us(
    engine: AsyncEngine, start: Any, events: Recorder, peer: ObanPy
) -> None:
    await start(queues={"default": 2})
    with gate("wait") as here:
        (id_,) = await enqueue(engine, wait.new())
        await eventually(lambda: here.entered == [id_], "the job to run")
        lifeline = {"interval": 0.05, "rescue_after": 0.05}
        await peer.start(queues={"theirs": 1}, leadership=False, **{**RESTLESS, "lifeline": lifeline})
        await peer.said("oban.refresher.refresh.stop", count=5)
        assert peer.of("oban.lifeline.rescue.stop") == []
        here.open()
        await events.wait_for(JobFinished, id=id_, attempt=1, state=JobState.COMPLETED)


async def test_each_library_has_a_leader_of_its_own_and_the_news_of_one_is_no_harm_to_the_other(
    engine: AsyncEngine, start: Any, peer: ObanPy
) -> None:
    """oban.py keeps its lease in `oban_leaders`."""
    oban = await start(queues={"ours": 1})
    await peer.start(queues={"theirs": 1})
    await eventually(lambda: oban.is_leader, "us to lead")
    await eventually(lambda: peer.do("leads"), "it to lead")
    elections = len(peer.of("oban.leader.election.stop"))
    await oban.stop()
    await peer.said("oban.leader.election.stop", count=elections + 1, leader=True)
    again = await start(queues={"ours": 1}, leader=LeaderSettings(ttl=60))
    await eventually(lambda: again.is_leader, "us to lead again")
    await peer.do("stop")
    (id_,) = await enqueue(engine, count.with_options(queue="ours").new())
    await eventually(lambda: all_are(engine, JobState.COMPLETED), f"job {id_}")
    assert again.is_leader


async def age(engine: AsyncEngine, *, seconds: int) -> None:
    """Has all that oban.py said of itself be said longer ago."""
    aged = """
        UPDATE oban_producers SET updated_at = updated_at - make_interval(secs => :seconds)
        WHERE NOT meta ? 'ttl'
    """
    async with engine.begin() as connection:
        await connection.execute(text(aged), {"seconds": seconds})


async def producers(engine: AsyncEngine) -> set[str]:
    async with engine.connect() as connection:
        return set(await connection.scalars(text("SELECT node FROM oban_producers")))


async def only(engine: AsyncEngine, node: str) -> bool:
    return await producers(engine) == {node}


async def all_are(engine: AsyncEngine, state: JobState) -> bool:
    return {job.state for job in await jobs(engine)} == {state}
