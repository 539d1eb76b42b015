"""What is to follow a change of jobs follows it at the commit, whatever the transaction does until then."""

from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from sqla_oban import Batch, Job, Workflow
from tests.migrations.database import noted

END = text("UPDATE oban_jobs SET state = 'completed' WHERE id = ANY(:ids)")
ADVISORY = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"


def store(engine: Engine, *entities: Any) -> None:
    with Session(engine, expire_on_commit=False) as session, session.begin():
        session.add_all(entities)


def states(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        found = text("SELECT coalesce(tags[1], worker), CAST(state AS text) FROM oban_jobs")
        return {row[0]: row[1] for row in connection.execute(found)}


def one_of_each(engine: Engine) -> list[int]:
    """The ids of those of which something waits for the end, in a workflow, in a chain and in a batch."""
    workflow = Workflow(name="flow")
    first = workflow.add("first", Job(worker="first in the workflow"))
    workflow.add("next", Job(worker="next in the workflow"), deps=["first"])
    turn, waiting = (
        Job(worker="chained", tags=[tag], args={"n": 1}, chain="n") for tag in ("turn", "next in the chain")
    )
    member = Job(worker="of the batch")
    store(engine, workflow, Batch([member], completed=Job(worker="callback")))
    store(engine, turn, waiting)
    assert first.id is not None
    return [first.id, turn.id, member.id]


@pytest.mark.parametrize("before", ["", "SET CONSTRAINTS ALL IMMEDIATE"])
def test_all_follows_at_the_commit_and_nothing_before(sync_engine: Engine, before: str) -> None:
    """A note is made before its row is written: what it says is not to be looked at at once."""
    ids = one_of_each(sync_engine)
    with sync_engine.begin() as connection:
        if before:
            connection.execute(text(before))
        connection.execute(END, {"ids": ids})
        assert noted(connection) == 3
        assert connection.scalar(text(ADVISORY)) == 0, "nobody waits for a transaction that has not begun to commit"
    found = states(sync_engine)
    assert found["next in the workflow"] == found["next in the chain"] == found["callback"] == "available"
    with sync_engine.connect() as connection:
        assert noted(connection) == 0


def test_who_asks_for_it_in_the_middle_has_it_done_then_and_what_comes_later_as_well(sync_engine: Engine) -> None:
    first, turn, member = one_of_each(sync_engine)
    with sync_engine.begin() as connection:
        connection.execute(END, {"ids": [first]})
        connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        assert noted(connection) == 0
        connection.execute(END, {"ids": [turn, member]})
        assert noted(connection) == 2
    found = states(sync_engine)
    assert found["next in the workflow"] == found["next in the chain"] == found["callback"] == "available"


def test_the_same_news_of_a_batch_are_noted_once(sync_engine: Engine) -> None:
    members = [Job(worker="of the batch") for _ in range(10)]
    store(sync_engine, Batch(members, completed=Job(worker="callback"), retryable=Job(worker="failed")))
    with sync_engine.begin() as connection:
        connection.execute(text("UPDATE oban_jobs SET state = 'retryable' WHERE id = :id"), {"id": members[0].id})
        connection.execute(END, {"ids": [one.id for one in members]})
        assert noted(connection) == 2
    assert states(sync_engine) == {"of the batch": "completed", "callback": "available", "failed": "available"}


def test_what_does_not_fit_the_setting_is_settled_as_well(sync_engine: Engine) -> None:
    chains = [[Job(worker="chained", args={"n": n}, chain="n") for _ in range(2)] for n in range(100)]
    store(sync_engine, *(one for chain in chains for one in chain))
    with sync_engine.begin() as connection:
        connection.execute(END, {"ids": [turn.id for turn, _ in chains]})
        rows = connection.scalar(text("SELECT count(*) FROM oban_notes")) or 0
        assert noted(connection) == 100
        assert 1 < rows < 100
        assert connection.scalar(text("SELECT count(*) FROM oban_notes WHERE rings")) == 1
    with sync_engine.connect() as connection:
        left = text("SELECT count(*) FROM oban_jobs WHERE state = 'suspended'")
        assert (noted(connection), connection.scalar(left)) == (0, 0)


CANCELS_THE_OTHERS = """
    CREATE FUNCTION cancel_the_others() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      UPDATE oban_jobs SET state = 'cancelled' WHERE batch_id IS NOT NULL AND state = 'available';
      RETURN NULL;
    END
    $$;
    CREATE TRIGGER cancel_the_others AFTER INSERT ON oban_jobs FOR EACH ROW WHEN (NEW.worker = 'callback')
      EXECUTE FUNCTION cancel_the_others()
"""


def test_what_a_callback_brings_about_in_a_batch_is_news_again(sync_engine: Engine) -> None:
    members = [Job(worker="of the batch") for _ in range(2)]
    store(sync_engine, Batch(members, cancelled=Job(worker="callback"), exhausted=Job(worker="over")))
    with sync_engine.begin() as connection:
        connection.execute(text(CANCELS_THE_OTHERS))
    try:
        with sync_engine.begin() as connection:
            cancel = text("UPDATE oban_jobs SET state = 'cancelled' WHERE id = :id")
            connection.execute(cancel, {"id": members[0].id})
        assert states(sync_engine) == {"of the batch": "cancelled", "callback": "available", "over": "available"}
    finally:
        with sync_engine.begin() as connection:
            connection.execute(text("DROP FUNCTION cancel_the_others() CASCADE"))
