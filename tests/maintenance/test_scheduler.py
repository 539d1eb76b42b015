"""The crontab at work: one job for an entry and tick, whoever leads, whatever the clocks say, whatever is wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from sqla_oban import CronJob, Job, Schedule, SqlaOban, job, worker
from sqla_oban.engine.database import Link
from sqla_oban.engine.loading import moment
from sqla_oban.errors import ConfigurationError, DeclarationError, InvalidEntity, InvalidJob, InvalidSchedule
from sqla_oban.maintenance.scheduler import Scheduler
from sqla_oban.queries.cron import CLOCK, READ, TICK
from sqla_oban.settings import SchedulerSettings
from sqla_oban.telemetry.events import CronFailed, CronTicked, LeadershipGained
from sqla_oban.workers import REGISTRY
from sqla_oban.workers.crontab import declared
from tests.shop import Order
from tests.support import Recorder, both_drivers, enqueue, eventually, jobs

QUICK = SchedulerSettings(interval=0.1)
MINUTE = "interval '1 minute'"


@job(name="scheduler.report", queue="reports", priority=3, tags=["cron"], meta={"kept": 1})
async def report(kind: str = "short") -> None: ...


@job(name="scheduler.weigh")
async def weigh(order: Order) -> None: ...


class Lead:
    """A leader's word, as the test gives it."""

    is_leader = True


class Crontab:
    """The table's entries, and schedulers that deal with them turn by turn.

    Once `minute` was asked, the clock that they read of PostgreSQL stands still, or another minute could begin.
    """

    def __init__(self, engine: AsyncEngine, link: Callable[[], Link]) -> None:
        self.engine = engine
        self._link = link
        self._now: str | None = None

    def scheduler(self, *entries: CronJob, settings: SchedulerSettings = QUICK) -> Scheduler:
        leader: Any = Lead()
        named = {entry.name: entry for entry in entries}
        link = self._link()
        execute = link.execute

        async def at_that_time(statement: Any, parameters: Any = None) -> Any:
            rows = await execute(statement, parameters)
            return [(*row[:-1], self._now) for row in rows] if statement is READ and self._now is not None else rows

        link.execute = at_that_time  # type: ignore[method-assign]
        scheduler = Scheduler(link, leader, named, node="here", settings=settings)
        scheduler._task = asyncio.get_running_loop().create_future()  # type: ignore[assignment]  # as if it was started
        return scheduler

    async def add(self, name: str, expression: str = "* * * * *", *, last: str = "0 minutes", **columns: str) -> None:
        """An entry as anybody may write it, which came as far as `last` before the present minute."""
        given = {
            "worker": "'scheduler.report'",
            "last_tick": f"date_trunc('minute', timestamp '{self._now}') - interval '{last}'",
            **columns,
        }
        names, values = ", ".join(given), ", ".join(given.values())
        await self.run(
            f"INSERT INTO oban_crons (name, expression, {names}) VALUES ('{name}', '{expression}', {values})"
        )

    async def rewind(self) -> None:
        """Have all entries have come as far as the minute before the present one."""
        await self.run(f"UPDATE oban_crons SET last_tick = date_trunc('minute', timestamp '{self._now}') - {MINUTE}")

    async def run(self, sql: str) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(text(sql.replace(":", r"\:")))

    async def minute(self) -> datetime:
        """The present minute by PostgreSQL's clock."""
        async with self.engine.connect() as connection:
            self._now = str(await connection.scalar(CLOCK))
        return moment(self._now).replace(second=0, microsecond=0)

    async def made(self, name: str) -> list[str]:
        """The ticks for which the entry has made jobs."""
        metas: list[Any] = [one.meta for one in await jobs(self.engine)]
        metas = [meta for meta in metas if isinstance(meta, dict)]  # a bad entry's need not be one
        return [meta["cron_at"] for meta in metas if meta.get("cron_name") == name]


@pytest.fixture
async def crontab(engine: AsyncEngine) -> AsyncIterator[Crontab]:
    links: list[Link] = []

    def link() -> Link:
        links.append(Link(engine, purpose="test", schema=None, timeout=10))
        return links[-1]

    yield Crontab(engine, link)
    for one in links:
        await one.close()


def iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@both_drivers
async def test_a_due_entry_makes_its_job_once(crontab: Crontab, events: Recorder) -> None:
    minute = await crontab.minute()
    await crontab.add(
        "entry", last="1 minute", args="""'{"kind": "long"}'""", queue="'q'", priority="2", meta="""'{"m": 1}'"""
    )
    scheduler = crontab.scheduler()
    for _ in range(3):
        delay = await scheduler.tick()
        assert delay is not None
        assert 0 < delay <= QUICK.interval
    (made,) = await jobs(crontab.engine)
    assert (made.worker, made.args, made.queue, made.priority) == ("scheduler.report", {"kind": "long"}, "q", 2)
    assert (made.max_attempts, made.tags, made.state.value) == (20, [], "available")
    told = {"cron": True, "cron_at": iso(minute), "cron_expr": "* * * * *", "cron_name": "entry", "cron_tz": "UTC"}
    assert made.meta == {"m": 1, **told}
    (event,) = events.of(CronTicked)
    assert (event.name, event.worker, event.ticks, event.ids) == ("entry", "scheduler.report", (minute,), (made.id,))


@both_drivers
async def test_a_unique_job_that_is_there_already_is_not_made_again(crontab: Crontab, events: Recorder) -> None:
    await crontab.minute()
    scheduler = crontab.scheduler(CronJob("* * * * *", report.with_options(unique=True).new(), name="entry"))
    await scheduler.tick()
    for _ in range(3):
        await crontab.rewind()
        await scheduler.tick()
    (made,) = await jobs(crontab.engine)
    assert [event.ids for event in events.of(CronTicked)] == [(made.id,), (), ()], "each tick is dealt with"
    async with AsyncSession(crontab.engine) as session:
        session.add(by_hand := report.with_options(unique=True).new())
        await session.flush()
        assert (by_hand.conflict, by_hand.id) == (True, made.id)


async def test_a_job_of_an_entry_weighs_what_it_would_elsewhere_and_takes_a_row(crontab: Crontab) -> None:
    await crontab.minute()
    entry = CronJob("* * * * *", weigh.with_options(weight=5).new(Order(id=7)))
    await crontab.scheduler(entry).tick()
    await crontab.rewind()
    await crontab.scheduler(entry).tick()
    (made,) = await jobs(crontab.engine)
    assert made.weight == 5
    assert made.args == {"order": {"$entity": "Order", "pk": [7]}}
    with pytest.raises(InvalidEntity, match="has no primary key yet"):
        CronJob("* * * * *", weigh.new(Order(item="book")))


@both_drivers
async def test_an_entry_without_anything_but_a_worker_makes_a_job_like_any_other(crontab: Crontab) -> None:
    minute = await crontab.minute()
    plain = CronJob("* * * * *", Job(worker="scheduler.plain"), name="plain")
    await crontab.scheduler(plain).tick()
    await crontab.rewind()
    await crontab.scheduler(plain).tick()
    assert (await crontab.made("plain"))[:1] == [iso(minute)]
    (made,) = await jobs(crontab.engine)
    assert (made.args, made.queue, made.priority, made.max_attempts, made.tags) == ({}, "default", 0, 20, [])
    assert set(made.meta) == {"cron", "cron_at", "cron_expr", "cron_name", "cron_tz"}


@both_drivers
async def test_two_leaders_never_make_two_jobs_of_a_tick(crontab: Crontab) -> None:
    minute = await crontab.minute()
    names = [f"entry {number}" for number in range(10)]
    for name in names:
        await crontab.add(name, last="5 minutes", missed="'all'")
    leaders = [crontab.scheduler() for _ in range(4)]
    await asyncio.gather(*(leader.tick() for leader in leaders for _ in range(2)))
    for name in names:
        assert await crontab.made(name) == [iso(minute - timedelta(minutes=back)) for back in (4, 3, 2, 1, 0)]


async def test_a_turn_that_saw_the_entry_before_another_took_it_changes_nothing(crontab: Crontab) -> None:
    await crontab.minute()
    await crontab.add("entry", last="1 minute")
    first, second = crontab.scheduler(), crontab.scheduler()
    execute, met = second._link.execute, asyncio.Event()

    async def meet(statement: Any, parameters: Any = None) -> Any:
        rows = await execute(statement, parameters)
        if statement is READ:
            await first.tick()
            met.set()
        return rows

    second._link.execute = meet  # type: ignore[method-assign]
    await second.tick()
    assert met.is_set()
    assert len(await crontab.made("entry")) == 1


