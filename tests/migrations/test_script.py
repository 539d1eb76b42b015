import pytest
from sqlalchemy import URL, text

from sqla_oban.errors import ConfigurationError, SchemaMismatch
from sqla_oban.migrations import current_version, required_version, script
from tests.migrations.database import begun, things_in


def test_the_statements_make_the_tables(url: URL) -> None:
    with begun(url) as connection:
        for statement in script("jobs: 100", create_schema=True):
            connection.execute(text(statement.replace(":", r"\:")))
        assert current_version(connection, schema="jobs: 100") == required_version()
        assert "oban_jobs" in things_in(connection, "jobs: 100")


def test_there_is_nothing_to_say_where_nothing_is_to_be_done() -> None:
    assert list(script(start=required_version())) == []
    assert list(script(start=1, version=1)) == []


@pytest.mark.parametrize(("start", "version"), [(99, None), (0, 99)])
def test_an_unknown_version_is_refused(start: int, version: int | None) -> None:
    with pytest.raises(SchemaMismatch, match="has no version 99"):
        list(script(start=start, version=version))


def test_a_schema_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        list(script("per%cent"))
