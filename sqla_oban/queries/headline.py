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

LINE: Final = r"(?m)^(?:  \| )?((?!Traceback \(most recent)[^ \n].*)$"
"""Outside the frames; `  | ` stands before the line of a group. Python and PostgreSQL read it alike."""


def headline(text: str) -> str:
    """What was wrong, of an error's text.

    >>> headline("Traceback (most recent call last):\\n  File ...\\nValueError: no such order\\nnumber 7\\n")
    'ValueError: no such order'
    >>> headline("cancelled: on request")
    'cancelled: on request'
    """
    own = text.partition(SECOND)[0]
    found = None
    if own.startswith((PLAIN, GROUP)):
        for link in LINKS:
            own = own.rpartition(link)[2]
        found = re.search(LINE, own)
    return found[1] if found else own.partition("\n")[0]


def headline_of(text: ColumnElement[str], most: int) -> ColumnElement[str]:
    """The same as an expression: the first `most` characters of it, NULL where there is no text."""
    own = func.split_part(text, _quoted(SECOND), 1)
    last: ColumnElement[Any] = own
    for link in LINKS:
        last = func.split_part(last, _quoted(link), -1)
    first = func.split_part(own, _quoted("\n"), 1)
    traceback = or_(*(func.starts_with(own, _quoted(one)) for one in (PLAIN, GROUP)))
    found = func.coalesce(func.substring(last, _quoted(LINE)), first)
    return func.left(case((traceback, found), else_=first), literal_column(str(most)), type_=Text())


def _quoted(text: str) -> ColumnElement[str]:
    return constant(text.replace("'", "''"))
