"""What the pages show, of whatever is stored."""

import json
import re
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from starlette.applications import Starlette
from starlette.routing import Mount

from sqla_oban import JobState, SqlaOban, Workflow
from sqla_oban.doctor.finding import Finding, Verdict
from sqla_oban.engine.heartbeat import VERSION
from sqla_oban.telemetry import hidden, only
from sqla_oban.telemetry.events import JobFailed
from sqla_oban.web import dashboard
from sqla_oban.web.guard import POLICY
from sqla_oban.web.pages import health
from tests.queries.table import PAST, Table, ago
from tests.shop import fail, noop
from tests.support import Recorder, both_drivers, enqueue, eventually
from tests.web.conftest import TRACE, everything

HOSTILE = "<script>alert(1)</script>\"'&"
PAGES = [
    "/",
    "/jobs",
    *(f"/jobs?state={state}" for state in JobState),
    "/queues",
    "/crons",
    "/nodes",
    "/health",
    "/workflows",
]


@pytest.fixture
async def stored(table: Table, engine: AsyncEngine) -> dict[str, int]:
    """Jobs in every state, a node and a cron entry, all of which have names that mean harm."""
    name = HOSTILE.replace("'", "''")
    common = {
        "worker": f"'shop.{name}'",
        "queue": f"'{name}'",
        "tags": f"ARRAY['{name}']",
        "args": f"jsonb_build_object('{name}', '{name}')",
        "meta": f"jsonb_build_object('recorded_value', '{name}', 'cron_name', '{name}')",
        "errors": f"jsonb_build_array(jsonb_build_object('at', '{name}', 'attempt', '{name}', 'error', '{name}'))",
        "attempted_by": f"ARRAY['{name}', '{name}']",
        **{f"{moment}_at": PAST for moment in ("attempted", "completed", "discarded", "cancelled")},
    }
    ids = {str(state): await table.add(state=f"'{state}'", attempt="1", **common) for state in JobState}
    meta = json.dumps({"ttl": 60, "local_limit": 5, "running": 2, "hearing": False}).replace(":", ": ")
    await table.scalar(
        "INSERT INTO oban_producers (uuid, name, node, queue, meta) "
        f"VALUES (gen_random_uuid(), 'Oban', '{name}', '{name}', '{meta}') RETURNING 1"
    )
    workflow = Workflow(name=HOSTILE)
    workflow.add(HOSTILE, noop.new())
    async with AsyncSession(engine) as session, session.begin():
        session.add(workflow)
    await SqlaOban(engine).crons.create(HOSTILE, "@daily", noop.new())
    return ids


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_shows_hostile_values_as_text(path: str, stored: dict[str, int], visit: Any) -> None:
    for html in (await visit(authorize=everything).get(path), await visit().get(path)):
        assert "<script>alert" not in html
        assert "style=" not in html
        assert "&lt;script&gt;" in html


@pytest.mark.parametrize("state", JobState)
async def test_a_job_is_shown_in_whatever_state(state: str, stored: dict[str, int], visit: Any) -> None:
    visitor = visit(authorize=everything)
    for path in (f"/jobs/{stored[state]}", f"/jobs/{stored[state]}/edit"):
        html = await visitor.get(path)
        assert "<script>alert" not in html
        assert "&lt;script&gt;" in html


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_there_where_nothing_is_stored(path: str, engine: AsyncEngine, visit: Any) -> None:
    assert "<h1>" in await visit().get(path)


async def test_every_answer_forbids_what_is_not_ours(engine: AsyncEngine, visit: Any) -> None:
    visitor = visit()
    for path in ("/", "/jobs/1", "/nowhere", "/static/dashboard.js"):
        answer = await visitor.http.get(path)
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in POLICY


async def test_an_argument_of_a_megabyte_is_cut_off(table: Table, visit: Any) -> None:
    job = await table.add(args="jsonb_build_object('blob', repeat('x', 1000000))")
    assert "large" in await visit().get("/jobs")
    html = await visit().get(f"/jobs/{job}")
    assert "the first 100,000 of 1,000" in html
    assert len(html) < 200_000


async def test_what_python_cannot_read_is_shown_as_it_is(table: Table, visit: Any) -> None:
    number = "7" * 5_000
    job = await table.add(args=f"""'{{"n": {number}}}'""", scheduled_at="'20000-01-01'", meta="'[1]'")
    assert number in await visit().get(f"/jobs/{job}")
    assert "A.D." in await visit().get(f"/jobs/{job}")
    assert "17,0" not in await visit().get("/jobs")
    escaped = await table.add(args=r"""'{"n": "\\u0000"}'""")
    assert r"\\u0000" in await visit().get(f"/jobs/{escaped}")


