"""Workers whose effects are in the database, and who can die at a chosen step of their first attempt."""

import os
import signal

from sqlalchemy import BigInteger, Identity, Text, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_oban import Cancel, Job, Record, Snooze, current_job, inject, job, worker
from tests.shop import GATES

STEPS = ["before_work", "before_commit", "after_commit"]


class Base(DeclarativeBase):
    pass


class Payment(Base):
    __tablename__ = "payments"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    note: Mapped[str] = mapped_column(Text)


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def prepare(session: Session, step: str) -> None:
    """Let the process die at `step`, if this is the first attempt."""
    if current_job().attempt == 1 and step == "before_work":
        die()
    elif current_job().attempt == 1 and step:
        event.listen(session, step, die)


@job(name="payments.pay", transactional=True, backoff=lambda _: 0.01)
async def pay(note: str, step: str = "", session: AsyncSession = inject()) -> object:
    prepare(session.sync_session, step)
    session.add(Payment(note=note))
    outcomes = {"snooze": Snooze(60), "cancel": Cancel("no"), "record": Record(7)}
    if note == "fail":
        await session.flush()
        raise ValueError(note)
    return outcomes.get(note)


@job(name="payments.pay_by_hand", backoff=lambda _: 0.01)
async def pay_by_hand(note: str, step: str = "", session: AsyncSession = inject()) -> None:
    prepare(session.sync_session, step)
    session.add(Payment(note=note))
    await current_job().complete(session)
    await session.commit()


@job(name="payments.pay_in_a_thread", transactional=True)
def pay_in_a_thread(note: str, session: Session = inject()) -> None:
    session.add(Payment(note=note))


@worker(name="payments.Pay", transactional=True, backoff=lambda _: 0.01)
class Pay:
    async def process(self, job: Job, session: AsyncSession = inject()) -> None:
        session.add(Payment(note=job.args["note"]))
        await session.flush()
        if job.args["note"] == "fail":
            raise ValueError(job.args["note"])


@worker(name="payments.PayInAThread", transactional=True)
class PayInAThread:
    def process(self, job: Job, session: Session = inject()) -> None:
        session.add(Payment(note=job.args["note"]))


@job(name="payments.pay_at_gate", transactional=True, backoff=lambda _: 60)
async def pay_at_gate(name: str, session: AsyncSession = inject()) -> None:
    session.add(Payment(note=name))
    await GATES[name].wait()


@job(name="payments.change_mind")
async def change_mind(session: AsyncSession = inject()) -> Cancel:
    await current_job().complete(session)
    await session.rollback()
    return Cancel("after all")
