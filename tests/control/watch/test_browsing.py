"""Looking through jobs: which are found, page by page, and what is read for it."""

from dataclasses import replace
from typing import Any

import pytest

from sqla_oban import JobState
from sqla_oban.control.watch.browsing import Page, browse, encoded
from sqla_oban.control.watch.search import parsed
from sqla_oban.errors import InvalidSelection
from sqla_oban.queries import browse as queries
from sqla_oban.queries.browse import WINDOW, end_of_window, page
from sqla_oban.queries.filters import JobFilter, PathFilter
from tests.control.watch.filling import fill, read
from tests.queries.table import PAST, Table, ago

EVERYTHING = JobFilter()
STATES = [None, *JobState]


@pytest.fixture(params=["asyncpg"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def of(state: JobState | None, wanted: JobFilter = EVERYTHING) -> JobFilter:
    return wanted if state is None else replace(wanted, states=(state,))


def ids(found: Page) -> list[int]:
    return [job.id for job in found.jobs]


async def all_pages(ask: Any, state: JobState | None, wanted: JobFilter = EVERYTHING, size: int = 7) -> list[int]:
    wanted = of(state, wanted)
    found, cursor = [], None
    while True:
        one = await ask(browse, wanted, cursor=cursor, size=size)
        found += ids(one)
        if (cursor := one.following) is None:
            return found


@pytest.mark.parametrize("state", STATES)
async def test_the_pages_of_a_state_hold_each_of_its_jobs_once(state: JobState | None, table: Table, ask: Any) -> None:
    await fill(table, 20)
    found = await all_pages(ask, state)
    assert sorted(found) == sorted(one for one, its in (await table.states()).items() if state in (None, its))


@pytest.mark.parametrize(
    ("state", "expected"),
    [(JobState.COMPLETED, "newest first"), (JobState.EXECUTING, "oldest first"), (JobState.SCHEDULED, "next first")],
)
async def test_jobs_come_in_the_order_in_which_they_matter(
    state: JobState, expected: str, table: Table, ask: Any
) -> None:
    column = {"completed": "completed_at", "executing": "attempted_at", "scheduled": "scheduled_at"}[state]
    old, new = [await table.add(state=f"'{state}'", **{column: ago(age)}) for age in (60, 30)]
    assert await all_pages(ask, state) == ([new, old] if expected == "newest first" else [old, new])


async def test_what_waits_comes_as_it_will_be_claimed_queue_by_queue(table: Table, ask: Any) -> None:
    later = await table.add(queue="'b'", scheduled_at=ago(10))
    urgent = await table.add(queue="'b'", priority="-0", scheduled_at=ago(20))
    other = await table.add(queue="'a'", priority="3")
    assert await all_pages(ask, JobState.AVAILABLE, size=1) == [other, urgent, later]


async def test_moments_that_python_does_not_know_are_no_obstacle(table: Table, ask: Any) -> None:
    far = await table.add(state="'completed'", completed_at="'20000-01-01'")
    never = await table.add(state="'completed'", completed_at="'infinity'")
    near = await table.add(state="'completed'", completed_at=PAST)
    assert await all_pages(ask, JobState.COMPLETED, size=1) == [never, far, near]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("queue:a", "A"),
        ("queue:a,b", "AB"),
        ("queue:a worker:shop.two", ""),
        ("worker:shop.one,shop.two", "AB"),
        ("shop", "AB"),
        ("two", "B"),
        ("tag:late", "A"),
        ("tag:late,none", "A"),
        ("node:web-1", "B"),
        ("priority:3", "B"),
        ("args.user.id:7", "A"),
        ("args.user.id:8", "B"),
        ('args.name:"Ada L"', "A"),
        ("meta.trace:x", "B"),
        ("args.user.id:7 meta.trace:x", ""),
        ("", "AB"),
        ("'", None),
        ("nonsense:1", None),
        ("priority:high", None),
        ("id:99999999999999999999", None),
    ],
)
async def test_a_search_finds(search: str, found: str | None, table: Table, ask: Any) -> None:
    first = {"args": """'{"user": {"id": 7}, "name": "Ada L"}'""", "tags": "ARRAY['late']", "queue": "'a'"}
    second = {"args": """'{"user": {"id": "8"}}'""", "meta": """'{"trace": "x"}'""", "queue": "'b'"}
    names = {
        await table.add(worker="'shop.one'", **first): "A",
        await table.add(worker="'shop.two'", priority="3", attempted_by="ARRAY['web-1', 'x']", **second): "B",
    }
    if found is None:
        with pytest.raises(InvalidSelection):
            parsed(search)
    else:
        assert "".join(sorted(names[one] for one in await all_pages(ask, None, parsed(search)))) == found