@pytest.mark.parametrize("took_effect", [True, False])
async def test_a_leader_that_fails_in_the_middle_neither_loses_a_tick_nor_doubles_it(
    crontab: Crontab, took_effect: bool
) -> None:
    await crontab.minute()
    await crontab.add("entry", last="1 minute")
    failing = crontab.scheduler()
    execute = failing._link.execute

    async def fail(statement: Any, parameters: Any = None) -> Any:
        if statement is TICK:
            if took_effect:
                await execute(statement, parameters)
            raise ConnectionError("the server closed the connection")
        return await execute(statement, parameters)

    failing._link.execute = fail  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await failing.tick()
    await crontab.scheduler().tick()
    assert len(await crontab.made("entry")) == 1


@pytest.mark.parametrize(
    ("missed", "back"),
    [("skip", [1, 0]), ("latest", [1, 0]), ("all", [7, 6, 5, 4, 3, 2, 1, 0])],
)
async def test_missed_ticks_are_made_up_for_as_the_entry_says(crontab: Crontab, missed: str, back: list[int]) -> None:
    minute = await crontab.minute()
    await crontab.add("entry", last="8 minutes", missed=f"'{missed}'")
    settings = SchedulerSettings(tolerance=119.999_999)  # the last tick but one, whichever second it is
    await crontab.scheduler(settings=settings).tick()
    assert await crontab.made("entry") == [iso(minute - timedelta(minutes=one)) for one in back]


@pytest.mark.parametrize(("missed", "days"), [("skip", []), ("latest", [0]), ("all", [2, 1, 0])])
async def test_a_downtime_of_days_is_made_up_for_as_the_entry_says(
    crontab: Crontab, missed: str, days: list[int]
) -> None:
    noon = f"{(await crontab.minute() - timedelta(hours=2)):%H}"
    await crontab.add("entry", f"0 {noon} * * *", last="71 hours", missed=f"'{missed}'")
    scheduler = crontab.scheduler()
    await scheduler.tick()
    await scheduler.tick()
    made = [datetime.fromisoformat(one) for one in await crontab.made("entry")]
    assert [(made[-1] - one).days for one in made] == days


async def test_no_more_missed_ticks_are_made_up_for_than_the_bound_allows(crontab: Crontab) -> None:
    minute = await crontab.minute()
    await crontab.add("entry", last="300 days", missed="'all'")
    await crontab.scheduler(settings=SchedulerSettings(most=4)).tick()
    assert await crontab.made("entry") == [iso(minute - timedelta(minutes=back)) for back in (3, 2, 1, 0)]


async def test_a_paused_entry_makes_no_jobs_and_one_that_somebody_pauses_meanwhile_neither(crontab: Crontab) -> None:
    await crontab.minute()
    await crontab.add("entry", last="1 minute", paused="true")
    scheduler = crontab.scheduler()
    await scheduler.tick()
    assert await crontab.made("entry") == []


async def test_declared_entries_are_written_down_and_keep_what_the_table_knows_of_them(crontab: Crontab) -> None:
    entry = CronJob(Schedule("0 0 1 1 *", timezone="Europe/Berlin", missed="skip"), report.new("long"), name="yearly")
    await crontab.scheduler(entry).tick()
    await crontab.run("UPDATE oban_crons SET paused = true, last_tick = '2026-01-02'")
    await crontab.scheduler(CronJob(entry.schedule, report.new("other"), name="yearly")).tick()
    row = await only_row(crontab.engine)
    assert (row.name, row.expression, row.timezone, row.missed) == ("yearly", "0 0 1 1 *", "Europe/Berlin", "skip")
    assert (row.worker, row.args, row.queue, row.priority) == ("scheduler.report", {"kind": "other"}, "reports", 3)
    assert (row.tags, row.meta, row.max_attempts) == (["cron"], {"kept": 1}, None)
    assert (row.declared, row.paused, str(row.last_tick)) == (True, True, "2026-01-02 00:00:00")


async def test_a_declared_entry_with_another_schedule_begins_now(crontab: Crontab) -> None:
    await crontab.scheduler(CronJob("0 0 1 1 *", report.new())).tick()
    await crontab.run("UPDATE oban_crons SET last_tick = '2026-01-02'")
    await crontab.scheduler(CronJob("0 0 1 * *", report.new())).tick()
    row = await only_row(crontab.engine)
    assert datetime.now(UTC).replace(tzinfo=None) - row.last_tick < timedelta(hours=1)
    assert await crontab.made("scheduler.report") == []


