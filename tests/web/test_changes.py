"""What the dashboard changes: only for those who may, only from its own pages, and on record."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import SqlaOban, Workflow
from sqla_oban.telemetry.events import OperatorActed, QueuePaused, QueueResumed, QueueScaled
from sqla_oban.web import Action
from tests.queries.table import PAST, Table, ago
from tests.shop import noop
from tests.support import Recorder
from tests.web.conftest import Visitor, everything

CHANGES = {
    "/jobs/retry": Action.RETRY_JOBS,
    "/jobs/cancel": Action.CANCEL_JOBS,
    "/jobs/delete": Action.DELETE_JOBS,
    "/jobs/1/edit": Action.EDIT_JOBS,
    "/workflows/1/cancel": Action.CANCEL_WORKFLOWS,
    "/workflows/1/retry": Action.RETRY_WORKFLOWS,
    "/queues/pause": Action.PAUSE_QUEUES,
    "/queues/resume": Action.PAUSE_QUEUES,
    "/queues/scale": Action.SCALE_QUEUES,
    "/crons/create": Action.CREATE_CRONS,
    "/crons/pause": Action.PAUSE_CRONS,
    "/crons/resume": Action.PAUSE_CRONS,
    "/crons/delete": Action.DELETE_CRONS,
}
FIELDS = {
    "id": "1", "worker": "evil", "queue": "default", "limit": "9", "name": "nightly", "expression": "@daily",
    "args": "{}", "priority": "1", "max_attempts": "3",
}  # fmt: skip


async def contents(table: Table) -> list[Any]:
    rows: list[Any] = []
    for name in ("oban_jobs", "oban_workflows", "oban_queues", "oban_crons"):
        rows += (await table.connection.exec_driver_sql(f"SELECT t::text FROM {name} t ORDER BY 1")).scalars().all()
    return rows


@pytest.fixture
async def stored(table: Table, engine: AsyncEngine) -> int:
    await SqlaOban(engine).crons.create("nightly", "@daily", noop.new())
    workflow = Workflow(name="import")
    workflow.add("one", noop.new())
    workflow.add("two", noop.new())
    async with AsyncSession(engine) as session, session.begin():
        session.add(workflow)
    await table.scalar("UPDATE oban_jobs SET state = 'cancelled' WHERE workflow_name = 'two' RETURNING 1")
    return await table.add(state="'scheduled'", scheduled_at=ago(-900))


def routes(app: Any) -> set[str]:
    return {
        route.path.replace("{id:int}", "1") for route in app.routes if "POST" in (getattr(route, "methods", None) or ())
    }


async def test_every_route_that_takes_a_form_is_tried_here(engine: AsyncEngine, visit: Any) -> None:
    assert routes(visit().http._transport.app) == set(CHANGES)


@pytest.mark.parametrize("path", CHANGES)
async def test_without_a_word_of_the_host_nothing_can_be_changed(
    path: str, stored: int, table: Table, visit: Any, events: Recorder
) -> None:
    visitor, before = visit(), await contents(table)
    assert "You may not do this" in await visitor.post(path, 403, **FIELDS)
    assert await contents(table) == before
    (event,) = events.of(OperatorActed)
    assert (event.action, event.refused) == (CHANGES[path], "not allowed")
    for page in ("/", "/jobs", "/jobs/1", "/workflows/1", "/queues", "/crons"):
        html = await visitor.get(page)
        assert 'method="post" action' not in html
        assert "formaction" not in html


@pytest.mark.parametrize("path", CHANGES)
async def test_a_permission_is_for_one_action_only(path: str, stored: int, table: Table, visit: Any) -> None:
    before = await contents(table)
    others = visit(authorize=lambda _, action: action is not CHANGES[path])
    await others.post(path, 403, **FIELDS)
    await visit(authorize=lambda _, action: action is CHANGES[path]).http.post(path, data=FIELDS)  # may not even read
    assert await contents(table) == before


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize(
    "attack", ["no token", "another's token", "no cookie", "another site", "another origin", "json", "get"]
)
async def test_a_change_is_taken_from_our_own_pages_only(
    path: str, attack: str, stored: int, table: Table, visit: Any
) -> None:
    visitor: Visitor = visit(authorize=everything)
    await visitor.get("/queues")
    before, token = await contents(table), visitor.token
    assert len(token) == 43
    http, fields = visitor.http, {"csrf": token, **FIELDS}
    match attack:
        case "no token":
            answer = await http.post(path, data=FIELDS)
        case "another's token":
            answer = await http.post(path, data={**fields, "csrf": "x" * 43})
        case "no cookie":
            http.cookies.clear()
            answer = await http.post(path, data=fields)
        case "another site":
            answer = await http.post(path, data=fields, headers={"sec-fetch-site": "cross-site"})
        case "another origin":
            answer = await http.post(path, data=fields, headers={"origin": "http://evil.example"})
        case "json":
            answer = await http.post(path, json=fields)
        case _:
            answer = await http.get(path, params=fields)
    assert answer.status_code in (403, 404, 405, 415) or (attack == "get" and answer.status_code == 200)
    assert await contents(table) == before


async def test_a_hook_may_be_async_and_only_true_is_a_yes(stored: int, visit: Any) -> None:
    async def asynchronously(_: Any, action: Action) -> bool:
        return action is not Action.DELETE_JOBS

    visitor = visit(authorize=asynchronously)
    assert "cancelled" in await visitor.post("/jobs/cancel", id="1")
    await visitor.post("/jobs/delete", 403, id="1")
    await visit(authorize=lambda *_: "yes").get("/", 403)
    await visit(authorize=lambda *_: False).get("/jobs/1", 403)


@pytest.mark.parametrize(
    ("verb", "state", "then"),
    [("retry", "discarded", "available"), ("cancel", "available", "cancelled"), ("delete", "completed", None)],
)
async def test_jobs_are_changed_and_it_is_on_record(
    verb: str, state: str, then: str | None, table: Table, visit: Any, events: Recorder
) -> None:
    ids = [await table.add(state=f"'{state}'", completed_at=PAST, discarded_at=PAST) for _ in range(2)]
    running = await table.add_executing()
    asked = [*ids, running] if verb != "cancel" else ids
    said = await visit(authorize=everything, user=lambda _: "ada").post(f"/jobs/{verb}", id=asked)
    assert said.startswith("2 jobs were")
    assert ("1 was not in a state for it" in said) == (verb != "cancel")
    states = await table.states()
    assert [states.get(one) for one in ids] == [then, then]
    (event,) = events.of(OperatorActed)
    assert (event.action, event.user, event.count, event.refused) == (f"{verb}_jobs", "ada", 2, None)
    assert event.on == tuple(map(str, asked))


async def test_all_that_a_search_finds_are_changed(table: Table, visit: Any, events: Recorder) -> None:
    ids = [await table.add(state="'retryable'", queue="'a'") for _ in range(40)]
    other = await table.add(state="'retryable'", queue="'b'")
    visitor = visit(authorize=everything)
    assert "40 jobs were deleted" in await visitor.post("/jobs/delete", all="1", state="retryable", q="queue:a")
    assert await table.states() == {other: "retryable"}
    assert events.of(OperatorActed)[0].count == len(ids)
    await visitor.post("/jobs/delete", 400, all="1", state="retryable", q="queue:a")
    await visitor.post("/jobs/delete", 400)


async def test_a_job_is_edited(table: Table, visit: Any) -> None:
    job = await table.add(args="""'{"a": 1}'""", meta="""'{"m": 1}'""", tags="ARRAY['x']")
    said = await visit(authorize=everything).post(
        f"/jobs/{job}/edit", worker="w", queue="slow", priority="2", max_attempts="7", tags="x, New",
        args='{"a": [2]}', meta='{"m": 1}', schedule_in="3600",
    )  # fmt: skip
    assert said == f"Job {job}: queue, priority, max_attempts, args, tags, schedule_in changed."
    row = await table.job(job)
    assert (row.queue, row.priority, row.max_attempts, row.args, row.meta) == ("slow", 2, 7, {"a": [2]}, {"m": 1})
    assert (row.tags, row.state) == (["x", "new"], "scheduled")


@pytest.mark.parametrize(
    "fields",
    [{"args": "["}, {"args": "7"}, {"priority": "high"}, {"max_attempts": "0"}, {"queue": ""}, {"worker": "x" * 200},
     {"schedule_in": "-1"}, {"args": "[" * 100_000}, {"worker": "a\x00"}],
)  # fmt: skip
async def test_what_is_wrong_with_an_edit_is_said_and_nothing_changes(
    fields: dict[str, str], table: Table, visit: Any, events: Recorder
) -> None:
    job = await table.add()
    before = await contents(table)
    assert await visit(authorize=everything).post(f"/jobs/{job}/edit", **fields)
    assert await contents(table) == before
    assert events.of(OperatorActed)[0].refused


async def test_a_job_that_runs_cannot_be_edited(table: Table, visit: Any) -> None:
    job = await table.add_executing()
    assert "is executing" in await visit(authorize=everything).post(f"/jobs/{job}/edit", queue="other")


async def test_workflows_are_cancelled_and_brought_back(
    stored: int, table: Table, visit: Any, events: Recorder
) -> None:
    visitor = visit(authorize=everything, user=lambda _: "ada")
    html = await visitor.get("/workflows/1")
    assert "/workflows/1/retry" in html
    assert "/workflows/1/cancel" in html
    assert await visitor.post("/workflows/1/cancel") == "import: 1 job was cancelled."
    assert "/workflows/1/cancel" not in await visitor.get("/workflows/1")
    assert await visitor.post("/workflows/1/retry") == "import: 2 jobs were brought back."
    assert sorted((await table.states()).values()) == ["available", "available", "scheduled"]
    told = [(event.action, event.user, event.on, event.count) for event in events.of(OperatorActed)]
    assert told == [("cancel_workflows", "ada", ("1",), 1), ("retry_workflows", "ada", ("1",), 2)]
    await visitor.post("/workflows/2/cancel", 404)


async def test_queues_are_paused_resumed_and_scaled(
    start: Any, visit: Any, events: Recorder, engine: AsyncEngine
) -> None:
    await start(queues={"mail": 3}, node="web-1")
    visitor = visit(authorize=everything)
    assert await visitor.post("/queues/pause", queue="mail") == "The queue mail is paused."
    await events.wait_for(QueuePaused, queue="mail")
    assert "paused" in await visitor.get("/queues")
    assert "goes on on web-1" in await visitor.post("/queues/resume", queue="mail", node="web-1")
    await events.wait_for(QueueResumed, queue="mail")
    assert "up to 9 jobs on each node" in await visitor.post("/queues/scale", queue="mail", limit="9")
    await events.wait_for(QueueScaled, queue="mail")
    assert "Every queue is paused" in await visitor.post("/queues/pause", queue="*")
    await events.wait_for(QueuePaused, queue="mail", count=2)
    await visitor.post("/queues/scale", 400, queue="mail", limit="many")
    assert "limit" in await visitor.post("/queues/scale", queue="mail", limit="0")
    assert len(events.of(QueueScaled)) == 1


async def test_the_crontab_is_changed(engine: AsyncEngine, visit: Any) -> None:
    visitor, oban = visit(authorize=everything), SqlaOban(engine)
    entry = {"name": "nightly", "expression": "30 2 * * *", "worker": "shop.report", "args": '{"kind": "long"}'}
    assert (
        await visitor.post("/crons/create", **entry, timezone="Europe/Berlin", queue="slow") == "nightly was created."
    )
    stored = await oban.crons.get("nightly")
    assert stored is not None
    assert (stored.args, stored.queue, stored.timezone) == ({"kind": "long"}, "slow", "Europe/Berlin")
    assert "is an entry" in await visitor.post("/crons/create", **entry)
    assert "At 02:30" in await visitor.get("/crons")
    await visitor.post("/crons/pause", name="nightly")
    assert (await oban.crons.get("nightly")).paused  # type: ignore[union-attr]
    await visitor.post("/crons/resume", name="nightly")
    assert "99" in await visitor.post("/crons/create", **{**entry, "name": "odd", "expression": "99 * * * *"})
    assert "JSON" in await visitor.post("/crons/create", **{**entry, "name": "odd", "args": "["})
    assert "deleted" in await visitor.post("/crons/delete", name="nightly")
    assert "no entry" in await visitor.post("/crons/delete", name="nightly")
    assert await oban.crons.all() == []


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:1", "/a\nb"]
)
async def test_a_change_does_not_lead_elsewhere(back: str, stored: int, visit: Any) -> None:
    visitor = visit(authorize=everything)
    await visitor.get("/queues")
    answer = await visitor.http.post("/queues/pause", data={"csrf": visitor.token, "queue": "a", "back": back})
    assert answer.headers["location"] == "/queues"


async def test_a_form_that_is_too_long_is_refused(engine: AsyncEngine, visit: Any) -> None:
    visitor = visit(authorize=everything)
    await visitor.post("/jobs/1/edit", 413, args="x" * 2_000_001)
    await visitor.post("/jobs/retry", 400, id=["1"] * 3_000)
