"""What a transaction has to settle before it commits."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Table, Text, Uuid, true
from sqlalchemy.sql.elements import conv

from sqla_oban.models.base import metadata

NOTES = Table(
    "oban_notes",
    metadata,
    Column("xid", BigInteger, nullable=False),
    Column("job_id", BigInteger, nullable=False),
    Column("workflow_id", BigInteger),
    Column("chain_key", Text),
    Column("batch_id", Uuid),
    Column("became", Text),
    Column("deleted_as", Text),
    Column("rings", Boolean, nullable=False, server_default=true()),
    Index(conv("oban_notes_xid_index"), "xid"),
    prefixes=["UNLOGGED"],
    info={"sqla_oban": 1},
)
"""Each transaction sees its own; see `migrations/notes.py`."""