async def test_an_entry_that_another_process_declares_is_left_to_it(crontab: Crontab) -> None:
    await crontab.minute()
    await crontab.add("elsewhere", last="1 minute", declared="true")
    await crontab.scheduler().tick()
    assert await crontab.made("elsewhere") == []


async def test_a_declared_entry_that_somebody_deleted_is_written_down_again(crontab: Crontab) -> None:
    scheduler = crontab.scheduler(CronJob("* * * * *", report.new()))
    for _ in range(2):
        await scheduler.tick()
        await crontab.run("DELETE FROM oban_crons")
        await scheduler.tick()
    await scheduler.tick()
    assert (await only_row(crontab.engine)).name == "scheduler.report"


async def test_a_reboot_makes_a_job_for_each_leader_that_starts_and_none_for_a_failover(crontab: Crontab) -> None:
    entry = CronJob("@reboot", report.new())
    first, standby = crontab.scheduler(entry), crontab.scheduler(entry)
    standby_leads: Any = standby._leader
    standby_leads.is_leader = False
    await standby.tick()  # is up, and does not lead
    for _ in range(3):
        await first.tick()
    assert len(await crontab.made("scheduler.report")) == 1
    standby_leads.is_leader = True
    for _ in range(3):
        await standby.tick()
    assert len(await crontab.made("scheduler.report")) == 1
    await crontab.scheduler(entry).tick()
    assert len(await crontab.made("scheduler.report")) == 2


BAD_ENTRIES = {
    "a garbage expression": {"expression": "every now and then"},
    "a hostile expression": {"expression": ",".join(["*/1"] * 5_000) + " * * * *"},
    "an unknown zone": {"timezone": "'Middle/Earth'"},
    "an unknown policy": {"missed": "'perhaps'"},
    "a priority below zero": {"priority": "-1"},
    "an empty queue": {"queue": "''"},
    "a worker without a name": {"worker": "''"},
    "no attempts": {"max_attempts": "0"},
    "a last tick before all time": {"last_tick": "'-infinity'"},
    "a last tick beyond the calendar": {"last_tick": "'20000-01-01'"},
    "meta that is no object": {"meta": "'7'"},
    "args that are no object": {"args": "'[1]'"},
}


