"""The one line of an error that says what was wrong, wherever errors are listed or gathered.

Of a Python traceback it is the line of the exception that came last, which stands below its frames: the first line of
its message, not what follows that, as further lines, notes and the exceptions of a group do. Of anything else it is
the first line. It is told twice, to Python and to PostgreSQL, by one pattern and in the same steps, because a list
cannot read whole tracebacks of hundreds of jobs.
"""

import re
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, case, func, literal_column, or_

from sqla_oban.queries.expressions import constant

SECOND: Final = "\nThe worker's backoff failed too, the default is used:\n"
"""Between the traceback of a job and that of its backoff, which is not why the job failed."""

PLAIN: Final = "Traceback (most recent call last):\n"
GROUP: Final = f"  + Exception Group {PLAIN}"
LINKS: Final = (f":\n\n{PLAIN}", f":\n\n{GROUP}")
"""What stands between chained exceptions; within a group it is indented."""

MOST: Final = 200
"""Characters of it that are told."""

BEGINNING: Final = r"\n(?:  \| )?[^ \n]"
"""Of the line below the title and the frames; `  | ` stands before that of a group. Python and PostgreSQL
read it alike.

The rest of the line is cut out: to have a pattern find its end takes PostgreSQL a millisecond of one with 50,000.
"""


def headline(text: str) -> str:
    """What was wrong, of an error's text: up to `MOST` characters.

    >>> headline("Traceback (most recent call last):\\n  File ...\\nValueError: no such order\\nnumber 7\\n")
    'ValueError: no such order'
    >>> headline("cancelled: on request")
    'cancelled: on request'
    """
    own = line = text.partition(SECOND)[0]
    if own.startswith((PLAIN, GROUP)):
        for link in LINKS:
            own = own.rpartition(link)[2]
        if found := re.search(BEGINNING, own):
            line = own[found.end() - 1 :]
    return line.partition("\n")[0][:MOST]


def headline_of(text: ColumnElement[str]) -> ColumnElement[str]:
    """The same as an expression; NULL where there is no text."""
    own = func.split_part(text, _quoted(SECOND), 1)
    last: ColumnElement[Any] = own
    for link in LINKS:
        last = func.split_part(last, _quoted(link), -1)
    first = func.split_part(own, _quoted("\n"), 1)
    traceback = or_(*(func.starts_with(own, _quoted(one)) for one in (PLAIN, GROUP)))
    begins = func.substring(last, _quoted(BEGINNING))
    rest = func.left(func.split_part(last, begins, 2), MOST)
    line = func.split_part(func.right(begins, 1).concat(rest), _quoted("\n"), 1)
    told = case((traceback, func.coalesce(line, first)), else_=first)
    return func.left(told, literal_column(str(MOST)), type_=Text())


def _quoted(text: str) -> ColumnElement[str]:
    return constant(text.replace("'", "''"))
