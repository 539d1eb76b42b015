"""Steering the crontab: create, update, pause, resume, delete, get."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypedDict, TypeVar, Unpack

from sqlalchemy import delete as deletion
from sqlalchemy import select
from sqlalchemy import update as change
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from sqla_oban.control.sessions import Sessions
from sqla_oban.errors import InvalidSchedule, UnknownCron, UnknownOption, shown
from sqla_oban.models import Cron, JobMixin
from sqla_oban.models.checks import checked_name
from sqla_oban.payload import is_storable
from sqla_oban.queries.cron import announce
from sqla_oban.queries.expressions import CRONS, now
from sqla_oban.workers.crontab import CronJob, checked_template, columns, template
from sqla_oban.workers.schedule import Missed, Schedule

T = TypeVar("T")


class CronFields(TypedDict, total=False):
    """What `update` may change."""

    expression: str
    timezone: str | None
    missed: Missed | str
    job: JobMixin


class Crons:
    """`oban.crons`: the entries of the crontab that are made at run time, and pausing those that stand in code.

    Every verb takes part in the transaction of `session` if one is given, and commits its own otherwise. The leader
    sees what has changed at once.

    >>> await oban.crons.create("nightly", "0 3 * * *", send_report.new(), timezone="Europe/Berlin")  # doctest: +SKIP
    """

    def __init__(self, sessions: Sessions, *, schema: str | None) -> None:
        self._sessions = sessions
        self._schema = schema

    async def create(
        self,
        name: str,
        expression: str,
        job: JobMixin,
        *,
        timezone: str | None = None,
        missed: Missed | str = Missed.LATEST,
        session: AsyncSession | None = None,
    ) -> Cron:
        """A new entry; its first tick is the next one from now on.

        Args:
            name: which entry this is, over all later changes; unique.
            expression, timezone, missed: when; see `Schedule`.
            job: what, as made by a worker's `new`; not to be added to a session.
            session: whose transaction to take part in.

        Raises:
            InvalidSchedule: the schedule or the job is wrong, or there is an entry of that name.
            InvalidJob: the name is.
        """
        entry = CronJob(Schedule(expression, timezone, missed), job, checked_name("the entry's name", name))
        return await self._run(lambda own: create(own, entry), session)

    async def update(self, name: str, *, session: AsyncSession | None = None, **fields: Unpack[CronFields]) -> Cron:
        """Change `expression`, `timezone`, `missed` or `job` of an entry; a new schedule begins now.

        Raises:
            UnknownCron: there is no such entry.
            UnknownOption: there is no such field.
            InvalidSchedule: a field is wrong, or the entry stands in code.
        """
        for field in fields:
            if field not in CronFields.__annotations__:
                raise UnknownOption(field, CronFields.__annotations__, "oban.crons.update()")
        return await self._run(lambda own: update(own, name, fields), session)

    async def pause(self, name: str, *, session: AsyncSession | None = None) -> Cron:
        """Let an entry make no jobs until it is resumed; also one that stands in code, over restarts.

        Raises:
            UnknownCron: there is no such entry.
        """
        return await self._run(partial(pause, name=name), session)

    async def resume(self, name: str, *, session: AsyncSession | None = None) -> Cron:
        """Let a paused entry make jobs from now on; what its ticks were meanwhile is not made up for.

        Raises:
            UnknownCron: there is no such entry.
        """
        return await self._run(partial(resume, name=name), session)

    async def delete(self, name: str, *, session: AsyncSession | None = None) -> None:
        """Remove an entry; jobs that it has made stay.

        Raises:
            UnknownCron: there is no such entry.
            InvalidSchedule: the entry stands in code.
        """
        await self._run(partial(delete, name=name), session)

    async def get(self, name: str, *, session: AsyncSession | None = None) -> Cron | None:
        """The entry called `name`, or None."""
        return await self._sessions.run(partial(get, name=name), session)

    async def all(self, *, session: AsyncSession | None = None) -> list[Cron]:
        """All entries by name; of those that stand in code, the ones that a leader has seen."""
        return await self._sessions.run(_all, session)

    async def _run(self, verb: Callable[[Session], T], session: AsyncSession | None) -> T:
        def announced(own: Session) -> T:
            result = verb(own)
            own.execute(announce(self._schema))
            return result

        return await self._sessions.run(announced, session)


def create(session: Session, entry: CronJob) -> Cron:
    """Write an entry down."""
    fresh = insert(CRONS).values(**entry.row(), last_tick=now()).on_conflict_do_nothing(index_elements=[CRONS.c.name])
    if session.scalar(fresh.returning(CRONS.c.name)) is None:
        raise InvalidSchedule(
            f"there is an entry {entry.name!r} of the crontab already; update it, or take another name"
        )
    return _changed(session, entry.name)


def update(session: Session, name: str, fields: Mapping[str, Any]) -> Cron:
    """Change fields of an entry; `fields` are those of `CronFields`."""
    entry = _free(_locked(session, name), "changed")
    given = {field: fields.get(field, getattr(entry, field)) for field in ("expression", "timezone", "missed")}
    values: dict[str, Any] = columns(Schedule(**given))
    if (values["expression"], values["timezone"]) != (entry.expression, entry.timezone):
        values["last_tick"] = now()  # what the new schedule would have said of the past is of no interest
    if "job" in fields:
        values |= template(checked_template(fields["job"]))
    return _write(session, name, values)


def pause(session: Session, name: str) -> Cron:
    """Let an entry make no jobs."""
    _locked(session, name)
    return _write(session, name, {"paused": True})


def resume(session: Session, name: str) -> Cron:
    """Let an entry make jobs from now on."""
    entry = _locked(session, name)
    return _write(session, name, {"paused": False, **({"last_tick": now()} if entry.paused else {})})


def delete(session: Session, name: str) -> None:
    """Remove an entry."""
    entry = _free(_locked(session, name), "deleted")
    session.execute(deletion(CRONS).where(CRONS.c.name == name))
    session.expunge(entry)


def get(session: Session, name: str) -> Cron | None:
    """The entry called `name`, or None."""
    return session.get(Cron, name, populate_existing=True) if is_storable(name) else None


def _all(session: Session) -> list[Cron]:
    return list(session.scalars(select(Cron).order_by(Cron.name), execution_options={"populate_existing": True}))


def _locked(session: Session, name: str) -> Cron:
    entry = session.get(Cron, name, populate_existing=True, with_for_update=True) if is_storable(name) else None
    if entry is None:
        raise UnknownCron(f"the crontab has no entry {shown(name)}")
    return entry


def _free(entry: Cron, what: str) -> Cron:
    if entry.declared:
        raise InvalidSchedule(
            f"the entry {entry.name!r} stands in code, at the worker {entry.worker} or in SqlaOban(cron=...), and is "
            f"to be {what} there; it can be paused here"
        )
    return entry


def _write(session: Session, name: str, values: Mapping[str, Any]) -> Cron:
    session.execute(change(CRONS).where(CRONS.c.name == name).values(**values, updated_at=now()))
    return _changed(session, name)


def _changed(session: Session, name: str) -> Cron:
    return session.get_one(Cron, name, populate_existing=True)
