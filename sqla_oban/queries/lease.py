"""The leader's lease on `oban_peers`: taken, renewed, given back."""

from sqlalchemy import DateTime, Executable, Float, Text, and_, bindparam, case, cast, delete, extract, or_, select
from sqlalchemy.dialects.postgresql import insert

from sqla_oban.queries.expressions import PEERS, now, seconds

NAME = bindparam("name", type_=Text)
NODE = bindparam("node", type_=Text)
TERM = cast(bindparam("term", type_=Text), DateTime)
TTL = seconds(bindparam("ttl", type_=Float(53)))


def elect() -> Executable:
    """Takes the lease `name` for `node` or renews its `term`; returns the term, or no row while another holds it.

    ON CONFLICT locks the row, so candidates take turns, and each compares the expiry with the clock at its turn.
    A node that asks without a term, or with an old one, is a stranger even to a lease in its own name: two processes
    that were given the same name by mistake do not both lead.
    """
    taken = insert(PEERS).values(name=NAME, node=NODE, started_at=now(), expires_at=now() + TTL)
    ours = and_(PEERS.c.node == NODE, PEERS.c.started_at == TERM)
    return taken.on_conflict_do_update(
        index_elements=[PEERS.c.name],
        set_={
            "node": taken.excluded.node,
            "started_at": case((ours, PEERS.c.started_at), else_=taken.excluded.started_at),
            "expires_at": now() + TTL,
        },
        where=or_(ours, PEERS.c.expires_at <= now()),
    ).returning(cast(PEERS.c.started_at, Text))


def remaining() -> Executable:
    """Seconds until the lease `name` runs out; no row when nobody holds it."""
    left = cast(extract("epoch", PEERS.c.expires_at - now()), Float(53))
    return select(left).where(PEERS.c.name == NAME)


def resign() -> Executable:
    """Gives the lease `name` back, if it is still this `node`'s `term`."""
    return delete(PEERS).where(PEERS.c.name == NAME, PEERS.c.node == NODE, PEERS.c.started_at == TERM)


ELECT, REMAINING, RESIGN = elect(), remaining(), resign()