async def test_a_number_by_itself_is_an_id_in_whatever_state(table: Table, ask: Any) -> None:
    await table.add()
    one = await table.add(state="'discarded'", discarded_at=PAST)
    assert await all_pages(ask, None, parsed(str(one))) == [one]
    assert await all_pages(ask, JobState.DISCARDED, parsed(f"id:{one},999")) == [one]
    assert await all_pages(ask, JobState.COMPLETED, parsed(str(one))) == []


async def test_hostile_rows_are_listed(table: Table, ask: Any) -> None:
    one = await table.add(args="'{\"n\": 1}'", errors="'{}'", meta="'7'", tags="ARRAY[]::text[]")
    big = await table.add(args="jsonb_build_object('blob', repeat(md5(random()::text), 40000))")
    found = {job.id: job for job in (await ask(browse, EVERYTHING)).jobs}
    assert found[one].error is None
    assert found[big].args is None


@pytest.mark.parametrize(
    "cursor",
    ["x", "", "W10=", encoded(["a", "b", "c"]), encoded(["\x00", "1"]), "é", "W" * 9_000, encoded([1, 2])],  # type: ignore[list-item]
)
async def test_a_cursor_of_somebody_elses_making_is_refused(cursor: str, ask: Any) -> None:
    with pytest.raises(InvalidSelection, match="leads nowhere"):
        await ask(browse, of(JobState.COMPLETED), cursor=cursor)


async def test_a_page_that_looked_at_as_much_as_it_may_says_where_to_go_on(
    table: Table, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "WINDOW", 10)
    rare = await table.add(worker="'rare'")
    await fill(table, 3)
    first = await ask(browse, JobFilter(workers=("rare",)))
    assert (first.jobs, first.cut) == ((), True)
    assert await all_pages(ask, None, JobFilter(workers=("rare",))) == [rare]


async def test_what_a_page_reads_does_not_grow_with_the_table(table: Table) -> None:
    """Neither one that is full at once, nor one that finds nothing; nor the look for where that one ended."""
    nothing = JobFilter(workers=("nobody",))
    await fill(table, 2_500)
    few = {state: await read(table, page(of(state), None, 31)) for state in STATES}
    vain = {state: await read(table, page(of(state, nothing), None, 31)) for state in STATES}
    await fill(table, 50_000)
    for state in STATES:
        assert await read(table, page(of(state), None, 31)) <= 2 * few[state] + 100, state
        bound = max(vain[state] * WINDOW / 2_500, WINDOW) * 2
        assert await read(table, page(of(state, nothing), None, 31)) <= bound, state
        assert await read(table, end_of_window(of(state, nothing), None)) <= bound, state


async def test_available_jobs_of_a_divided_queue_come_partition_by_partition(table: Table, ask: Any) -> None:
    b1, whole, a2, a1 = [
        await table.add(queue="'q'", partition=partition, priority=priority)
        for partition, priority in (("'b'", "0"), ("NULL", "3"), ("'a'", "2"), ("'a'", "1"))
    ]
    other = await table.add(queue="'r'")
    assert await all_pages(ask, JobState.AVAILABLE, size=1) == [whole, a1, a2, b1, other]
    assert await all_pages(ask, JobState.AVAILABLE, JobFilter(queues=("q",), words=("w",)), size=1) == [
        whole,
        a1,
        a2,
        b1,
    ]


async def test_several_states_are_the_newest_first(table: Table, ask: Any) -> None:
    made = [await table.add(state=f"'{state}'") for state in ("available", "retryable", "completed")]
    assert await all_pages(ask, None, JobFilter(states=(JobState.AVAILABLE, JobState.COMPLETED))) == [made[2], made[0]]


def test_what_postgresql_cannot_store_is_refused_when_the_filter_is_made() -> None:
    for wrong in (JobFilter, lambda **_: JobFilter(args=(PathFilter(("a",), "\x00"),))):
        with pytest.raises(InvalidSelection, match="PostgreSQL does not store"):
            wrong(queues=("a\x00",))
