"""A workflow: extract, then load page by page, then report on all of it.

    python examples/workflow.py

The extra `testing` brings its PostgreSQL. To use a database of yours, set DATABASE_URL=postgresql+asyncpg://...
"""

import asyncio
import os

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from sqla_oban import Record, SqlaOban, Workflow, current_job, job
from sqla_oban.migrations import migrate
from sqla_oban.testing import TemporaryPostgres


@job
async def extract() -> Record:
    return Record({"pages": 3})


@job
async def load(page: int) -> Record:
    assert current_job().upstream["extract"].result["pages"] > page
    return Record(page * 10)


@job
async def report() -> Record:
    rows = sum(one.result for one in current_job().upstream.values())
    print(f"{rows} rows on {current_job().context['day']}")
    return Record(rows)


def daily_import(day: str) -> Workflow:
    workflow = Workflow(name="import", context={"day": day})
    workflow.add("extract", extract.new())
    pages = Workflow(name="pages")
    for page in range(3):
        pages.add(f"page {page}", load.new(page))
    workflow.add_workflow("pages", pages, deps=["extract"])
    workflow.add("report", report.new(), deps=["pages"])
    return workflow


async def main(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(migrate)
    async with SqlaOban(engine, queues={"default": 5}) as oban:
        async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
            session.add(workflow := daily_import("2026-11-25"))
        while (await oban.workflows.status(workflow)).state == "executing":  # noqa: ASYNC110 (no service)
            await asyncio.sleep(0.1)
        print(await oban.workflows.to_mermaid(workflow))
    await engine.dispose()


if __name__ == "__main__":
    # Not a `with`: the server ends with this program, however that ends.
    url = os.getenv("DATABASE_URL") or (server := TemporaryPostgres().start()).url()
    asyncio.run(main(create_async_engine(url)))
