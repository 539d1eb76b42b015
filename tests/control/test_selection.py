"""Which jobs a selection means, and which selections are refused."""

from typing import Any

import pytest
from sqlalchemy import and_, false, func, select, true
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import aliased, selectinload

from sqla_oban import Job, SqlaOban
from sqla_oban.control.selection import LARGEST, selected
from sqla_oban.errors import InvalidSelection
from sqla_oban.models import Cron
from tests.support import both_drivers, enqueue

MEANINGLESS: dict[str, Any] = {
    "nothing": None,
    "a name": "1",
    "bytes": b"1",
    "a bool": True,
    "a float": 1.0,
    "ids as text": ["1", "2"],
    "a bool among ids": [1, True],
    "a job that was not stored": Job(worker="w"),
    "such a one among others": [1, Job(worker="w")],
    "every job": select(Job),
    "every job, as a dynamic filter without conditions says it": select(Job).where(and_(true())),
    "every job, by True": select(Job).where(True),  # type: ignore[arg-type]
    "the first ten of every job": select(Job).limit(10),
    "every id": select(Job.id),
    "something else": select(Cron).where(Cron.name == "x"),
    "jobs and something else": select(Job, Cron).where(Job.id == 1),
    "a count": select(func.count()).where(true()),
    "a group": select(Job.id).where(Job.id > 0).group_by(Job.id),
    "distinct jobs": select(Job).where(Job.id > 0).distinct(),
    "a group of all": select(Job.id).where(Job.id > 0).having(true()),
    "no columns": select().where(Job.id > 0),
    "an alias": select(aliased(Job)).where(true()),
}


@pytest.mark.parametrize("which", MEANINGLESS.values(), ids=MEANINGLESS)
def test_what_names_no_jobs_or_all_of_them_is_refused(which: Any) -> None:
    with pytest.raises(InvalidSelection):
        selected(which)


@pytest.mark.parametrize("verb", ["cancel", "retry", "delete", "update"])
async def test_every_verb_refuses_it_and_changes_nothing(engine: AsyncEngine, verb: str) -> None:
    (job_id,) = await enqueue(engine, Job(worker="w"))
    oban = SqlaOban(engine)
    with pytest.raises(InvalidSelection, match="without a condition selects every job"):
        await getattr(oban.jobs, verb)(select(Job))
    assert await oban.jobs.get(job_id) is not None


@both_drivers
async def test_what_means_jobs_means_those_in_the_order_of_their_ids(engine: AsyncEngine, driver: str) -> None:
    ids = await enqueue(engine, *(Job(worker="w", queue=queue) for queue in ("a", "b", "a", "c", "a")))
    async with AsyncSession(engine) as session:
        stored = await session.get_one(Job, ids[1])

        async def means(which: Any) -> list[int]:
            return list((await session.scalars(selected(which))).all())

        assert await means(ids[0]) == [ids[0]]
        assert await means(stored) == [ids[1]]
        assert await means([ids[2], stored, ids[0], ids[0]]) == ids[:3]
        assert await means(one for one in ids[3:]) == ids[3:]
        assert await means({ids[4], ids[3]}) == ids[3:]
        assert await means([]) == []
        assert await means([0, -1, LARGEST + 1, 10**30, ids[0]]) == [ids[0]]
        in_a = select(Job).where(Job.queue == "a")
        assert await means(in_a) == [ids[0], ids[2], ids[4]]
        assert await means(in_a.order_by(Job.id.desc())) == [ids[0], ids[2], ids[4]]
        assert await means(in_a.order_by(Job.id.desc()).limit(2)) == [ids[4], ids[2]]
        assert await means(select(Job.id).where(Job.queue == "b")) == [ids[1]]
        assert await means(select(Job.id, Job.queue).where(Job.queue == "b")) == [ids[1]]
        assert await means(select(Job).where(Job.id.in_([]))) == []
        assert await means(select(Job).where(false())) == []
        assert await means(select(Job).where(Job.id > 0)) == ids


async def test_a_query_may_join_and_bring_loader_options(engine: AsyncEngine) -> None:
    ids = await enqueue(engine, Job(worker="one", queue="x"), Job(worker="two", queue="y"))
    async with engine.begin() as connection:
        await connection.run_sync(
            lambda sync: sync.exec_driver_sql(
                "INSERT INTO oban_crons (name, expression, worker) VALUES ('n', '*', 'one')"
            )
        )
    joined = select(Job).join(Cron, Cron.worker == Job.worker).where(Cron.name == "n").options(selectinload("*"))
    assert await SqlaOban(engine).jobs.cancel(joined) == 1
    assert [str((await SqlaOban(engine).jobs.get(one)).state) for one in ids] == ["cancelled", "available"]  # type: ignore[union-attr]
