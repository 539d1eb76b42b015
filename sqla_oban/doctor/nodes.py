"""The nodes, by what they tell with each beat: versions, clocks, and whether they hear."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, text

from sqla_oban.doctor.ailment import Ailment
from sqla_oban.doctor.finding import Finding, note, ok, problem
from sqla_oban.doctor.thresholds import Thresholds
from sqla_oban.doctor.workers import escaped

SUBJECT = "nodes"
NODES = """
    SELECT node, meta ? 'ttl' AS ours, max(meta ->> 'version') AS version,
      bool_and(coalesce(meta -> 'hearing' <> 'false', true)) AS hearing,
      max(extract(epoch FROM updated_at)::float - CASE WHEN jsonb_typeof(meta -> 'clock') = 'number'
        THEN least(greatest((meta ->> 'clock')::numeric, 0), 1e12)::float END) AS ahead,
      max(extract(epoch FROM timezone('UTC', clock_timestamp()) - updated_at)::float
        - CASE WHEN jsonb_typeof(meta -> 'ttl') = 'number'
          THEN least(greatest((meta ->> 'ttl')::numeric, 0), 1e9)::float ELSE 60 END) AS overdue
    FROM {home}.oban_producers WHERE name = :name GROUP BY node, meta ? 'ttl' ORDER BY node
"""


def nodes(connection: Connection, home: str, name: str, thresholds: Thresholds) -> Iterator[Finding]:
    """What is odd about the nodes of the runners called `name`."""
    rows = connection.execute(text(NODES.format(home=escaped(home))), {"name": name}).all()
    living = [row for row in rows if row.overdue <= 0]
    ours = [row for row in living if row.ours]
    found = [
        *_versions(ours),
        *_foreign(living),
        *(_deaf(row.node) for row in ours if not row.hearing),
        *(_clock(row) for row in ours if abs(row.ahead or 0.0) > thresholds.clock),
        *(_dead(row) for row in rows if row.overdue > thresholds.dead_node),
    ]
    if not found:
        count = len({row.node for row in living})
        yield ok(SUBJECT, f"{count} node{'s' * (count != 1)} called {name}; versions and clocks agree, and all hear")
    yield from found


def _versions(rows: Sequence[Row[Any]]) -> Iterator[Finding]:
    versions: dict[str, list[str]] = {}
    for row in rows:
        versions.setdefault(row.version or "unknown", []).append(row.node)
    if len(versions) > 1:
        told = "; ".join(f"{version}: {', '.join(names)}" for version, names in sorted(versions.items()))
        yield note(
            SUBJECT,
            f"nodes run different versions of sqla_oban: {told}",
            "deploy the same everywhere; while a deployment is under way this is as it should be",
            ailment=Ailment.VERSION_DRIFT,
            versions=told,
        )


def _foreign(rows: Sequence[Row[Any]]) -> Iterator[Finding]:
    if foreign := [row.node for row in rows if not row.ours]:
        what = f"nodes of another Oban library run here too, and every job of their queues rings: {', '.join(foreign)}"
        yield note(SUBJECT, what, ailment=Ailment.FOREIGN_NODES, nodes=", ".join(foreign))


def _deaf(node: str) -> Finding:
    return problem(
        SUBJECT,
        f"{node} hears no notifications, and polls",
        "see its log for the reason; behind a pooler give it listen_url",
        ailment=Ailment.DEAF_NODE,
        node=node,
    )


def _clock(row: Row[Any]) -> Finding:
    """Nothing of ours depends on it, but what workers and logs say of times does."""
    way = "behind" if row.ahead > 0 else "ahead of"
    return note(
        SUBJECT,
        f"the clock of {row.node} is {abs(row.ahead):,.1f} s {way} PostgreSQL's",
        "have both follow an NTP server; the queue itself goes by PostgreSQL's",
        ailment=Ailment.CLOCK_DIFFERENCE,
        node=row.node,
        seconds=-row.ahead,
    )


def _dead(row: Row[Any]) -> Finding:
    return problem(
        SUBJECT,
        f"{row.node} has died {row.overdue:,.0f} s ago, and nobody has cleared up after it",
        "a leader does so within a minute: see that one leads",
        ailment=Ailment.DEAD_NODE,
        node=row.node,
        seconds=row.overdue,
    )
