"""The crontab: whether each entry has a worker and a schedule that can be understood."""

from collections.abc import Collection, Iterable, Iterator

from sqlalchemy import Connection, text

from sqla_oban.doctor.finding import Finding, note, ok, problem
from sqla_oban.doctor.workers import IMPORT, escaped
from sqla_oban.errors import InvalidSchedule, ObanError
from sqla_oban.workers.crontab import CronJob
from sqla_oban.workers.crontab import declared as entries_of
from sqla_oban.workers.registry import REGISTRY
from sqla_oban.workers.schedule import Schedule

SUBJECT = "cron"

ENTRIES = """
    SELECT name, expression, timezone, missed, worker, declared FROM {home}.oban_crons WHERE NOT paused ORDER BY name
"""


def in_code(cron: Iterable[CronJob], declared: Collection[str]) -> Iterator[Finding]:
    """The entries that were given to the runner, and those of the declared workers."""
    try:
        entries = entries_of(cron, [REGISTRY.get(worker) for worker in declared])
    except ObanError as error:
        yield problem(SUBJECT, str(error))
        return
    lost = [entry for entry in entries.values() if entry.job.worker not in declared]
    for entry in lost:
        yield _without_worker(entry.name, entry.job.worker)
    if entries and not lost:
        yield ok(SUBJECT, f"entries in code: {', '.join(entries)}")


def in_table(
    connection: Connection, home: str, cron: Iterable[CronJob], declared: Collection[str]
) -> Iterator[Finding]:
    """The entries that were made at run time; of those that stand in code, whether they stand in this one."""
    here = {entry.name for entry in cron} | set(declared)
    for row in connection.execute(text(ENTRIES.format(home=escaped(home)))):
        if row.declared:
            if row.name not in here:
                yield note(SUBJECT, f"the entry {row.name} stands in other code, or in none any more: it rests here")
            continue
        if row.worker not in declared:
            yield _without_worker(row.name, row.worker)
        try:
            Schedule(row.expression, row.timezone, row.missed)
        except InvalidSchedule as error:
            yield problem(SUBJECT, f"the entry {row.name} makes no jobs: {error}", "oban.crons.update(), or delete it")


def _without_worker(entry: str, worker: str) -> Finding:
    return problem(SUBJECT, f"the entry {entry} is for the worker {worker}, which nothing imported declares", IMPORT)
