"""Lets the tables join the host's alembic history: import this in `env.py`.

`alembic revision --autogenerate` then writes `op.oban_upgrade(...)` where the database is behind this release, and
leaves our tables alone otherwise; `alembic check` fails where it is behind. Generated revisions import it themselves.

>>> import sqla_oban.alembic_env
>>> target_metadata = [sqla_oban.metadata, Base.metadata]  # in env.py, ours first  # doctest: +SKIP
"""

from sqla_oban.alembic_env import autogenerate, operations

__all__ = ["autogenerate", "operations"]
