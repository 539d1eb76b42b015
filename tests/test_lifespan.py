from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette

from sqla_oban import SqlaOban
from sqla_oban.telemetry.events import JobFinished, RunnerStarted, RunnerStopped
from tests.shop import noop
from tests.support import Recorder, enqueue, fast_settings


@pytest.fixture
def oban(engine: AsyncEngine) -> SqlaOban:
    return SqlaOban(engine, queues={"default": 5}, **fast_settings())


async def test_a_runner_runs_from_the_startup_of_an_application_to_its_shutdown(
    oban: SqlaOban, engine: AsyncEngine, events: Recorder
) -> None:
    app = Starlette(lifespan=oban.lifespan)
    async with app.router.lifespan_context(app) as state:
        assert state is None
        assert len(events.of(RunnerStarted)) == 1
        (id_,) = await enqueue(engine, noop.new())
        await events.wait_for(JobFinished, id=id_)
    assert [event.unfinished for event in events.of(RunnerStopped)] == [0]


async def test_an_application_that_fails_stops_its_runner(oban: SqlaOban, events: Recorder) -> None:
    app: Any = object()
    with pytest.raises(RuntimeError, match="of the application"):
        async with oban.lifespan(app):
            raise RuntimeError("of the application")
    assert len(events.of(RunnerStopped)) == 1