@pytest.mark.parametrize(("path", "status"), [("/jobs/1", 404), ("/nowhere", 404), ("/jobs/99999999999999999999", 404),
    ("/jobs?state=odd", 400), ("/jobs?after=odd", 400), ("/jobs?q=odd:1", 400), ("/jobs?q=%00", 400),
    ("/jobs?state=completed&after=WyJ4IiwgIjEiXQ==", 400), ("/workflows/1", 404),
    ("/workflows/99999999999999999999", 404), ("/workflows?before=odd", 400),
    ("/jobs/1/edit", 403), ("/crons/new", 403)])  # fmt: skip
async def test_what_is_wrong_with_an_address_is_said(path: str, status: int, engine: AsyncEngine, visit: Any) -> None:
    assert '<p class="code">' in await visit().get(path, status)


async def test_arguments_can_be_hidden_and_then_not_be_looked_for(table: Table, visit: Any) -> None:
    job = await table.add(args="""'{"user": 7, "token": "s3cret"}'""", meta="""'{"recorded_value": "s3cret"}'""")
    visitor = visit(authorize=everything, args=only("user"), meta=hidden)
    for path in ("/jobs", f"/jobs/{job}", f"/jobs/{job}/edit"):
        assert "s3cret" not in await visitor.get(path)
    assert "[redacted]" in await visitor.get(f"/jobs/{job}")
    assert "7" in await visitor.get("/jobs")
    for search in ("args.token:s3cret", "meta.recorded_value:s3cret"):
        assert "hidden" in await visitor.get(f"/jobs?q={search}", 400)
        assert "hidden" in await visitor.post("/jobs/delete", 400, all="1", q=search)
    await visitor.post(f"/jobs/{job}/edit", args='{"token": "known"}', meta="{}")
    assert (await table.job(job)).args == {"user": 7, "token": "s3cret"}


async def test_hidden_arguments_that_cannot_be_read_stay_hidden(table: Table, visit: Any) -> None:
    job = await table.add(args=f"""'{{"s3cret": {"7" * 5_000}}}'""", meta="'\"s3cret\"'")
    html = await visit(args=hidden, meta=hidden).get(f"/jobs/{job}")
    assert "s3cret" not in html
    assert "777" not in html


async def test_a_list_leads_through_its_pages(table: Table, visit: Any) -> None:
    for _ in range(65):
        await table.add()
    visitor, path, pages = visit(), "/jobs?state=available", 0
    while path:
        html = await visitor.get(path)
        pages += 1
        assert html.count("data-row") in (30, 5)
        path = html.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&") if 'rel="next"' in html else ""
    assert pages == 3


async def test_a_failure_leads_from_the_overview_to_its_traceback(table: Table, visit: Any) -> None:
    job = await table.add(worker="'shop.charge'", state="'retryable'", attempt="1", errors=TRACE, attempted_at=ago(5))
    overview = await visit().get("/")
    assert f'href="/jobs/{job}"' in overview
    assert "ConnectionError: the bank does not answer" in overview
    assert "bank.py, line 7" in await visit().get(f"/jobs/{job}")


@both_drivers
async def test_what_a_worker_raised_stands_wherever_its_job_is_listed(
    engine: AsyncEngine, start: Any, events: Recorder, visit: Any
) -> None:
    await start(queues={"default": 2})
    (job,) = await enqueue(engine, fail.with_options(max_attempts=1).new("the bank\ndoes not answer"))
    await events.wait_for(JobFailed, id=job)
    visitor = visit()

    async def listed() -> bool:
        return "data-row" in await visitor.get("/jobs?state=discarded")

    await eventually(listed, "the job to be told of")
    for path in ("/", "/jobs?state=discarded", f"/jobs/{job}"):
        html = await visitor.get(path)
        assert re.findall('(?:errorline"|<summary><b)>(.*?)<', html) == ["ValueError: the bank"]


@pytest.mark.parametrize("host", [FastAPI(), Starlette()], ids=["fastapi", "starlette"])
async def test_it_works_under_a_prefix(host: Any, engine: AsyncEngine, table: Table, visit: Any) -> None:
    job = await table.add(state="'discarded'", discarded_at=PAST)
    inner = Starlette(routes=[Mount("/inner", dashboard(SqlaOban(engine), authorize=everything))])
    host.mount("/outer", inner)
    visitor = visit(host, "/outer/inner")
    html = await visitor.get("/jobs?state=discarded")
    for start in ('href="', 'src="', 'action="', 'data-stream="'):
        paths = [part.split('"')[0] for part in html.split(start)[1:]]
        assert all(path.startswith(("/outer/inner/", "#")) for path in paths), paths
    assert (await visitor.http.get("/outer/inner/static/dashboard.css")).status_code == 200
    assert "1 job was made available" in await visitor.post("/jobs/retry", id=job, back="/outer/inner/jobs")
    assert {cookie.path for cookie in visitor.http.cookies.jar} == {"/outer/inner"}