async def test_w10_one_bad_cron_entry_stops_all_cron(
    crontab: Crontab, events: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    minute = await crontab.minute()
    for name, columns in BAD_ENTRIES.items():
        await crontab.add(name, **{"last": "1 minute", **columns})
    await crontab.add("zzz a good one", last="1 minute")
    await crontab.add("an unknown worker", last="1 minute", worker="'nobody.knows'")
    scheduler = crontab.scheduler()
    for _ in range(3):
        await scheduler.tick()
    for good in ("zzz a good one", "an unknown worker"):
        assert await crontab.made(good) == [iso(minute)]
    failed = {event.name for event in events.of(CronFailed)}
    assert failed >= set(list(BAD_ENTRIES)[:8])
    assert len([one for one in caplog.records if "makes no jobs" in one.message]) == len(failed)  # once each


async def test_an_insert_that_a_trigger_refuses_is_tried_again_and_harms_no_other(
    crontab: Crontab, events: Recorder
) -> None:
    await crontab.minute()
    await crontab.run(
        "CREATE FUNCTION refuse_cron() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.queue = 'refused' THEN RAISE EXCEPTION 'not today'; END IF; RETURN NEW; END $$"
    )
    await crontab.run(
        "CREATE TRIGGER refuse_cron BEFORE INSERT ON oban_jobs FOR EACH ROW EXECUTE FUNCTION refuse_cron()"
    )
    await crontab.add("a refused one", last="1 minute", queue="'refused'")
    await crontab.add("another", last="1 minute")
    scheduler = crontab.scheduler()
    await scheduler.tick()
    await crontab.run("DROP TRIGGER refuse_cron ON oban_jobs")
    await crontab.run("DROP FUNCTION refuse_cron")
    assert len(await crontab.made("another")) == 1
    assert await crontab.made("a refused one") == []
    assert "not today" in events.of(CronFailed)[0].error
    await scheduler.tick()
    assert len(await crontab.made("a refused one")) == 1


@both_drivers
async def test_a_runner_ticks_prompted_by_the_next_tick_itself(
    engine: AsyncEngine, start: Any, events: Recorder, crontab: Crontab
) -> None:
    """The interval is an hour: the job comes by the entry's own time, and a change is seen by its signal."""
    oban = await start(queues={"reports": 5}, scheduler=SchedulerSettings(interval=3600))
    await events.wait_for(LeadershipGained)
    await oban.crons.create("entry", "* * * * *", report.new("long"))
    await crontab.run("UPDATE oban_crons SET last_tick = last_tick - interval '1 minute' WHERE name = 'entry'")
    await oban.crons.update("entry", missed="all")  # which signals
    await events.wait_for(CronTicked, name="entry")

    async def ran() -> bool:
        return [one.state.value for one in await jobs(engine)][:1] == ["completed"]

    await eventually(ran, "the job of the tick to run")


async def test_nodes_that_follow_each_other_make_one_job_of_each_tick(
    engine: AsyncEngine, start: Any, events: Recorder, crontab: Crontab
) -> None:
    minute = await crontab.minute()
    await crontab.add("entry", last="1 minute")
    quick = SchedulerSettings(interval=0.1, tolerance=3_600)  # that minute may be over when the first looks
    nodes = [await start(queues={"reports": 1}, node=str(number), scheduler=quick) for number in range(3)]
    await events.wait_for(CronTicked, name="entry")
    for node in nodes:
        await node.stop()
    made = await crontab.made("entry")
    assert made[0] == iso(minute)
    assert len(made) == len(set(made))


def test_workers_declare_entries_and_a_bad_one_is_refused_at_the_declaration() -> None:
    @job(name="scheduler.declared", cron="*/10 * * * *", queue="q")
    async def good(kind: str = "short") -> None: ...

    @worker(name="scheduler.Declared", cron=Schedule("@daily", timezone="Europe/Berlin"))
    class Good:
        async def process(self, job: Job) -> None: ...

    entries = declared((), REGISTRY.definitions())
    assert entries["scheduler.declared"].schedule == Schedule("*/10 * * * *")
    assert entries["scheduler.declared"].job.queue == "q"
    assert entries["scheduler.Declared"].schedule.timezone == "Europe/Berlin"
    for name in ("scheduler.declared", "scheduler.Declared"):
        del REGISTRY._definitions[name]
    with pytest.raises(InvalidSchedule, match="five fields"):
        job(name="scheduler.bad", cron="often")(report)
    with pytest.raises(DeclarationError, match="requires user_id; give them defaults"):

        @job(name="scheduler.demanding", cron="@daily")
        async def demanding(user_id: int) -> None: ...

    with pytest.raises(InvalidJob, match="a chain by 'kind', which is not among the job's args"):
        job(name="scheduler.chained", cron="@daily", chain="kind")(report)

    assert not {"scheduler.bad", "scheduler.demanding", "scheduler.chained"} & set(REGISTRY)


no_job: Any = report


@pytest.mark.parametrize(
    ("cron", "error", "message"),
    [
        (lambda: ["* * * * *"], ConfigurationError, "takes CronJobs"),
        (lambda: [CronJob("* * * * *", report.new())] * 2, ConfigurationError, "give one another name="),
        (lambda: [CronJob("* * * *", report.new())], InvalidSchedule, "five fields"),
        (lambda: [CronJob("* * * * *", no_job)], InvalidSchedule, "as made by a worker's new"),
        (
            lambda: [CronJob("* * * * *", report.with_options(schedule_in=5).new())],
            InvalidSchedule,
            "has a moment of its own",
        ),
    ],
)
async def test_a_wrong_entry_is_refused_by_the_runner(
    engine: AsyncEngine, cron: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        SqlaOban(engine, cron=cron())


async def test_a_stored_job_is_no_template(engine: AsyncEngine) -> None:
    stored = report.new()
    await enqueue(engine, stored)
    with pytest.raises(InvalidSchedule, match="takes a job of its own"):
        CronJob("* * * * *", stored)


async def only_row(engine: AsyncEngine) -> Any:
    async with engine.connect() as connection:
        return (await connection.execute(text("SELECT * FROM oban_crons"))).one()
