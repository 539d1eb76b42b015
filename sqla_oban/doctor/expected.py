"""What the newest migration leaves behind, read off the models and the migrations themselves."""

import re
from dataclasses import dataclass

from sqlalchemy import Table

from sqla_oban.identifiers import quoted
from sqla_oban.migrations import script
from sqla_oban.models import metadata

FUNCTION = r"CREATE (?:OR REPLACE )?FUNCTION {home}\.(\w+)\(.*\$oban\$(.*)\$oban\$"
TRIGGER = r"(?:DO \$oban\$ .*)?CREATE (?:OR REPLACE |CONSTRAINT )?TRIGGER (\w+)\s.* ON {home}\.(\w+)\s"
INDEX = r"CREATE (?:UNIQUE )?INDEX (?:IF NOT EXISTS )?(\w+) ON "


@dataclass(frozen=True, slots=True)
class Expected:
    """The parts that there have to be in a schema.

    Args:
        tables: ours, with their columns and indexes.
        functions: their bodies by their names.
        triggers: their tables by their names.
        statements: what makes an index, by its name.
    """

    tables: tuple[Table, ...]
    functions: dict[str, str]
    triggers: dict[str, str]
    statements: dict[str, str]


def expected(home: str) -> Expected:
    """What belongs into the schema `home`."""
    functions, triggers, statements = {}, {}, {}
    for statement in script(home):
        if made := _match(FUNCTION, statement, home):
            functions[made[1]] = made[2]
        if made := _match(TRIGGER, statement, home):
            triggers[made[1]] = made[2]
        if made := _match(INDEX, statement, home):
            statements[made[1]] = " ".join(statement.split())
    return Expected(tuple(metadata.sorted_tables), functions, triggers, statements)


def _match(pattern: str, statement: str, home: str) -> re.Match[str] | None:
    escaped = re.escape(quoted(home))
    return re.match(pattern.replace("{home}", escaped), statement.strip(), re.DOTALL)