async def test_a_question_that_takes_too_long_is_told_so(table: Table, engine: AsyncEngine, visit: Any) -> None:
    async with engine.connect() as other, other.begin():
        await other.exec_driver_sql("LOCK oban_jobs IN ACCESS EXCLUSIVE MODE")
        assert "longer than 0.2 seconds" in await visit(timeout=0.2).get("/jobs", 503)


async def test_that_the_tables_are_missing_is_said_with_what_to_do(engine: AsyncEngine, visit: Any) -> None:
    visitor = visit(dashboard(SqlaOban(engine, schema="nowhere"), timeout=20))
    for path in ("/", "/jobs", "/jobs/1", "/workflows", "/queues", "/crons", "/nodes"):
        html = await visitor.get(path, 503)
        assert "no sqla_oban tables" in html
        assert "sqla-oban migrate" in html


async def test_a_job_that_failed_twice_is_one_that_failed(table: Table, visit: Any) -> None:
    twice = TRACE.replace("}]", '}, {"at": "2026-01-01T10:01:00.000000Z", "attempt": 2, "error": "TypeError: no"}]')
    job = await table.add(worker="'shop.charge'", state="'retryable'", attempt="2", errors=twice, attempted_at=ago(5))
    overview = " ".join((await visit().get("/")).split())
    assert re.search(r"<span>Failed jobs</span><strong[^>]*>1<", overview)
    assert "none that ended, among the newest jobs" in await visit().get(f"/jobs/{job}")


async def test_health_tells_the_worst_first_with_what_to_do_about_it(stored: dict[str, int], visit: Any) -> None:
    html = await visit().get("/health")
    deaf, nobody = html.index("hears no notifications, and polls"), html.index(">ok</span>")
    assert html.index("behind a pooler give it listen_url") < nobody
    assert deaf < nobody


async def test_one_diagnosis_is_for_all_who_look(
    engine: AsyncEngine, visit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SqlaOban] = []

    async def diagnosed(oban: SqlaOban) -> list[Finding]:
        asked.append(oban)
        return [Finding("nodes", Verdict.NOTE, "they differ")]

    monkeypatch.setattr(health, "diagnosed", diagnosed)
    app = dashboard(SqlaOban(engine))
    for _ in range(3):
        assert "they differ" in await visit(app).get("/health")
    assert len(asked) == 1


async def test_a_workflow_is_drawn_with_each_job_behind_what_it_waits_for(
    stored: dict[str, int], engine: AsyncEngine, visit: Any
) -> None:
    workflow = Workflow(name="import")
    for name, deps in {"extract": [], "left": ["extract"], HOSTILE: ["extract"], "report": ["left", HOSTILE]}.items():
        workflow.add(name, noop.new(), deps=deps)
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add(workflow)
    html = await visit().get(f"/workflows/{workflow.id}")
    assert "<script>alert" not in html
    assert "style=" not in html
    columns = [html.split(f'href="/jobs/{one.id}"')[1].split(' x="')[1].split('"')[0] for one in workflow.jobs.values()]
    assert columns == ["0", "260", "260", "520"]
    assert html.count("M190 ") + html.count("M450 ") == 4
    assert "3 suspended" in await visit().get("/workflows")


async def test_a_list_of_workflows_leads_through_its_pages(engine: AsyncEngine, visit: Any) -> None:
    async with AsyncSession(engine) as session, session.begin():
        for _ in range(65):
            workflow = Workflow(name="import")
            workflow.add("one", noop.new())
            session.add(workflow)
    visitor, path, seen = visit(), "/workflows", []
    while path:
        html = await visitor.get(path)
        seen.append(html.count("data-row"))
        path = html.split('rel="next" href="')[1].split('"')[0] if 'rel="next"' in html else ""
    assert seen == [30, 30, 5]


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ({"version": "9.1", "hearing": True}, ["9.1", ">notifications<"]),
        ({"hearing": False}, ["it polls"]),
        ({"clock": 0}, ["behind PostgreSQL"]),
        ({"clock": 1e12}, ["ahead of PostgreSQL"]),
        ({"clock": "soon", "version": HOSTILE}, [">notifications<"]),
    ],
)
async def test_a_node_is_shown_with_what_it_tells_of_itself(
    told: dict[str, Any], seen: list[str], table: Table, visit: Any
) -> None:
    meta = json.dumps({"ttl": 60, **told}).replace("'", "''")
    await table.add_producer(beaten=ago(1), meta=meta)
    html = await visit().get("/nodes")
    assert all(one in html for one in seen)
    assert "<script>alert" not in html
    assert ("PostgreSQL" in html) == isinstance(told.get("clock"), int | float)


async def test_a_node_that_runs_tells_its_version_and_that_its_clock_is_right(start: Any, visit: Any) -> None:
    await start(queues={"mail": 3}, node="web-1")

    async def is_right() -> bool:
        """A beat that was on its way for long tells of a clock that is late."""
        html = await visit().get("/nodes")
        assert f">{VERSION}<" in html
        return "as PostgreSQL" in html

    await eventually(is_right, "a beat that was quick")
