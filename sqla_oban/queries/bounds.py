"""What PostgreSQL may do for a question that only looks: who reads for long keeps dead rows from being removed."""

from typing import Any, Final

from sqlalchemy import Select, func, select

PATIENCE: Final = 5.0
"""Seconds that a statement may take where nobody says otherwise."""


def hurry(timeout: float = PATIENCE) -> Select[Any]:
    """No statement of this transaction takes longer than so many seconds."""
    return _settings({"statement_timeout": str(max(1, round(timeout * 1_000)))})


def bounds(timeout: float = PATIENCE) -> Select[Any]:
    """The same, and this transaction writes nothing, and reads nothing but the beginnings of indexes.

    That is what every question is made for. The planner would rather read all of a table, or of an index, where it
    believes that to be as good.
    """
    return _settings(
        {
            "statement_timeout": str(max(1, round(timeout * 1_000))),
            "transaction_read_only": "on",
            "enable_seqscan": "off",
            "enable_bitmapscan": "off",
            "jit": "off",
            "max_parallel_workers_per_gather": "0",
        }
    )


def _settings(values: dict[str, str]) -> Select[Any]:
    return select(*(func.set_config(name, value, True) for name, value in values.items()))
