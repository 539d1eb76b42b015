"""Names of PostgreSQL's objects inside SQL."""


def quoted(name: str) -> str:
    """`name` as a quoted identifier.

    Done here, because a dialect doubles the percent signs for its driver besides, and `text()` does so once more.

    >>> print(quoted('my "jobs" here'))
    "my ""jobs"" here"
    """
    return '"' + name.replace('"', '""') + '"'
