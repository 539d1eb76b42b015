"""Find the indexes of `oban_jobs` that are worth a rebuild, and those that a rebuild has left behind."""

from typing import Final, NamedTuple

from sqlalchemy import BigInteger, Float, Text, bindparam, text

from sqla_oban.identifiers import quoted

MARK: Final = "sqla_oban rebuilt it at "
"""What a rebuilt index carries as its comment: it survives restarts and leaders, needs no table, and everybody can
read it. A comment of somebody else's is left as it is."""
SPARSE: Final = 256
"""Bytes for an entry above which an index is worth a rebuild; a fresh one has 40 to 60."""


class Candidate(NamedTuple):
    """An index of `oban_jobs`; `mark` is the comment that it is to carry once it is rebuilt, if it may."""

    name: str
    mark: str | None


CANDIDATES = text(
    """
    SELECT c.relname AS name,
           CASE WHEN d.description IS NULL OR starts_with(d.description, :mark)
             THEN :mark || CAST(timezone('UTC', clock_timestamp()) AS text) END AS mark
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
      LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = CAST('pg_class' AS regclass) AND d.objsubid = 0
     WHERE i.indrelid = CAST(:jobs AS regclass) AND i.indisvalid
       AND pg_relation_size(c.oid) >= :min_size
       AND pg_relation_size(c.oid) > :sparse * greatest(c.reltuples, 0)
       AND NOT coalesce(
             CASE WHEN starts_with(d.description, :mark)
               THEN CAST(substr(d.description, length(:mark) + 1) AS timestamp)
                    > timezone('UTC', clock_timestamp()) - :interval * interval '1 second' END, false)
     ORDER BY pg_relation_size(c.oid) DESC
    """
).bindparams(
    bindparam("jobs", type_=Text),
    bindparam("min_size", type_=BigInteger),
    bindparam("interval", type_=Float(53)),
    bindparam("mark", MARK, type_=Text),
    bindparam("sparse", SPARSE, type_=Float(53)),
)
"""Large indexes with little in them that were not rebuilt lately, the largest first."""

LEFTOVERS = text(
    r"""
    SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = CAST(:jobs AS regclass) AND NOT i.indisvalid AND c.relname ~ '_cc(new|old)\d*$'
    """
).bindparams(bindparam("jobs", type_=Text))
"""What a rebuild that was interrupted has left behind: it costs every write, and serves nobody."""


def rebuild(home: str, index: str) -> str:
    """Beside the running queue: reads and writes go on meanwhile."""
    return f"REINDEX INDEX CONCURRENTLY {quoted(home)}.{quoted(index)}"


def drop(home: str, index: str) -> str:
    """Likewise."""
    return f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(home)}.{quoted(index)}"


def comment(home: str, index: str, mark: str) -> str:
    """Has `index` carry `mark`."""
    return f"COMMENT ON INDEX {quoted(home)}.{quoted(index)} IS '{mark}'"
