"""Whether somebody leads, and does what a leader has to do."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, text

from sqla_oban.doctor.ailment import Ailment
from sqla_oban.doctor.finding import Finding, note, ok, problem
from sqla_oban.doctor.thresholds import Thresholds
from sqla_oban.doctor.workers import escaped

SUBJECT = "leader"
LONGEST_LEASE = 3_600.0
"""Seconds after which a lease ends in any case; nobody sets such a `ttl`."""

LEASE = """
    SELECT p.node, extract(epoch FROM p.expires_at - timezone('UTC', clock_timestamp()))::float AS remaining,
      (SELECT extract(epoch FROM timezone('UTC', clock_timestamp()) - min(started_at))::float
       FROM {home}.oban_producers o WHERE o.name = :name AND o.meta ? 'ttl'
         AND o.updated_at > timezone('UTC', clock_timestamp()) - interval '5 minutes') AS alive
    FROM (VALUES (1)) AS one LEFT JOIN {home}.oban_peers p ON p.name = :name
"""
ORPHANS = """
    SELECT count(*) AS number, max(extract(epoch FROM timezone('UTC', clock_timestamp()) - attempted_at))::float
      AS seconds, min(id) AS id FROM (
      SELECT id, attempted_at FROM {home}.oban_jobs j WHERE state = 'executing'
        AND attempted_at < timezone('UTC', clock_timestamp()) - (CAST(:seconds AS float) + 60) * interval '1 second'
        AND NOT EXISTS (SELECT FROM {home}.oban_producers p WHERE CAST(p.uuid AS text) = j.attempted_by[2]
          AND p.updated_at > timezone('UTC', clock_timestamp()) - CAST(:seconds AS float) * interval '1 second')
      LIMIT 1000) orphans
"""
DUE = """
    SELECT count(*) AS number, max(extract(epoch FROM timezone('UTC', clock_timestamp()) - scheduled_at))::float
      AS seconds FROM (
      SELECT scheduled_at FROM {home}.oban_jobs WHERE state IN ('scheduled', 'retryable')
        AND scheduled_at < timezone('UTC', statement_timestamp()) - CAST(:seconds AS float) * interval '1 second'
      LIMIT 1000) due
"""


def leadership(connection: Connection, home: str, name: str, thresholds: Thresholds) -> Iterator[Finding]:
    """The lease of the runners called `name`, and what is left undone."""

    def ask(query: str) -> Row[Any]:
        asked = {"name": name, "seconds": thresholds.leaderless}
        statement = text(query.format(home=escaped(home)))
        return connection.execute(statement, {key: asked[key] for key in asked if f":{key}" in query}).one()

    found = [
        *_lease(ask(LEASE), name, thresholds),
        *_orphans(ask(ORPHANS)),
        *_due(ask(DUE)),
    ]
    yield from found


def _lease(row: Row[Any], name: str, thresholds: Thresholds) -> Iterator[Finding]:
    if row.node is not None and row.remaining > LONGEST_LEASE:
        yield problem(
            SUBJECT,
            f"the lease of {row.node} lasts for {row.remaining:,.0f} s more, and nobody else can lead until then",
            "delete its row in oban_peers: PostgreSQL's clock was wrong when it was granted",
            ailment=Ailment.STUCK_LEADER,
            node=row.node,
            seconds=row.remaining,
        )
    elif row.node is not None and row.remaining > 0:
        yield ok(SUBJECT, f"{row.node} leads")
    elif row.alive is None:
        yield note(SUBJECT, "nobody leads, since no node runs", ailment=Ailment.NO_LEADER, name=name)
    elif row.alive > thresholds.leaderless:
        yield problem(
            SUBJECT,
            f"nodes called {name} run, and none of them leads: nothing is rescued or pruned, and no cron job is made",
            "let one of them lead: it must not have leadership=False; and see its log",
            ailment=Ailment.NO_LEADER,
            name=name,
        )


def _orphans(row: Row[Any]) -> Iterator[Finding]:
    if row.number:
        yield problem(
            SUBJECT,
            f"{_many(row.number)} in the name of nodes that are gone, the oldest for {row.seconds or 0:,.0f} s, and "
            "nobody has rescued them",
            "a leader rescues them within a minute: see that one leads, and what its log says of the Lifeline",
            ailment=Ailment.NOT_RESCUED,
            jobs=row.number,
            first=row.id,
        )


def _due(row: Row[Any]) -> Iterator[Finding]:
    if row.number:
        yield problem(
            "stager",
            f"{row.number:,}{'+' * (row.number == 1_000)} jobs have been due for up to {row.seconds:,.0f} s, and "
            "nobody has made them available",
            "see that a node runs, and what its log says of the Stager; a trigger of yours may refuse them",
            ailment=Ailment.NOT_STAGED,
            jobs=row.number,
            seconds=row.seconds,
        )


def _many(number: int) -> str:
    return "1 job runs" if number == 1 else f"{number:,}{'+' * (number == 1_000)} jobs run"
